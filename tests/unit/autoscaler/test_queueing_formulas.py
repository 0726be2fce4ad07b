"""Text-book queues against published values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.errors import UnstableQueue
from autoscaler.queueing import erlang, mm1


@pytest.mark.parametrize(
    ("erlangs", "servers", "blocked"),
    [
        # Erlang B tables: the load that gives 1 % and 0.1 % and 5 % blocking.
        (4.461, 10, 0.01),
        (12.03, 20, 0.01),
        (3.092, 10, 0.001),
        (84.06, 100, 0.01),
        (6.216, 10, 0.05),
    ],
)
def test_erlang_b_agrees_with_the_published_table(erlangs: float, servers: int, blocked: float) -> None:
    """The tables give four digits of the load, hence half a per cent of the probability."""
    assert erlang.blocking(erlangs, servers) == pytest.approx(blocked, rel=5e-3)


def test_erlang_c_of_two_servers_at_half_load_is_a_third() -> None:
    """M/M/2 with rho = 1/2: C = 2 rho^2 / (1 + rho) = 1/3."""
    assert erlang.waiting_probability(1.0, 2) == pytest.approx(1 / 3)


def test_mmc_agrees_with_the_worked_example_of_gross_and_harris() -> None:
    """Eye clinic, M/M/3, lambda = 6/h, mu = 3/h: Lq = 8/9 patients and W = 28.9 minutes."""
    assert erlang.mean_queue(2.0, 3) == pytest.approx(8 / 9)
    assert erlang.mean_sojourn_s(6.0, 3.0, 3) * 60 == pytest.approx(28.9, abs=0.05)


@given(st.floats(0.01, 0.99), st.floats(0.1, 100))
@settings(deadline=None)  # the machine may be busy
def test_one_pooled_server_is_an_mm1_queue(rho: float, services_per_s: float) -> None:
    """Both formulas give 1 / (mu - lambda)."""
    arrivals = rho * services_per_s
    assert erlang.mean_sojourn_s(arrivals, services_per_s, 1) == pytest.approx(
        mm1.mean_sojourn_s(arrivals, services_per_s)
    )


def test_the_text_book_shortcut_has_no_steady_state_below_six_servers() -> None:
    """Lambda = 100, mu = 20: n = 5 grows for ever, n = 10 takes 0.1 s."""
    with pytest.raises(UnstableQueue, match="no steady state"):
        mm1.mean_sojourn_s(100 / 5, 20)
    assert mm1.mean_sojourn_s(100 / 10, 20) == pytest.approx(0.1)


def test_pooled_and_separate_queues_differ_by_the_pooling_loss() -> None:
    """Lambda = 40/s, mu = 5/s, 99 % wait at most 1 s: 9 pooled servers, 26 separate ones."""
    assert erlang.servers_for_wait(40, 5, 1.0, 0.99, most=50) == 9
    separate = next(n for n in range(9, 99) if erlang.wait_quantile_s(40 / n, 5, 1, 0.99) <= 1.0)
    assert separate == 26


def test_servers_for_a_quantile_are_the_fewest() -> None:
    """The count found meets the limit and one fewer does not."""
    n = mm1.servers_for_quantile(100, 20, 0.5, 0.99)
    assert n is not None
    assert mm1.sojourn_quantile_s(100 / n, 20, 0.99) <= 0.5 < mm1.sojourn_quantile_s(100 / (n - 1), 20, 0.99)
    assert mm1.servers_for_quantile(100, 20, 0.1, 0.99) is None


@given(st.integers(1, 200), st.floats(0.01, 1))
@settings(deadline=None)  # the machine may be busy
def test_erlang_c_is_above_erlang_b(servers: int, load: float) -> None:
    """Who may wait meets busy servers more often than who is turned away."""
    erlangs = servers * load * 0.999
    assert 0 <= erlang.blocking(erlangs, servers) <= erlang.waiting_probability(erlangs, servers) <= 1


@pytest.mark.parametrize("erlangs", [3.0, 3.5])
def test_overload_is_refused_and_not_answered_with_a_number(erlangs: float) -> None:
    """At and above capacity there is no waiting time."""
    with pytest.raises(UnstableQueue, match="add servers"):
        erlang.waiting_probability(erlangs, 3)
