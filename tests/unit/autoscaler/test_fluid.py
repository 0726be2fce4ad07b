"""Fleets as fluid models: who is behind, what is drained, what a move makes late."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning import fluid
from autoscaler.planning.arrears import drained_by, drained_by_each, halves
from autoscaler.planning.carrying import carrying, pooled

EVEN = (1 / 64,) * 64
TABLE = carrying(EVEN, 64)


def test_ten_workers_of_64_partitions_are_four_with_seven_and_six_with_six() -> None:
    """28 of 64 partitions are on the busier ones, full at a load of 64 / 7; the others are at 64 / 6."""
    parts, full = halves(np.array([10, 8]), TABLE)
    assert parts[:, 0] == pytest.approx([28 / 64, 36 / 64])
    assert full[:, 0] == pytest.approx([0.985 * 64 / 7, 0.985 * 64 / 6])
    # Eight have the same, and are full together.
    assert parts[:, 1] == pytest.approx([1.0, 0.0])
    assert full[0, 1] == full[1, 1] == pytest.approx(0.985 * 8)
    assert pooled(16).heavy.tolist() == [1.0] * 16


def test_skewed_shares_fall_in_two_parts_too() -> None:
    """A third of the load on one worker is the busier part, whatever the others have."""
    shares = (0.34, *((0.66 / 15,) * 15))
    parts, full = halves(np.array([16]), carrying(shares, 16))
    assert parts[:, 0] == pytest.approx([0.34, 0.66])
    assert full[:, 0] == pytest.approx([0.985 / 0.34, 0.985 / (0.66 / 15)])


def test_only_the_busier_workers_are_late_where_the_others_can_carry_it() -> None:
    """Ten workers at 9.8: over 9.0, below 10.5. After some seconds 44 % of the load is late, and never more."""
    ten, backlog = np.array([10]), np.zeros((2, 1))
    shares = []
    for _ in range(60):
        backlog, late = fluid.overload(backlog, ten, ten, 9.8, TABLE, slack_s=0.8, tick_s=1.0)
        shares.append(float(late[0]))
    # 0.8 s of 9.0 pile up at 0.8 a second in 9 s.
    assert shares[:9] == [0.0] * 9
    assert shares[9:] == pytest.approx([28 / 64] * 51)
    assert backlog[1, 0] == 0.0


def test_what_waits_is_dealt_out_anew_with_the_partitions() -> None:
    """28 of 64 partitions have 16 s of work waiting: with twenty workers all of them have 7."""
    backlog, late = fluid.overload(
        np.array([[16.0], [0.0]]), np.array([10]), np.array([20]), 0.0, TABLE, slack_s=0.8, tick_s=0.0
    )
    assert backlog[:, 0] == pytest.approx([7.0, 7.0])
    assert late[0] == 0.0


def test_a_fleet_without_workers_has_all_of_it_late() -> None:
    """Nobody serves, so all that comes waits."""
    none = np.array([0])
    _, late = fluid.overload(np.zeros((2, 1)), none, none, 1.0, TABLE, slack_s=0.8, tick_s=1.0)
    assert late[0] == 1.0


def test_a_backlog_asks_for_workers_and_those_that_start_count() -> None:
    """20 s of work wait with 8 workers at a load of 7.9: drained, unless 16 will serve in five seconds anyway."""
    declared = np.array([[8, 8]] * 5 + [[8, 16]] * 20)
    wanted = fluid.drained(
        np.array([20.0, 20.0]), np.array([8, 8]), declared, 7.9, TABLE, least=np.array([8, 16]),
        late_price=12.0, overhead_s=50.0, pause_s=1.0, tick_s=1.0,
    )  # fmt: skip
    assert wanted[0] > 8
    assert wanted[1] == 0


def test_no_backlog_asks_for_nothing() -> None:
    """Not even where the fleet is just enough."""
    wanted = fluid.drained(
        np.zeros(1), np.array([8]), np.full((20, 1), 8), 7.8, TABLE, least=np.array([8]), late_price=12.0,
        overhead_s=50.0, pause_s=1.0, tick_s=1.0,
    )  # fmt: skip
    assert wanted.tolist() == [0]


def test_many_backlogs_are_drained_as_each_is() -> None:
    """The same counts one by one and together, with what moves and without."""
    backlogs, least, serving = np.array([5.0, 50.0, 400.0]), np.array([9, 3, 12]), np.array([8, 0, 11])
    together = drained_by_each(
        backlogs, 7.0, TABLE, least=least, late_price=12.0, overhead_s=50.0, serving=serving, moved_s=12.0
    )
    for place in range(3):
        alone = drained_by(
            float(backlogs[place]), 7.0, TABLE, least=int(least[place]), late_price=12.0, overhead_s=50.0,
            serving=int(serving[place]), moved_s=12.0,
        )  # fmt: skip
        assert together[place] == alone


def test_a_new_worker_is_late_for_its_whole_backlog_and_one_that_was_there_for_the_pause() -> None:
    """Pause 3 s, objective 1 s: 2 s with who was there; at 0.9 busy 2 + (2.7 - 0.5) / 0.1 s, at 0.5 2 + 1 / 0.5."""
    late_s = fluid.move_late_s(3.0, 1.0, np.array([0.0, 0.9, 0.5]))
    assert late_s == pytest.approx([2.0, 24.0, 4.0])
    assert fluid.move_late_s(3.0, 1.0, np.array([0.98])) == pytest.approx([30.0])
    # Shorter than the objective: what waits is in time again at once.
    assert fluid.move_late_s(0.3, 1.0, np.array([0.0, 0.9])) == pytest.approx([0.0, 0.0])
