"""How large batches may be where nobody says: what the first version shows while it is warmed."""

from __future__ import annotations

import pytest

from inference_workers.cores import limit, usable_cores
from inference_workers.warming import grown


@pytest.mark.parametrize(
    ("a_s", "b_s", "rows"),
    [
        # 0.65 ms and 57 us a row: 30 ms at the most that is ever taken.
        (0.000_65, 0.000_057, 512),
        # 1 ms a row: 64 ms at 64; 128 take more than a tenth of the second and serve no more a second.
        (0.0, 0.001, 64),
        # 10 ms a row: 0.64 s at 64, which is usual; 20 ms: 64 rows take longer than the objective.
        (0.0, 0.01, 64),
        (0.0, 0.02, 32),
        # What costs the same whatever the rows: 0.3 s at 1 and at 512.
        (0.3, 0.000_1, 512),
        # 0.3 s and 1 ms: 256 rows serve 460 a second, 128 serve 299; 512 serve 631 and take 0.81 s.
        (0.3, 0.001, 512),
        # 3 ms a row on top of it: 64 rows serve 130 a second; 128 serve 187 a second and take 0.68 s; 256 take 1.07 s.
        (0.3, 0.003, 128),
        # Too slow for the objective even alone.
        (2.0, 1.0, 1),
    ],
)
def test_batches_grow_while_that_pays(a_s: float, b_s: float, rows: int) -> None:
    """With an objective of a second, by the rule in `pays`, worked out by hand."""
    timings = grown(lambda size: a_s + b_s * size, 1.0)
    assert [size for size, _ in timings] == [2**n for n in range(len(timings))]
    assert timings[-1] == (rows, a_s + b_s * rows)


def test_a_looser_objective_allows_larger_batches() -> None:
    """1 ms a row: 128 rows are a tenth of 1.28 s."""
    assert grown(lambda size: 0.001 * size, 1.27)[-1][0] == 64
    assert grown(lambda size: 0.001 * size, 1.29)[-1][0] == 128


def test_memory_ends_the_growth() -> None:
    """The size that does not fit is not used."""
    assert grown(lambda size: 0.000_01 * size if size <= 100 else None, 1.0)[-1][0] == 64


@pytest.mark.parametrize(
    ("said", "cores"),
    [("max 100000", None), ("-1 100000", None), ("", None), ("50000 100000", 1),
     ("150000 100000", 2), ("400000 100000", 4), ("1 0", None), ("100000", None)],
)  # fmt: skip
def test_a_container_has_the_cores_of_its_quota(said: str, cores: int | None) -> None:
    """As the kernel writes it, in both versions of control groups."""
    assert limit(said) == cores
    assert usable_cores() >= 1
