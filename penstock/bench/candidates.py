"""Who is measured: the limits, our worker, and the alternatives. Names and facts, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.bench.errors import UnknownRow
from streams.kafka.settings import KAFKA_PYTHON, LIBRDKAFKA

if TYPE_CHECKING:
    from collections.abc import Sequence

BINARY, JSON = "binary", "json"
EXACTLY_ONCE, AT_LEAST_ONCE, AUTO_COMMIT = "exactly-once", "at-least-once", "auto-commit"

#: Names that the ratios refer to.
TENSORFLOW_LIMIT = "tensorflow-limit"
CLIENT_LIMIT = "kafka-client-limit"
TRANSPORT_LIMIT = "penstock-transport-limit"
#: They write the same bytes each time, of a result that our worker wrote.
WITHOUT_MODEL = (CLIENT_LIMIT, TRANSPORT_LIMIT)
PENSTOCK = "penstock"
HANDWRITTEN = "handwritten-exactly-once"
HANDWRITTEN_JSON = "handwritten-json"
BEST_PEER = "confluent-exactly-once"
BEST_TUNED = "confluent-exactly-once-tuned"
BEST_PEERS = (BEST_PEER, BEST_TUNED)

#: Requests a batch of a peer: what is best for this model on a CPU core, and what our worker has by default.
PEER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way from requests to results."""

    name: str
    #: Kafka client library; `None` = uses no Kafka.
    client: str | None
    #: `exactly-once`, `at-least-once` or `auto-commit`; `None` = uses no Kafka.
    delivery: str | None
    encoding: str = BINARY
    rows: int = 1
    #: What runs it: `penstock`, `module:<dotted name>` of this package, or `peer:<file>` in benchmarks/peers.
    program: str = PENSTOCK
    #: Distributions whose versions are shown.
    uses: tuple[str, ...] = ()
    #: Lives in the virtual environment of the peers, for its libraries disagree with ours.
    foreign: bool = False
    #: Fewer records are enough: it answers some tens a second.
    slow: bool = False
    #: Latency is measured at the low rate.
    timed: bool = False
    #: Which way of its program, where that has several.
    variant: str = ""

    @property
    def key(self) -> tuple[str, str | None, str | None, str, int]:
        """What makes it one row: name, client, delivery, encoding, rows a request."""
        return (self.name, self.client, self.delivery, self.encoding, self.rows)

    @property
    def computes(self) -> bool:
        """Whether its answers are answers; the limits without a model write the same bytes each time."""
        return self.name not in WITHOUT_MODEL

    @property
    def label(self) -> str:
        """For people: the name, and what tells it from others of that name."""
        parts = [self.encoding, *([f"{self.rows} rows"] if self.rows > 1 else [])]
        if self.name == PENSTOCK:
            parts.insert(0, self.delivery or "")
        if self.client == LIBRDKAFKA:
            parts.append(LIBRDKAFKA)
        return f"{self.name} ({', '.join(parts)})" if self.client else self.name


_KAFKA_PYTHON = KAFKA_PYTHON
_CONFLUENT = "confluent-kafka"


def _ours() -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            PENSTOCK,
            _KAFKA_PYTHON,
            delivery,
            encoding,
            rows,
            uses=("penstock", _KAFKA_PYTHON, "tensorflow-cpu"),
            timed=delivery == EXACTLY_ONCE and encoding == BINARY and rows == 1,
        )
        for delivery in (EXACTLY_ONCE, AT_LEAST_ONCE)
        for encoding in (BINARY, JSON)
        for rows in (1, 32)
    ) + tuple(
        Candidate(
            PENSTOCK,
            LIBRDKAFKA,
            EXACTLY_ONCE,
            encoding,
            uses=("penstock", _CONFLUENT, "tensorflow-cpu"),
            timed=encoding == BINARY,
        )
        for encoding in (BINARY, JSON)
    )


