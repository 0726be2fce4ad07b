"""The demo's verdict on forged ledgers: each kind of trouble must turn it red."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from penstock.demo.ledger import Answer, Audit, Sent, audit, checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 200


def one_hot(digit: int) -> NDArray[np.float32]:
    """Certain probabilities for a digit."""
    return np.array([float(digit == i) for i in range(10)], dtype=np.float32)


def sent() -> list[Sent]:
    """N requests, each answered 0.1 s after it was meant to be sent."""
    return [
        Sent(f"demo-{i}", i % 10, one_hot(i % 10), 100.0 + i, acknowledged=True, received_at_s=100.1 + i)
        for i in range(N)
    ]


def answers() -> list[Answer]:
    """The right answer to each."""
    return [Answer(f"demo-{i}", "ok", one_hot(i % 10)) for i in range(N)]


def settled(
    requests: list[Sent] | None = None,
    results: list[Answer] | None = None,
    written: list[str] | None = None,
    letters: tuple[str, ...] = (),
) -> Audit:
    """The audit of a ledger that is clean but for what is given."""
    known = sent() if requests is None else requests
    names = [request.request_id for request in known] if written is None else written
    return audit(
        known, requests=names, answers=answers() if results is None else results, dead_letters=letters, within_s=2.0
    )


def red(found: Audit, **expected: int) -> set[str]:
    """Names of the checks that fail."""
    return {check.name for check in checks(found, share=0.95, **expected) if not check.ok}


def test_clean_ledger_is_green() -> None:
    """Each request answered once, right and in time: nothing to complain about."""
    found = settled()
    assert red(found, scale_ups=2, scale_downs=1) == set()
    assert (found.sent, found.results, found.ok, found.accuracy, found.attainment) == (N, N, N, 1.0, 1.0)
    assert found.percentile_ms(99) == pytest.approx(100)


def test_lost_id_turns_red() -> None:
    """One id without a result is named."""
    found = settled(results=answers()[:-1])
    assert found.lost == (f"demo-{N - 1}",)
    assert "lost" in red(found)


def test_acknowledged_request_missing_from_the_topic_is_lost() -> None:
    """A request that the broker acknowledged and no longer has counts as sent and lost."""
    found = settled(results=answers()[:-1], written=[f"demo-{i}" for i in range(N - 1)])
    assert found.sent == N
    assert found.lost == (f"demo-{N - 1}",)


def test_doubled_id_turns_red() -> None:
    """A second result of one id is a duplicate, even when both agree."""
    found = settled(results=[*answers(), answers()[7]])
    assert found.duplicated == ("demo-7",)
    assert red(found) == {"duplicated"}


def test_request_written_twice_turns_red() -> None:
    """A request that stands in the topic twice is a duplicate too."""
    assert red(settled(written=[f"demo-{i}" for i in range(N)] + ["demo-3"])) == {"duplicated"}


def test_wrong_answer_turns_red() -> None:
    """One answer among many that is not the model's for that picture is enough, whatever the accuracy."""
    results = answers()
    results[5] = replace(results[5], probabilities=one_hot(6))
    found = settled(results=results)
    assert found.mixed_up == ("demo-5",)
    assert found.accuracy == pytest.approx(1 - 1 / N)
    assert red(found) == {"answers of other requests"}


def test_low_accuracy_turns_red() -> None:
    """A model that is often wrong in the same way as its export is no mix-up, but misses the accuracy."""
    known = [replace(request, label=0) for request in sent()]
    assert red(settled(known)) == {"accuracy"}


def test_late_answers_turn_red() -> None:
    """More than a twentieth later than the objective misses the attainment."""
    late = [
        replace(request, received_at_s=request.intended_at_s + (3 if i < 20 else 1)) for i, request in enumerate(sent())
    ]
    found = settled(late)
    assert found.attainment == pytest.approx(1 - 20 / N)
    assert red(found) == {"answered in time"}


def test_failed_and_expired_answers_miss_the_objective() -> None:
    """A prompt failure is no success: only ok answers count as in time."""
    results = [replace(a, status="failed", probabilities=None) if i < 20 else a for i, a in enumerate(answers())]
    found = settled(results=results, letters=tuple(f"demo-{i}" for i in range(20)))
    assert found.failed == 20
    assert found.attainment == pytest.approx(1 - 20 / N)
    assert red(found) == {"answered in time"}


def test_failed_without_dead_letter_turns_red() -> None:
    """A failed result must leave a dead letter."""
    results = answers()
    results[5] = Answer("demo-5", "failed", None)
    assert red(settled(results=results)) == {"failed without dead letter"}
    assert red(settled(results=results, letters=("demo-5",))) == set()


def test_unknown_and_unseen_and_unsent_turn_red() -> None:
    """Results nobody asked for, results the live reader missed and requests never handed over are each named."""
    assert red(settled(results=[*answers(), Answer("other-1", "ok", one_hot(1))])) == {"results never asked for"}
    blind = sent()
    blind[5] = replace(blind[5], received_at_s=None)
    assert red(settled(blind)) == {"missed by the live reader"}
    never = sent()
    never[5] = replace(never[5], acknowledged=False, received_at_s=None)
    results = [answer for answer in answers() if answer.request_id != "demo-5"]
    assert red(settled(never, results, written=[r.request_id for r in never if r.acknowledged])) == {"requests sent"}


def test_fleet_that_never_moved_turns_red_where_it_should_have() -> None:
    """The generated pattern expects the fleet to grow twice and to shrink once; a trace expects nothing."""
    assert red(settled(), scale_ups=1, scale_downs=0) == {"scale-ups", "scale-downs"}
    assert red(settled()) == set()


def test_nothing_sent_is_red_and_unknown() -> None:
    """An empty ledger proves nothing: figures are unknown, the verdict red."""
    found = audit([], requests=[], answers=[], dead_letters=[], within_s=1.0)
    assert (found.accuracy, found.attainment, found.percentile_ms(50)) == (None, None, None)
    assert {"requests sent", "accuracy", "answered in time"} <= red(found)
