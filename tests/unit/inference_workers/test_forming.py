"""How large a batch is and whether it waits: the decision, from stated situations."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.model import ServiceCurve
from inference_workers.batching import allowed_sizes
from inference_workers.forming import MOST_WAIT, Choice, Situation, Waiting, choose

#: 10 ms a batch and 1 ms a row.
CURVE = ServiceCurve(0.010, 0.001, 64)
QUIET = Situation(
    waiting=(), now_s=1000.0, sizes=allowed_sizes(64), most_rows=64, curve=CURVE, rate=100.0, busy=0.2, objective_s=1.0
)


def situation(waiting: int | list[Waiting], **changes: Any) -> Situation:
    """A situation in which so many single rows wait, all sent just now."""
    ones = [Waiting(1, None, 1000.0)] * waiting if isinstance(waiting, int) else waiting
    return dataclasses.replace(QUIET, waiting=ones, **changes)


@pytest.mark.parametrize("waiting", [1, 3, 9, 33, 64])
def test_a_device_that_is_free_takes_what_waits(waiting: int) -> None:
    """Under light load nobody waits for company."""
    assert choose(situation(waiting)) == Choice(waiting)


def test_before_the_curve_is_known_all_go() -> None:
    """No fit, no calculation."""
    assert choose(situation(9, curve=None, busy=1.0)) == Choice(9)


def test_under_pressure_a_batch_waits_for_the_row_that_fills_it() -> None:
    """At 1,000 rows a second the eighth row comes in 1 ms, and the padded batch takes 18 ms with or without it."""
    assert choose(situation(7, busy=0.95, rate=1000.0)) == Choice(0, pytest.approx(0.001))


def test_waiting_that_serves_fewer_rows_a_second_is_not_done() -> None:
    """At 10 rows a second the seven missing rows would take 0.7 s, in which two such batches are served."""
    assert choose(situation(9, busy=0.95, rate=10.0)).count > 0


def test_waiting_is_bounded_by_the_objective() -> None:
    """What fills the batch must come within a share of the objective."""
    assert choose(situation(7, busy=0.95, rate=1000.0, objective_s=0.001 / MOST_WAIT / 2)).count > 0


def test_no_request_waits_past_its_deadline() -> None:
    """The first has 18.5 ms left and the batch takes 18: half a millisecond is not one."""
    waiting = [Waiting(1, 1000.0185, 1000.0)] + [Waiting(1, None, 1000.0)] * 6
    assert choose(situation(waiting, busy=0.95, rate=1000.0)).count > 0


def test_under_pressure_a_row_above_a_size_does_not_pay_for_the_next() -> None:
    """Nine rows cost as much as sixteen, eight cost less: 8 / 18 ms against 9 / 26 ms."""
    assert choose(situation(9, busy=0.95, rate=1.0)) == Choice(8)
    assert choose(situation(9, busy=0.5, rate=1.0)) == Choice(9), "not without pressure"


def test_a_device_that_pads_for_nothing_takes_all() -> None:
    """An emulated device is held for the rows that are real."""
    assert choose(situation(9, busy=1.0, sizes=())) == Choice(9)


def test_a_batch_is_cut_so_that_the_tightest_deadline_holds() -> None:
    """With 20 ms left there is time for 8 rows, 18 ms, and not for 16, 26 ms."""
    waiting = [Waiting(1, 1000.020, 1000.0)] + [Waiting(1, None, 1000.0)] * 15
    assert choose(situation(waiting)) == Choice(8)


def test_a_tight_deadline_behind_a_slack_one_ends_the_batch_before_it() -> None:
    """It goes with the next, smaller batch rather than be missed in this one."""
    waiting = [Waiting(1, None, 1000.0)] * 15 + [Waiting(1, 1000.020, 1000.0)]
    assert choose(situation(waiting)) == Choice(15)


def test_a_deadline_that_cannot_hold_makes_nobody_wait() -> None:
    """Even alone it takes 11 ms, and there are 5: the others need not pay for it."""
    waiting = [Waiting(1, 1000.005, 1000.0)] + [Waiting(1, None, 1000.0)] * 15
    assert choose(situation(waiting)) == Choice(16)


def test_the_objective_caps_a_batch_only_while_there_is_no_pressure() -> None:
    """Under pressure smaller batches only make everybody later."""
    waiting = [Waiting(1, None, 1000.0 - 0.98)] + [Waiting(1, None, 1000.0)] * 15
    assert choose(situation(waiting)) == Choice(8)
    assert choose(situation(waiting, busy=1.0)) == Choice(16)


@given(
    st.lists(
        st.builds(
            Waiting,
            st.integers(1, 8),
            st.none() | st.floats(999.0, 1003.0),
            st.none() | st.floats(990.0, 1000.0),
        ),
        min_size=1,
        max_size=40,
    ),
    st.floats(0, 1),
    st.floats(0, 1e5),
    st.booleans(),
)
def test_something_is_always_chosen_and_waits_are_short(
    waiting: list[Waiting], busy: float, rate: float, known: bool
) -> None:
    """A prefix of what waits, or a wait within the bound."""
    choice = choose(situation(waiting, busy=busy, rate=rate, curve=CURVE if known else None))
    assert 0 <= choice.count <= len(waiting)
    assert (choice.count > 0) != (choice.wait_s > 0)
    assert choice.wait_s <= MOST_WAIT * QUIET.objective_s
