"""The pure parts of the benchmark: latency from the intended time, ratios, rows, and peers that are not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.bench import candidates as names
from penstock.bench import children, cpu, kafka_side, warm_up
from penstock.bench.candidates import CANDIDATES, Candidate, select
from penstock.bench.errors import UnknownRow
from penstock.bench.figure import _far_apart
from penstock.bench.kafka_side import TransactionLog
from penstock.bench.ratios import ratios
from penstock.bench.rows import Measured, Row, find
from penstock.bench.saturation import Window, _Span
from penstock.bench.schedule import arrivals, latency
from penstock.bench.workload import Audit, Workload, audit, number_of, probabilities
from penstock.demo.digits import Digits

#: What `penstock bench data-plane --json` promises of each row.
PROMISED = {
    "name", "client", "delivery", "encoding", "rows_per_request", "records_per_s", "rows_per_s", "cpu_us_per_record",
    "p50_ms", "p99_ms", "rate", "versions",
}  # fmt: skip


def test_a_late_generator_makes_latency_longer_not_shorter() -> None:
    """A late generator makes latency longer not shorter."""
    due_s = np.array([10.0, 10.1, 10.2])
    # All sent at 11.0 because the generator hung, and answered 10 ms later: the wait began when each was due.
    found = latency(due_s, np.full(3, 11.01), from_s=0, gave_up_s=20)
    assert found.p50_ms == pytest.approx(910)
    assert found.p99_ms == pytest.approx(1008, abs=3)


def test_requests_without_an_answer_count_with_the_time_that_they_had_waited() -> None:
    """Requests without an answer count with the time that they had waited."""
    found = latency(np.array([1.0, 2.0]), np.array([1.005, np.nan]), from_s=0, gave_up_s=12.0)
    assert (found.count, found.unanswered) == (2, 1)
    assert found.p99_ms == pytest.approx(9900, rel=0.01)


def test_the_lead_in_does_not_count() -> None:
    """The lead in does not count."""
    found = latency(np.array([1.0, 5.0]), np.array([4.0, 5.002]), from_s=3.0, gave_up_s=9)
    assert found.count == 1
    assert found.p50_ms == pytest.approx(2)


def test_nothing_measured_is_none_and_not_zero() -> None:
    """Nothing measured is none and not zero."""
    found = latency(np.empty(0), np.empty(0), from_s=0, gave_up_s=1)
    assert (found.p50_ms, found.p99_ms) == (None, None)


def test_arrivals_are_the_same_for_everybody_and_as_many_as_asked_for() -> None:
    """Arrivals are the same for everybody and as many as asked for."""
    once, again = arrivals(200, 50, seed=3), arrivals(200, 50, seed=3)
    assert np.array_equal(once, again)
    assert len(once) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(once)
    assert gaps.min() >= 0
    # Poisson: gaps are exponential, so their deviation is their mean.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.06)


def test_a_row_has_what_is_promised_and_null_where_nothing_was_measured() -> None:
    """A row has what is promised and null where nothing was measured."""
    (row,) = Measured(select([names.HANDWRITTEN])[0]).rows({"kafka-python": "3"}, 200.0)
    told = json.loads(json.dumps(row.as_json()))
    assert told.keys() >= PROMISED
    assert told["records_per_s"] is told["p99_ms"] is told["rate"] is None
    assert told["versions"] == {"kafka-python": "3"}


def test_repeats_become_a_median_with_lowest_and_highest() -> None:
    """Repeats become a median with lowest and highest."""
    measured = Measured(select([names.HANDWRITTEN])[0])
    for value in (100.0, 300.0, 120.0):
        measured.add({"records_per_s": value, "other_cores": value / 100, "records_per_transaction": None})
    measured.add({"p50_ms": 5.0}, rate=200.0)
    measured.add({"p50_ms": 9.0}, rate=1000.0)
    main, faster = measured.rows({}, 200.0)
    assert (main.records_per_s, main.rate, main.p50_ms) == (120.0, 200.0, 5.0)
    assert main.more["records_per_s_lowest"] == 100.0
    assert main.more["records_per_s_highest"] == 300.0
    assert main.more["other_cores"] == 1.2
    assert (faster.records_per_s, faster.rate, faster.p50_ms) == (None, 1000.0, 9.0)


def _row(name: str, delivery: str | None = None, **fields: Any) -> Row:
    base: dict[str, Any] = {"client": None, "encoding": "binary", "rows_per_request": 1} | fields
    return Row(name=name, delivery=delivery, **base)


def test_ratios_divide_what_they_say() -> None:
    """Ratios divide what they say."""
    eos = names.EXACTLY_ONCE
    rows = [
        _row(names.TENSORFLOW_LIMIT, rows_per_s=50_000.0, cpu_us_per_record=20.0, more={"least_cpu_us_per_row": 15.0}),
        _row(names.CLIENT_LIMIT, eos, records_per_s=10_000.0, cpu_us_per_record=60.0),
        _row(names.PENSTOCK, eos, records_per_s=8_500.0, cpu_us_per_record=90.0, p50_ms=8.0, p99_ms=40.0, rate=200.0),
        _row(names.PENSTOCK, "at-least-once", records_per_s=99_999.0, cpu_us_per_record=1.0),
        _row(names.PENSTOCK, eos, rows_per_request=32, rows_per_s=40_000.0),
        _row(names.PENSTOCK, eos, rate=4_000.0, p50_ms=10.0, p99_ms=50.0, more={"share_of_own_saturation": 0.47}),
        _row(names.HANDWRITTEN, eos, records_per_s=2_000.0),
        _row(names.BEST_PEER, eos, rate=4_000.0, p50_ms=100.0, p99_ms=900.0),
        _row(names.BEST_TUNED, eos, rate=4_000.0, p50_ms=100.0, p99_ms=200.0, more={"share_of_own_saturation": 1.2}),
        _row(names.BEST_TUNED, eos, rate=1_700.0, p99_ms=125.0, more={"share_of_own_saturation": 0.51}),
    ]
    found = {one.name: one for one in ratios(rows, 200.0)}
    values = {name: one.value for name, one in found.items()}
    assert values["exactly-once records/s over the Kafka client's limit"] == pytest.approx(0.85)
    assert values["exactly-once records/s over a hand-written loop"] == pytest.approx(4.25)
    # The cheapest way to run the model counts, not the quickest: 90 / (60 + 15).
    assert values["processor time a record over client limit + bare TensorFlow"] == pytest.approx(1.2)
    assert values["rows/s at 32 rows a request over bare TensorFlow"] == pytest.approx(0.8)
    assert found["exactly-once p50 at 200/s"].met is True
    assert found["exactly-once p99 at 200/s"].met is False
    # Of the two ways of that peer the better one counts.
    same_rate = "p99 at 4,000/s over confluent-exactly-once-tuned (its own saturation x 1.20)"
    assert values[same_rate] == pytest.approx(0.25)
    own_half = "p99 over the best exactly-once peer's, each at half of its own saturation"
    assert values[own_half] == pytest.approx(50 / 125)
    assert found[own_half].met is False
    json_loop = found["JSON records/s over a hand-written JSON loop"]
    assert json_loop.value is json_loop.met is None


def test_a_row_of_another_delivery_encoding_or_size_is_not_taken_for_it() -> None:
    """A row of another delivery encoding or size is not taken for it."""
    rows = [_row(names.PENSTOCK, "at-least-once"), _row(names.PENSTOCK, names.EXACTLY_ONCE, encoding="json")]
    assert find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE) is None
    assert find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE, encoding="json") is rows[1]


def test_an_unknown_row_is_named_with_those_that_there_are() -> None:
    """An unknown row is named with those that there are."""
    with pytest.raises(UnknownRow, match=r"--rows penstok.*kafka-client-limit"):
        select(["penstok"])


def test_a_name_is_narrowed_down_by_delivery_encoding_and_rows() -> None:
    """A name is narrowed down by delivery encoding and rows."""
    (one,) = select(["penstock:exactly-once:json:32"])
    assert one.key == (names.PENSTOCK, "kafka-python", "exactly-once", "json", 32)
    assert {candidate.encoding for candidate in select(["penstock:binary"])} == {"binary"}
    with pytest.raises(UnknownRow, match="penstock:xml"):
        select(["penstock:xml"])


def test_every_row_is_there_once() -> None:
    """Every row is there once."""
    keys = [candidate.key for candidate in CANDIDATES]
    assert len(set(keys)) == len(keys)
    assert {names.TENSORFLOW_LIMIT, names.CLIENT_LIMIT, names.PENSTOCK, names.HANDWRITTEN} <= {key[0] for key in keys}


def test_a_peer_without_its_libraries_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A peer without its libraries says how to get them."""
    monkeypatch.setattr(children, "PEERS_PYTHON", tmp_path / "bin/python")
    known = select([names.HANDWRITTEN])[0]
    stranger = Candidate("stranger", "x", "auto-commit", program=known.program, foreign=True)
    assert children.absent(stranger) == "not installed: run make bench"
    assert children.absent(known) is None


