"""How many slow workers: what pays over its stay, and what does not pay back is not done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.planning import stays
from autoscaler.planning.mixture import Mixes, MixKind, mixes

GPU, CPU = MixKind("gpu", 19.0, 8.0, 0, 4), MixKind("cpu", 1.0, 1.0, 1, 64)
BOOT_S, STEP_S = 90.0, 10.0


@pytest.fixture
def table() -> Mixes:
    """GPUs and CPU workers on 64 partitions."""
    return mixes((GPU, CPU), (1 / 64,) * 64)


def choice(
    table: Mixes,
    load: float | np.ndarray,
    *,
    declared: int,
    serving: int | None = None,
    steps: int = 40,
    move_price: float = 100.0,
    starting: tuple[float, ...] = (),
) -> int:
    """GPUs asked for when so many are and this load is certain."""
    serving = declared if serving is None else serving
    slow = [stays.Slow(declared, serving, starting, BOOT_S)]
    loads = np.broadcast_to(np.asarray(load, dtype=float), (1, steps))
    found = stays.costs(
        table, slow, loads, step_s=STEP_S, late_price=5.0, move_price=move_price, serving_worth=19.0 * serving + 10
    )
    return int(table.slow[stays.chosen(table, slow, found), 0])


@pytest.mark.parametrize(("load", "gpus"), [(5, 0), (15, 1), (30, 2), (50, 3)])
def test_a_load_that_stays_gets_the_cheapest_base(table: Mixes, load: int, gpus: int) -> None:
    """Whatever was there before, with four hours ahead: the integer program for one period."""
    for declared in range(5):
        assert choice(table, load, declared=declared, steps=1440) == gpus == table.cheapest(load)[0]


def test_a_gpu_is_not_let_go_for_a_dip(table: Mixes) -> None:
    """A minute at a third of the load, then as before: the way down and up again is dearer than two idle minutes."""
    dip = np.full(60, 50.0)
    dip[:6] = 15.0
    assert choice(table, dip, declared=3, steps=60) == 3
    assert choice(table, 15.0, declared=3, steps=60) < 3


def test_a_gpu_is_not_ordered_for_a_burst_that_is_over_before_it_serves(table: Mixes) -> None:
    """A minute of more load is for CPU workers; the same load for good is for a GPU."""
    burst = np.full(60, 30.0)
    burst[:6] = 50.0
    assert choice(table, burst, declared=2, steps=60) == 2
    assert choice(table, 50.0, declared=2, steps=60) == 3


@given(st.floats(1.0, 60.0), st.integers(0, 4))
def test_dearer_moves_change_less(load: float, declared: int) -> None:
    """What is chosen at a price of moving so high that nothing pays is what is there."""
    table = mixes((GPU, CPU), (1 / 64,) * 64)
    assert choice(table, load, declared=declared, move_price=1e9) == declared


def test_the_cost_of_a_certain_load_by_hand(table: Mixes) -> None:
    """30 workers' worth for 400 s with one GPU there and a second asked for.

    Both are paid for 400 s; beside one GPU 12 CPU workers carry 30 for the first 90 s, beside two the least allowed.
    """
    slow = [stays.Slow(1, 1, (), BOOT_S)]
    found = stays.costs(
        table, slow, np.full((1, 40), 30.0), step_s=STEP_S, late_price=50.0, move_price=700.0, serving_worth=31.0
    )
    row = int(table.rows(np.array([[2]]))[0])
    assert found[row] == pytest.approx(2 * 8 * 400 + 12 * 90 + 1 * 310 + 700 * 19 / 31)
    # What is there is not moved, and one that starts already comes when it comes.
    started = stays.costs(
        table,
        [stays.Slow(2, 1, (30.0,), BOOT_S)],
        np.full((1, 40), 30.0),
        step_s=STEP_S,
        late_price=50.0,
        move_price=0.0,
        serving_worth=31.0,
    )
    assert started[row] == pytest.approx(2 * 8 * 400 + 12 * 30 + 1 * 370)
