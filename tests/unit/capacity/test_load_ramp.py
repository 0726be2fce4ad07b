"""The knee of a ramp, from times that a queue of known capacity would give; and what a wrong command line costs."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.model import Objective, ServiceCurve, WorkerType
from autoscaler.simulation.fleet import queue_latencies_s
from penstock.cli.main import run
from penstock.loadtest.ramp import (
    Member,
    due_times,
    foretold,
    highest_in_time,
    knee,
    per_request,
    rates_of,
    read_steps,
)
from penstock.loadtest.report import page, verdict
from penstock.loadtest.run import Outcome, stated_curves
from penstock.loadtest.traffic import requests_of

#: 20 ms + 5 ms a row, at most 16: 160 a second.
CURVE = ServiceCurve(0.020, 0.005, 16)
RATES = rates_of(40, 320, 7)
STEP_S = 15.0


@pytest.fixture(scope="module")
def ramp() -> tuple[np.ndarray, np.ndarray]:
    """When each request was due and when it was answered, by one such worker."""
    due_s = due_times(RATES, STEP_S, seed=3)
    return due_s, due_s + np.array(queue_latencies_s(due_s.tolist(), CURVE))


def test_the_knee_is_the_capacity(ramp: tuple[np.ndarray, np.ndarray]) -> None:
    """Within 3 %, in its own interval or nearly; steps below it are not overloaded, those above are."""
    due_s, seen_s = ramp
    steps = read_steps(due_s, seen_s, RATES, STEP_S, within_s=1.0)
    found = knee(steps, seen_s, STEP_S)
    assert found is not None
    assert found.per_s == pytest.approx(160, rel=0.03)
    assert found.low <= found.per_s <= found.high
    assert [step.overloaded for step in steps] == [rate > 160 for rate in RATES]
    assert foretold([Member("a", CURVE, 8)], 8) == 160


def test_waiting_counts_from_when_a_request_was_due(ramp: tuple[np.ndarray, np.ndarray]) -> None:
    """The last overloaded step waits for what came before it: no answer in time, though each batch takes 0.1 s."""
    due_s, seen_s = ramp
    steps = read_steps(due_s, seen_s, RATES, STEP_S, within_s=1.0)
    assert steps[-1].p50_s > 5
    assert steps[-1].attainment == 0.0
    assert steps[0].p50_s < 0.1
    best = highest_in_time(steps, 0.99)
    assert best is not None
    assert 80 <= best <= 160


def test_requests_without_an_answer_are_never_in_time(ramp: tuple[np.ndarray, np.ndarray]) -> None:
    """Requests without an answer are never in time, and a ramp cut short has fewer steps."""
    due_s, seen_s = ramp
    lost = seen_s.copy()
    lost[::50] = np.nan
    steps = read_steps(due_s, lost, RATES, STEP_S, within_s=1.0)
    assert steps[0].attainment < 0.99
    assert steps[0].p99_s == np.inf
    short = due_s < 2 * STEP_S
    assert len(read_steps(due_s[short], seen_s[short], RATES, STEP_S, within_s=1.0)) == 2


def test_a_ramp_that_ends_early_has_no_knee(ramp: tuple[np.ndarray, np.ndarray]) -> None:
    """A ramp that stays below the knee says that it does not know it."""
    due_s, seen_s = ramp
    few = due_s < 3 * STEP_S
    assert knee(read_steps(due_s[few], seen_s[few], RATES, STEP_S, 1.0), seen_s[few], STEP_S) is None


def test_a_generator_that_falls_behind_is_no_knee() -> None:
    """A pipeline of 500 a second, a generator that sends 140: the backlog of what is due is the generator's.

    Read from what was due, 140 a second was the knee, with a tight interval.
    """
    due_s = due_times(RATES, STEP_S, seed=3)
    sent_s = np.empty_like(due_s)
    at_s = 0.0
    for number, due in enumerate(due_s):
        at_s = max(due, at_s + 1 / 140)
        sent_s[number] = at_s
    seen_s = np.array(queue_latencies_s(sent_s.tolist(), ServiceCurve(0.020, 0.0, 10))) + sent_s
    steps = read_steps(due_s, seen_s, RATES, STEP_S, within_s=1.0, late_s=sent_s - due_s)
    assert [step.offered for step in steps] == [rate < 140 for rate in RATES]
    assert not any(step.overloaded for step in steps)
    assert knee(steps, seen_s, STEP_S) is None
    best = highest_in_time(steps, 0.99)
    assert best is not None
    assert best < 140
    found = Outcome((Member("a", CURVE, 8),), 8, 1, steps, None, 500.0, None, best, None, 0.01, 5, 0, 30.0)
    first = next(verdict(found, Objective()))
    assert first.startswith(f"No knee up to {best:,.1f} requests/s, and more could not be sent: at 160.0/s ")
    assert "--rows" in first


@pytest.mark.parametrize(("first", "last", "count", "most"), [(10, 1000, 8, 300), (100, 2000, 5, 1000)])
def test_a_generator_that_gave_up_is_no_knee(first: float, last: float, count: int, most: float) -> None:
    """The ramp is cut when the generator is five seconds late: afterwards it catches up, which is no sending."""
    rates = rates_of(first, last, count)
    due_s = due_times(rates, STEP_S, seed=3)
    sent_s = np.maximum.accumulate(due_s - np.arange(len(due_s)) / most) + np.arange(len(due_s)) / most
    late_s = sent_s - due_s
    cut = int(np.argmax(late_s > 5))
    assert cut > 0
    due_s, late_s, seen_s = due_s[:cut], late_s[:cut], sent_s[:cut] + 0.02
    steps = read_steps(due_s, seen_s, rates, STEP_S, within_s=1.0, late_s=late_s, gave_up=True)
    assert [step.offered for step in steps] == [rate < most for rate in rates[: len(steps)]]
    assert knee(steps, seen_s, STEP_S) is None
    short = rates[int(due_s[-1] / STEP_S)]
    found = Outcome((Member("a", CURVE, 8),), 8, 1, steps, None, 500.0, None, None, short, 0.01, 5, 0, 5.0)
    assert f"at {short:,.1f}/s the generator fell behind" in next(verdict(found, Objective()))


def test_a_generator_that_cannot_send_the_first_step_says_nothing_of_the_pipeline() -> None:
    """No step at all, and still a report."""
    found = Outcome((Member("a", CURVE, 8),), 8, 1, (), None, 500.0, None, None, 700.0, 0.0, 5, 0, 5.0)
    said = list(verdict(found, Objective()))
    assert said[0].startswith("No knee, and more could not be sent: at 700.0/s ")
    assert said[1].startswith("Not even the first step could be sent")
    assert "the generator fell behind" in page(found, Objective())


def test_a_knee_beyond_what_was_sent_is_not_read() -> None:
    """A pipeline of 100 a second, and a generator that from 160 on sends only 50: the steps before tell the knee.

    In those after it the pipeline catches up, which takes nothing back.
    """
    due_s = due_times(RATES, STEP_S, seed=3)
    sent_s = np.maximum(due_s, 4 * STEP_S + np.maximum(0, np.arange(len(due_s)) - np.sum(due_s < 4 * STEP_S)) / 50)
    sent_s = np.where(due_s < 4 * STEP_S, due_s, sent_s)
    seen_s = sent_s + np.array(queue_latencies_s(sent_s.tolist(), ServiceCurve(0.0, 0.01, 1)))
    steps = read_steps(due_s, seen_s, RATES, STEP_S, within_s=1.0, late_s=sent_s - due_s)
    assert [step.offered for step in steps[:5]] == [True, True, True, True, False]
    assert [step.overloaded for step in steps[:5]] == [False, False, False, True, False]
    found = knee(steps, seen_s, STEP_S)
    assert found is not None
    assert found.per_s == pytest.approx(100, rel=0.05)


def test_requests_of_several_rows() -> None:
    """Rows follow each other round the input; a worker that takes 16 rows a batch takes 3 requests of 5."""
    asked = requests_of({"x": np.arange(4)}, 3)
    assert [one["x"].tolist() for one in asked] == [[0, 1, 2], [3, 0, 1]]
    assert per_request(CURVE, 5) == ServiceCurve(0.020, 0.025, 3)
    assert per_request(CURVE, 1) == CURVE
    # 40 rows are three batches of at most 16.
    assert per_request(CURVE, 40) == ServiceCurve(0.060, 0.200, 1)


def test_a_curve_that_nobody_stated_foretells_nothing() -> None:
    """The default curve of a real device is an assumption; an emulated device has exactly the curve of its type."""
    kinds = (WorkerType("cpu"), WorkerType("gpu", curve=CURVE), WorkerType("made", device="emulated"))
    assert stated_curves(kinds) == {"gpu": CURVE, "made": WorkerType().curve}


def test_the_first_full_worker_decides() -> None:
    """Of 10 partitions one has 6 and one 4: the first is full at 160 x 10 / 6. Without an owner nothing is foretold."""
    assert foretold([Member("a", CURVE, 6), Member("b", CURVE, 4)], 10) == pytest.approx(160 * 10 / 6)
    assert foretold([Member("a", CURVE, 6)], 10) is None


def test_the_report_compares_the_knee_with_what_was_foretold(ramp: tuple[np.ndarray, np.ndarray]) -> None:
    """The report begins with the knee and compares it with what was foretold."""
    due_s, seen_s = ramp
    steps = read_steps(due_s, seen_s, RATES, STEP_S, within_s=1.0)
    found = Outcome(
        (Member("a", CURVE, 8),), 8, 1, steps, knee(steps, seen_s, STEP_S), 160.0, 170.0, 80.0, None, 0.01, 5, 0, 0.0
    )
    said = list(verdict(found, Objective()))
    assert said[0].startswith("Knee: ")
    assert "Foretold by the stated ones: 170.0 requests/s" in said[2]
    assert page(found, Objective()).index("Knee: ") < page(found, Objective()).index("<svg")


@pytest.mark.parametrize(
    "arguments", [["--from", "9", "--to", "3"], ["--from", "-1", "--to", "3"], ["--from", "1"], ["--nonsense"]]
)
def test_nonsense_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Nonsense is one line and code 2."""
    assert run(["loadtest", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