def test_the_broker_is_warmed_by_every_client_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly once, one row a request: each client's way through the broker, whoever is measured after."""
    ways = warm_up.ways()
    assert [one.name for one in ways] == [names.BEST_TUNED, names.PENSTOCK, names.HANDWRITTEN]
    assert {(one.delivery, one.encoding, one.rows) for one in ways} == {(names.EXACTLY_ONCE, names.BINARY, 1)}
    monkeypatch.setattr(warm_up, "absent", lambda one: "gone" if one.name == names.BEST_TUNED else None)
    assert [one.name for one in warm_up.ways()] == [names.PENSTOCK, names.HANDWRITTEN]


def test_a_partition_without_a_leader_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's log of transactions is made at the first of them; any other refusal is told."""
    answers: list[Any] = [KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), (0, 5)]

    class Asked:
        def __init__(self, _: Any) -> None:
            pass

        def list_topics(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(topics={TransactionLog.TOPIC: SimpleNamespace(error=None, partitions=[0])})

        def get_watermark_offsets(self, *_: Any, **__: Any) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, KafkaError):
                raise KafkaException(answer)
            return answer

    monkeypatch.setattr(kafka_side, "Consumer", Asked)
    monkeypatch.setattr(kafka_side.time, "sleep", lambda _: None)
    TransactionLog("127.0.0.1:1")
    assert answers == []
    answers.append(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(KafkaException):
        TransactionLog("127.0.0.1:1")


def test_answers_are_read_in_the_form_that_was_asked_for() -> None:
    """Answers are read in the form that was asked for."""
    row = np.arange(10, dtype="<f4")
    assert np.array_equal(probabilities(row.tobytes(), [], names.BINARY), row[None])
    # Raw floats may begin with any byte, that of an opening brace too.
    brace = np.frombuffer(b"{" + bytes(39), "<f4")
    assert np.array_equal(probabilities(brace.tobytes(), [], names.BINARY), brace[None])
    assert probabilities(b'{"outputs": [[1, 2]]}', [], names.JSON).tolist() == [[1.0, 2.0]]  # type: ignore[union-attr]
    assert probabilities(b'{"error": "no"}', [], names.JSON) is None
    assert probabilities(b"abc", [], names.BINARY) is None


def test_keys_of_others_are_no_requests_of_ours() -> None:
    """Keys of others are no requests of ours."""
    assert number_of(b"r17") == 17
    assert [number_of(key) for key in (None, b"", b"probe3", b"r", b"r-1", "r²".encode())] == [None] * 6


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Audit(10, 0, 0, 0), None),
        (Audit(10, 2, 0, 0), "of 10 answers: 2 duplicated"),
        (Audit(9, 0, 3, 1), "of 9 answers: 3 wrong, 1 lost"),
    ],
)
def test_an_audit_says_what_is_not_as_it_must_be(found: Audit, said: str | None) -> None:
    """An audit says what is not as it must be."""
    assert found.problem == said


