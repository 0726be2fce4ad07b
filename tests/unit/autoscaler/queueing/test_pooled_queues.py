"""Erlang B and C, M/M/c, separate M/M/1, staffing and pooling against published values and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.errors import UnstableQueue
from autoscaler.model import Objective, ServiceCurve
from autoscaler.queueing import batch, erlang, mm1, split, staffing


def even(partitions: int) -> tuple[float, ...]:
    """Equal shares."""
    return (1 / partitions,) * partitions


def test_erlang_c_agrees_with_the_worked_call_centre_examples() -> None:
    """360 calls of 4 min in half an hour, 55 agents: 0.239 wait, 8.2 s on average (Mitan Ltd.'s step-by-step example).

    100 calls of 3 min in half an hour, 14 agents: 17.41 % wait, 7.8 s (Call Centre Helper's example). The texts give
    two to four digits.
    """
    assert erlang.waiting_probability(48.0, 55) == pytest.approx(0.239, abs=5e-4)
    assert erlang.mean_wait_s(0.2, 1 / 240, 55) == pytest.approx(8.2, abs=0.05)
    assert erlang.waiting_probability(10.0, 14) == pytest.approx(0.1741, abs=5e-5)
    assert erlang.mean_wait_s(10 / 180, 1 / 180, 14) == pytest.approx(7.8, abs=0.05)


@pytest.mark.parametrize(
    ("erlangs", "blocked", "servers"), [(4.461, 0.0101, 10), (12.03, 0.0101, 20), (84.06, 0.0101, 100)]
)
def test_servers_for_a_blocking_are_those_of_the_erlang_b_table(erlangs: float, blocked: float, servers: int) -> None:
    """The table's load at 1 % needs its own servers, and one fewer does not do."""
    assert erlang.servers_for_blocking(erlangs, blocked, 200) == servers
    assert erlang.servers_for_blocking(erlangs, blocked, servers - 1) is None


def test_the_mean_of_the_sojourn_tail_is_the_mean_sojourn() -> None:
    """Integral of P(T > t) = W, also where theta = mu (c - 1 = a), where the formula takes another form."""
    for arrivals, servers in ((6.0, 3), (2.0, 2), (6.0, 4), (30.0, 11)):
        seconds = np.linspace(0.0, 40.0, 40_001)
        tail = [erlang.sojourn_exceeds(t, arrivals, 3.0, servers) for t in seconds]
        assert np.trapezoid(tail, seconds) == pytest.approx(erlang.mean_sojourn_s(arrivals, 3.0, servers), rel=1e-5)


@given(st.floats(0.05, 0.97), st.floats(0.5, 0.999))
@settings(deadline=None, max_examples=30)  # the machine may be busy
def test_the_sojourn_quantile_of_one_server_is_exponential(rho: float, q: float) -> None:
    """M/M/1: -ln(1 - q) / (mu - lambda)."""
    assert erlang.sojourn_quantile_s(rho * 5, 5.0, 1, q) == pytest.approx(
        mm1.sojourn_quantile_s(rho * 5, 5.0, q), rel=1e-6
    )


def test_the_means_of_one_server_obey_littles_law() -> None:
    """Rho = 0.8: Lq = 0.64 / 0.2 = 3.2 (every text book)."""
    assert mm1.mean_queue(4.0, 5.0) == pytest.approx(3.2)
    assert mm1.mean_wait_s(4.0, 5.0) == pytest.approx(0.8)
    assert mm1.separate_mean_sojourn_s(100.0, 20.0, 10) == pytest.approx(0.1)
    with pytest.raises(UnstableQueue):
        mm1.separate_mean_sojourn_s(100.0, 20.0, 5)
    with pytest.raises(ValueError, match="at least 1"):
        mm1.separate_mean_sojourn_s(100.0, 20.0, 0)


def test_square_root_staffing_keeps_the_probability_of_waiting_as_the_pool_grows() -> None:
    """Halfin and Whitt: beta = 1 lets 0.2234 wait; at R = 10,000 Erlang C is there within 1 %, at 100 within 10 %."""
    assert staffing.waiting_probability(1.0) == pytest.approx(0.2234, abs=5e-5)
    assert staffing.safety(0.2234) == pytest.approx(1.0, abs=2e-4)
    assert erlang.waiting_probability(10_000.0, staffing.square_root_servers(10_000.0, 1.0)) == pytest.approx(
        0.2234, rel=0.01
    )
    assert erlang.waiting_probability(100.0, staffing.square_root_servers(100.0, 1.0)) == pytest.approx(0.2234, rel=0.1)
    assert staffing.square_root_servers(0.0, 1.0) == 1


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_staffing_at_the_load_itself_is_refused(beta: float) -> None:
    """No safety, no steady state."""
    with pytest.raises(UnstableQueue, match="no steady state"):
        staffing.square_root_servers(10.0, beta)
    with pytest.raises(UnstableQueue, match="no steady state"):
        staffing.waiting_probability(beta)


def test_whole_partitions_need_what_the_busiest_needs() -> None:
    """40/s at 5/s each within 1.5 s: nine pooled, 21 even queues, and 32 on 32 partitions.

    -ln 0.01 / 1.5 = 3.07 of the 5/s must be spare, so a worker may have 1.93/s: 40 / 1.93 = 20.7 even queues. But 21
    workers leave one with two of 32 partitions, 2.5/s; only 32 do. Of 640 partitions 21 leave one with 31, 1.94/s.
    """
    loss = staffing.pooling_loss(40.0, 5.0, 1.5, 0.99, even(32))
    assert (loss.pooled, loss.separate, loss.workers) == (9, 32, 23)
    assert mm1.servers_for_quantile(40.0, 5.0, 1.5, 0.99) == 21
    assert staffing.split_workers(40.0, 5.0, 1.5, 0.99, even(640)) == 22
    assert staffing.split_workers(40.0, 5.0, 1.5, 0.99, even(6400)) == 21


def test_skew_needs_more_and_a_partition_too_busy_is_never_served() -> None:
    """One partition with a fifth of the load: with 12/s it fits one worker of 5/s; with 40/s it does not."""
    skewed = (0.2, *((0.8 / 31,) * 31))
    even_workers = staffing.split_workers(12.0, 5.0, 2.0, 0.99, even(32))
    skewed_workers = staffing.split_workers(12.0, 5.0, 2.0, 0.99, skewed)
    assert even_workers is not None
    assert skewed_workers is not None
    assert skewed_workers >= even_workers
    assert split.busiest_share(skewed, skewed_workers) * 12.0 < 5.0
    assert staffing.split_workers(40.0, 5.0, 2.0, 0.99, skewed) is None
    assert staffing.pooling_loss(40.0, 5.0, 2.0, 0.99, skewed).workers is None


def test_batching_workers_are_sized_by_the_rate_that_one_may_have() -> None:
    """8 workers' worth on 64 partitions, at most 90 %: of 9 one has 8 partitions (rho 1.0), of 10 one has 7."""
    curve, objective = ServiceCurve(0.015, 0.005, 16), Objective(1.0, 0.99)
    rate = 8 * curve.capacity_per_s
    assert staffing.split_batch_workers(rate, curve, objective, even(64), utilisation=0.9) == 10
    most = batch.highest_rate(curve, objective, 0.9)
    assert split.busiest_share(even(64), 10) * rate <= most < split.busiest_share(even(64), 9) * rate
    assert staffing.split_batch_workers(100 * curve.capacity_per_s, curve, objective, even(64)) is None
