"""The demo's bookkeeping: what was sent against what came back, by request id. Pure: forge a ledger to test it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: Least accuracy of the answers for a green verdict.
ACCURACY = 0.97

#: Largest difference between a probability in an answer and what the model itself gives for that picture. Batches of
#: other sizes round differently in the sixth digit; an answer that belongs to another request is off by tenths.
SAME_ANSWER = 0.01


#: Least changes of the fleet that the generated pattern must bring about.
SCALE_UPS = 2
SCALE_DOWNS = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, as its sender knows it."""

    request_id: str
    #: What the picture shows.
    label: int
    #: What the exported model itself answers for it, (10,).
    expected: NDArray[np.float32]
    #: When it was meant to be sent, Unix seconds.
    intended_at_s: float
    #: Whether the broker acknowledged it.
    acknowledged: bool
    #: When a `read_committed` reader could first read its result, Unix seconds; `None` = it never could.
    received_at_s: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One result, as it stands in the results topic."""

    request_id: str
    #: `ok`, `failed` or `expired`.
    status: str
    #: (10,); `None` unless `ok`.
    probabilities: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and whether it holds."""

    name: str
    found: str
    wanted: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """The ledger's bottom line."""

    #: Distinct requests that the broker has or has acknowledged.
    sent: int
    #: Requests whose hand-over to the broker failed: neither acknowledged nor in the topic.
    unsent: int
    #: Records in the results topic.
    results: int
    ok: int
    failed: int
    expired: int
    #: Ids without a result.
    lost: tuple[str, ...]
    #: Ids with more than one result, or written more than once.
    duplicated: tuple[str, ...]
    #: Ids of results that nobody asked for.
    unknown: tuple[str, ...]
    #: Ids whose answer is not what the model gives for their picture.
    mixed_up: tuple[str, ...]
    #: Ids that failed without leaving a dead letter.
    unburied: tuple[str, ...]
    #: Ids whose result stands in the topic and was never seen by the live reader.
    unseen: tuple[str, ...]
    #: Share of the `ok` answers that name the right digit; `None` = there are none.
    accuracy: float | None
    #: Intended send to readable result, in ms, sorted.
    latencies_ms: NDArray[np.float64]
    #: Share of the requests sent that had an `ok` result in time; `None` = nothing was sent.
    attainment: float | None

    def percentile_ms(self, percent: float) -> float | None:
        """A percentile of the latencies, in ms; `None` = no results."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms.size else None


def audit(
    sent: Sequence[Sent],
    *,
    requests: Sequence[str],
    answers: Sequence[Answer],
    dead_letters: Sequence[str],
    within_s: float,
) -> Audit:
    """Settle the ledger.

    Args:
        sent: every request that was to be sent.
        requests: ids in the requests topic, as often as they stand there.
        answers: what stands in the results topic, committed.
        dead_letters: ids in the dead-letters topic.
        within_s: the objective's time, in seconds.
    """
    known = {request.request_id: request for request in sent}
    written, answered = Counter(requests), Counter(answer.request_id for answer in answers)
    due = {name for name, request in known.items() if request.acknowledged or name in written}
    by_status = Counter(answer.status for answer in answers)
    ok = [a for a in answers if a.probabilities is not None and a.status == "ok" and a.request_id in known]
    right = [int(np.argmax(a.probabilities)) == known[a.request_id].label for a in ok if a.probabilities is not None]
    buried = set(dead_letters)
    latencies = {
        name: (known[name].received_at_s or 0.0) - known[name].intended_at_s
        for name in answered
        if name in known and known[name].received_at_s is not None
    }
    ok_names = {answer.request_id for answer in ok}
    in_time = sum(1 for name, latency in latencies.items() if name in ok_names and latency <= within_s)
    return Audit(
        sent=len(due),
        unsent=len(known) - len(due),
        results=len(answers),
        ok=by_status["ok"],
        failed=by_status["failed"],
        expired=by_status["expired"],
        lost=_sorted(due - set(answered)),
        duplicated=_sorted({name for counts in (answered, written) for name, times in counts.items() if times > 1}),
        unknown=_sorted(set(answered) - set(known)),
        mixed_up=_sorted({a.request_id for a in ok if not _same(a, known)}),
        unburied=_sorted({a.request_id for a in answers if a.status == "failed" and a.request_id not in buried}),
        unseen=_sorted({name for name in answered if name in known and known[name].received_at_s is None}),
        accuracy=sum(right) / len(right) if right else None,
        latencies_ms=np.sort(np.array(list(latencies.values()), dtype=np.float64)) * 1000,
        attainment=in_time / len(due) if due else None,
    )


def _same(answer: Answer, known: Mapping[str, Sent]) -> bool:
    expected = known[answer.request_id].expected
    given = answer.probabilities
    return given is not None and given.shape == expected.shape and bool(np.abs(given - expected).max() <= SAME_ANSWER)


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (len(name), name)))


def checks(
    found: Audit, *, share: float, scale_ups: int | None = None, scale_downs: int | None = None
) -> tuple[Check, ...]:
    """What must hold for a green verdict.

    Args:
        found: the settled ledger.
        share: least share of requests answered in time.
        scale_ups: how often the fleet grew; `None` = nothing is expected of it (a trace may be flat).
        scale_downs: how often it shrank; `None` likewise.
    """
    named = (
        ("lost", found.lost),
        ("duplicated", found.duplicated),
        ("results never asked for", found.unknown),
        ("answers of other requests", found.mixed_up),
        ("failed without dead letter", found.unburied),
        ("missed by the live reader", found.unseen),
    )
    out = [Check("requests sent", f"{found.sent:,}", "all", found.sent > 0 and found.unsent == 0)]
    for name, names in named:
        first = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""  # noqa: PLR2004
        out.append(Check(name, f"{len(names):,}{first}", "0", not names))
    accuracy = "none" if found.accuracy is None else f"{found.accuracy:.4f}"
    out.append(Check("accuracy", accuracy, f">= {ACCURACY}", (found.accuracy or 0.0) >= ACCURACY))
    met = "none" if found.attainment is None else f"{found.attainment:.4f}"
    out.append(Check("answered in time", met, f">= {share:g}", (found.attainment or 0.0) >= share))
    if scale_ups is not None:
        out.append(Check("scale-ups", str(scale_ups), f">= {SCALE_UPS}", scale_ups >= SCALE_UPS))
    if scale_downs is not None:
        out.append(Check("scale-downs", str(scale_downs), f">= {SCALE_DOWNS}", scale_downs >= SCALE_DOWNS))
    return tuple(out)