@pytest.fixture
def pictures() -> Digits:
    """Seven pictures, each with an answer of its own."""
    images = np.random.default_rng(0).random((7, 8, 8, 1), np.float32)
    expected = np.random.default_rng(1).random((7, 10), np.float32)
    return Digits(Path("models/digits"), images, np.zeros(7, np.int64), expected, 1.0, trained_now=False)


def test_answers_are_counted_by_id_and_compared_with_the_model(pictures: Digits) -> None:
    """Of five requests: one right, one right and doubled, one wrong, one as an error, one lost; one of a stranger."""
    work = Workload(pictures, names.BINARY, 1)
    right = [pictures.expected[n].tobytes() for n in range(5)]
    results = [
        (b"r0", right[0], []),
        (b"r1", right[1], []),
        (b"r1", right[1], []),
        (b"r2", right[3], []),
        (b"r3", b'{"error": "no"}', [("status", b"failed")]),
        (b"probe4", right[4], []),
    ]
    found = audit(work, results, 5)
    assert (found.answered, found.duplicated, found.wrong, found.missing) == (4, 1, 2, 1)
    assert audit(work, results, 5, every=0).wrong == 0


def test_a_request_of_many_rows_is_answered_by_all_of_its_rows(pictures: Digits) -> None:
    """Request 2 of 3 rows has the pictures 6, 0 and 1, round and round."""
    work = Workload(pictures, names.BINARY, 3)
    whole = pictures.expected[[6, 0, 1]]
    assert work.right(2, whole.tobytes(), [])
    assert not work.right(2, whole[:2].tobytes(), [])
    assert not work.right(2, whole[::-1].tobytes(), [])
    # The requests go round with the pictures, so request 2 + 7 asks the same.
    assert work.request(2).value == work.request(9).value
    assert work.request(2).key != work.request(9).key


