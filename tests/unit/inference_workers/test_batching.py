"""Batch sizes, stacking, splitting and bisection, as properties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference_workers import batching

if TYPE_CHECKING:
    from collections.abc import Sequence


@given(st.integers(1, 300))
def test_every_row_count_has_an_allowed_size(max_batch: int) -> None:
    """Sizes grow, end at the cap, hold every count, and pad to less than twice the rows."""
    sizes = batching.allowed_sizes(max_batch)
    assert sizes[-1] == max_batch
    assert list(sizes) == sorted(set(sizes))
    for rows in range(1, max_batch + 1):
        assert rows <= batching.padded_size(rows, sizes) < max(2 * rows, 2)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 7))
def test_what_is_stacked_comes_apart_again(rows: list[int], padding: int) -> None:
    """Each request gets its own rows back, in order, whatever is padded behind them."""
    requests = [{"x": np.full((count, 2), index, np.float32)} for index, count in enumerate(rows)]
    stacked = batching.stack(requests, sum(rows) + padding)
    assert stacked["x"].shape == (sum(rows) + padding, 2)
    for request, answer in zip(requests, batching.split(stacked, rows), strict=True):
        np.testing.assert_array_equal(request["x"], answer["x"])
    if padding:
        assert np.all(stacked["x"][sum(rows) :] == len(rows) - 1), "padded with the last row"


@given(st.integers(1, 50), st.integers(1, 20))
def test_chunks_cover_a_large_request(rows: int, most: int) -> None:
    """Pieces are at most as long as a batch, and joined they are the request."""
    array = np.arange(rows)
    pieces = batching.chunks({"x": array}, rows, most)
    assert all(1 <= len(piece["x"]) <= most for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([piece["x"] for piece in pieces]), array)


@given(st.integers(1, 64), st.data())
def test_one_culprit_costs_few_runs_and_no_neighbour(count: int, data: st.DataObject) -> None:
    """All but the culprit are answered; the runs beyond the first are at most 2 ceil(log2 n)."""
    culprit = data.draw(st.integers(0, count - 1))
    runs = 0

    def run(items: Sequence[int]) -> list[int]:
        nonlocal runs
        runs += 1
        if culprit in items:
            raise ValueError(culprit)
        return [item * 10 for item in items]

    outcomes = batching.bisect(range(count), run, ValueError)

    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [culprit]
    assert all(outcome == index * 10 for index, outcome in enumerate(outcomes) if index != culprit)
    assert runs - 1 <= 2 * math.ceil(math.log2(count)) if count > 1 else runs == 1


def test_requests_of_different_shapes_do_not_share_a_batch() -> None:
    """The key tells apart what cannot be stacked, and nothing else."""
    key = batching.shape_key({"x": np.zeros((1, 3))})
    assert key == batching.shape_key({"x": np.zeros((7, 3))})
    assert key != batching.shape_key({"x": np.zeros((1, 4))})
    assert key != batching.shape_key({"x": np.zeros((1, 3), np.float32)})