def _handwritten() -> tuple[Candidate, ...]:
    ours, theirs = (_KAFKA_PYTHON, "tensorflow-cpu"), (_CONFLUENT, "tensorflow-cpu")
    loop, batched = "peer:kafka_python_exactly_once.py", "peer:kafka_python_autocommit.py"
    best = "peer:confluent_exactly_once.py"
    return (
        Candidate(
            "handwritten-predict", _KAFKA_PYTHON, AUTO_COMMIT, JSON, program="peer:kafka_python_predict.py",
            uses=(*ours, "keras"), slow=True,
        ),
        Candidate("handwritten-batched-autocommit", _KAFKA_PYTHON, AUTO_COMMIT, program=batched, uses=ours),
        Candidate(HANDWRITTEN_JSON, _KAFKA_PYTHON, AUTO_COMMIT, JSON, program=batched, uses=ours),
        Candidate(HANDWRITTEN, _KAFKA_PYTHON, EXACTLY_ONCE, program=loop, uses=ours, timed=True),
        Candidate(HANDWRITTEN, _KAFKA_PYTHON, EXACTLY_ONCE, JSON, program=loop, uses=ours),
        Candidate(BEST_PEER, _CONFLUENT, EXACTLY_ONCE, program=best, uses=theirs, timed=True, variant="defaults"),
        Candidate(BEST_TUNED, _CONFLUENT, EXACTLY_ONCE, program=best, uses=theirs, timed=True, variant="tuned"),
    )  # fmt: skip


def _frameworks() -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            name, client, delivery, encoding, program=f"peer:{program}", foreign=foreign,
            uses=(distribution, client, "tensorflow-cpu"),
        )
        for name, client, delivery, program, distribution, foreign in (
            ("faststream", "aiokafka", AUTO_COMMIT, "faststream_batch.py", "faststream", True),
            ("quix", _CONFLUENT, AT_LEAST_ONCE, "quix_streams.py", "quixstreams", True),
            ("faust-take", "aiokafka", AT_LEAST_ONCE, "faust_take.py", "faust-streaming", False),
        )
        for encoding in (BINARY, JSON)
    )  # fmt: skip


CANDIDATES: tuple[Candidate, ...] = (
    Candidate(TENSORFLOW_LIMIT, None, None, program="module:penstock.bench.bare_tensorflow", uses=("tensorflow-cpu",)),
    Candidate(
        CLIENT_LIMIT,
        _KAFKA_PYTHON,
        EXACTLY_ONCE,
        program="peer:kafka_python_limit.py",
        uses=(_KAFKA_PYTHON,),
        timed=True,
    ),
    Candidate(
        TRANSPORT_LIMIT,
        _KAFKA_PYTHON,
        EXACTLY_ONCE,
        program="module:penstock.bench.client_limit",
        uses=("penstock", _KAFKA_PYTHON),
        timed=True,
    ),
    *_ours(),
    *_handwritten(),
    *_frameworks(),
)


def select(asked: Sequence[str]) -> tuple[Candidate, ...]:
    """The candidates that were asked for, in the order of the list; all of them when nothing is asked for.

    Args:
        asked: names, each alone or followed by what narrows it down, e.g. `penstock:exactly-once:binary:1`.

    Raises:
        UnknownRow: a name is not one of theirs, or nothing of it is left.
    """
    chosen: set[tuple[str, str | None, str | None, str, int]] = set()
    for text in asked:
        name, *narrowed = text.split(":")
        found = {
            one.key
            for one in CANDIDATES
            if one.name == name and set(narrowed) <= {one.client, one.delivery, one.encoding, str(one.rows)}
        }
        if not found:
            known = ", ".join(dict.fromkeys(one.name for one in CANDIDATES))
            cure = f"choose from {known}; narrow one down as in penstock:exactly-once:binary:1:kafka-python"
            raise UnknownRow(f"--rows {text}: there is no such row", cure)
        chosen |= found
    return tuple(one for one in CANDIDATES if not asked or one.key in chosen)