def test_a_window_leaves_out_the_warm_up_and_what_comes_after_it() -> None:
    """It begins at the first look after the warm-up, and has its records before it ends."""
    span = _Span(Window(warm=100, records=500, seconds=0.0, most_seconds=60.0), 10_000, os.getpid(), os.getpid())
    for count in (40, 150, 400, 649, 700, 900):
        span.look(count)
    assert span.records == 550
    assert span.end is not None
    assert not span.used_up


def test_a_window_that_ran_out_of_requests_says_so() -> None:
    """Also where the first look already showed all of them."""
    window = Window(warm=100, records=500, seconds=60.0, most_seconds=60.0)
    short = _Span(window, 600, os.getpid(), os.getpid())
    for count in (200, 600):
        short.look(count)
    assert short.used_up
    assert short.records == 400
    at_once = _Span(window, 600, os.getpid(), os.getpid())
    at_once.look(600)
    assert at_once.used_up
    assert at_once.records == 0
    assert at_once.end is not None


def test_what_the_hypervisor_took_is_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 s that the cores had, 30 were idle and 20 stolen: programs had 50."""
    times = SimpleNamespace(user=40.0, system=10.0, idle=25.0, iowait=5.0, steal=20.0)

    class Times(tuple[float, ...]):
        __slots__ = ()

        def __getattr__(self, name: str) -> float:
            return float(getattr(times, name))

    monkeypatch.setattr(psutil, "cpu_times", lambda: Times(vars(times).values()))
    assert cpu.machine_cpu_s() == 50.0


def test_names_of_rates_do_not_run_into_each_other() -> None:
    """22,000 and 33,000 did, on an axis that begins at 200."""
    assert _far_apart([200.0, 5600.0, 11_000.0, 22_000.0, 33_000.0]) == [200, 5600, 11_000, 22_000]
    assert _far_apart([200.0]) == [200]
    assert _far_apart([]) == []
