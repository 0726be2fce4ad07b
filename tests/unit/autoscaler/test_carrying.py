"""What a fleet cannot carry, against a plain count over its workers."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning.arrears import capacity, drained_by, projected
from autoscaler.planning.carrying import candidates, carryable, carrying

EVEN = (1 / 64,) * 64


def test_nine_workers_on_64_partitions_leave_one_with_eight() -> None:
    """At a rate of 8.4 workers' worth the one with 8 of 64 is over its capacity, the eight with 7 are not."""
    table = carrying(EVEN, 64)
    assert table.busiest[table.place(9)] == pytest.approx(8 / 64)
    assert table.overloaded(np.array([8.4]))[table.place(9)] == pytest.approx(8 / 64, abs=1e-6)
    assert table.overloaded(np.array([8.4]))[table.place(10)] == 0.0
    assert table.overloaded(np.array([9.6]))[table.place(9)] == pytest.approx(1.0)


def test_the_mean_is_over_the_rates() -> None:
    """Half of the rates are too much for 8 workers, so half of the load is not carried."""
    table = carrying(EVEN, 64)
    assert table.overloaded(np.array([4.0, 12.0]))[table.place(8)] == pytest.approx(0.5)


def test_skewed_shares_are_placed_one_by_one() -> None:
    """A partition with a third of the load overloads its worker, whatever the others do."""
    shares = (0.34, *((0.66 / 15,) * 15))
    table = carrying(shares, 16)
    assert table.busiest[table.place(16)] == pytest.approx(0.34)
    assert table.overloaded(np.array([4.0]))[table.place(16)] == pytest.approx(0.34, abs=1e-6)


def test_skewed_shares_lie_as_the_group_deals_them() -> None:
    """By load, 8 workers have an eighth of Zipf 0.5 each; 16 cannot, since one partition is more than a sixteenth."""
    raw = np.arange(1, 65) ** -0.5
    table = carrying(tuple((raw / raw.sum()).tolist()), 64)
    assert table.busiest[table.place(8)] == pytest.approx(1 / 8, rel=0.1)
    assert table.busiest[table.place(16)] == pytest.approx(raw[0] / raw.sum())


def test_a_little_uneven_shares_fall_as_the_cards_do() -> None:
    """Too little for the group to go by: the busiest of 8 is a little above its part."""
    raw = np.linspace(1.3, 0.7, 64)
    table = carrying(tuple((raw / raw.sum()).tolist()), 64)
    assert 1.05 / 8 < table.busiest[table.place(8)] < 1.2 / 8


def test_what_nobody_can_carry_is_cut_and_the_rest_is_planned_for() -> None:
    """At a load of 20 workers a tenth of it is too much for one; the other nine tenths are shared as ever."""
    shares = (0.1, *((0.9 / 63,) * 63))
    assert carryable(shares, 9.0) == shares
    cut = carryable(shares, 20.0)
    assert cut[0] * 20 == pytest.approx(0.95, rel=0.1)
    assert cut[1:] == shares[1:]
    whole, helped = carrying(shares, 64), carrying(cut, 64)
    assert whole.busiest[whole.place(30)] == pytest.approx(0.1)
    assert helped.busiest[helped.place(30)] < 0.05
    assert carryable((), 20.0) == ()


def test_shares_on_workers_sum_to_one() -> None:
    """At an endless rate nothing is carried, by any count."""
    rng = np.random.default_rng(3)
    raw = np.sort(rng.uniform(0.5, 2.0, 40))[::-1]
    for shares in (EVEN, tuple((raw / raw.sum()).tolist())):
        table = carrying(shares, 40)
        assert table.overloaded(np.array([1e9])) == pytest.approx(np.ones(table.counts.size))


def test_large_groups_have_few_candidates() -> None:
    """1000 workers are about 160 candidates, each at most 3 % (and one) above the one before."""
    counts = candidates(1000)
    assert counts[0] == 1
    assert counts[-1] == 1000
    assert counts.size < 200
    assert (np.diff(counts) <= 0.03 * counts[:-1] + 1).all()


def test_a_backlog_grows_while_the_fleet_is_short_and_falls_when_it_is_not() -> None:
    """6 workers' worth on 4 (3.94 carried) for 10 s adds 20.6; then 4 more (7.88) take 9.4 away in 5 s."""
    table = carrying(EVEN, 64)
    rates = np.full(3, 6.0)
    assert capacity(4, table) == pytest.approx(3.94)
    waiting = projected(0.0, rates, step_s=5.0, ready=4, starting_in_s=[10.0] * 4, carrying=table)
    assert waiting == pytest.approx(10 * (6 - 3.94) - 5 * (7.88 - 6))
    assert projected(0.0, rates, step_s=5.0, ready=8, starting_in_s=[], carrying=table) == 0.0


def test_a_dearer_delay_is_drained_by_more_workers() -> None:
    """The count that drains is the cheapest by the stated sum, tried one by one."""
    table = carrying(EVEN, 64)
    found = {}
    for price in (1.0, 10.0, 100.0):
        found[price] = drained_by(200.0, 10.0, table, least=3, late_price=price, overhead_s=60.0)
        costs = {}
        for count in range(11, 65):
            spare = capacity(count, table) - 10.0
            if spare > 0 and 200 / spare < 120:
                costs[count] = count * (60 + 200 / spare) + price * 10 * 200 / spare
        assert costs[found[price]] == pytest.approx(min(costs.values()))
    assert found[1.0] < found[10.0] < found[100.0]
    assert drained_by(200.0, 10.0, table, least=40, late_price=1.0, overhead_s=60.0) == 40
