"""Batch sizes, stacking and isolation, as properties."""

from __future__ import annotations

import gc
import math
import weakref
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
def test_what_is_stacked_is_in_order_and_padded_with_the_last_row(rows: list[int], padding: int) -> None:
    """Each request's rows stand where its answer will be looked for."""
    requests = [{"x": np.full((count, 2), index, np.float32)} for index, count in enumerate(rows)]
    stacked = batching.stack(requests, sum(rows), sum(rows) + padding)
    assert stacked["x"].shape == (sum(rows) + padding, 2)
    assert stacked["x"][: sum(rows), 0].tolist() == [index for index, count in enumerate(rows) for _ in range(count)]
    assert np.all(stacked["x"][sum(rows) :] == len(rows) - 1)


def test_strings_are_stacked_too() -> None:
    """Object arrays have no bytes to copy."""
    requests = [{"t": np.array([[b"a"]], object)}, {"t": np.array([[b"bc"], [b""]], object)}]
    assert batching.stack(requests, 3, 4)["t"].ravel().tolist() == [b"a", b"bc", b"", b""]


@given(st.integers(1, 50), st.integers(1, 20))
def test_chunks_cover_a_large_request(rows: int, most: int) -> None:
    """Pieces are at most as long as a batch, and joined they are the request."""
    array = np.arange(rows)
    pieces = batching.chunks({"x": array}, rows, most)
    assert all(1 <= len(piece["x"]) <= most for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([piece["x"] for piece in pieces]), array)


def _isolated(count: int, culprits: set[int]) -> tuple[list[int | Exception], int]:
    """The outcomes, and the runs that it took."""
    runs = 0

    def run(items: Sequence[int]) -> list[int]:
        nonlocal runs
        runs += 1
        if culprits & set(items):
            raise ValueError(min(culprits & set(items)))
        return [item * 10 for item in items]

    return batching.isolate(range(count), run, ValueError), runs


@given(st.integers(1, 300), st.data())
def test_one_culprit_costs_few_runs_and_no_neighbour(count: int, data: st.DataObject) -> None:
    """All but the culprit are answered; the runs beyond the first are at most ceil(log2 n) + 1."""
    culprit = data.draw(st.integers(0, count - 1))
    outcomes, runs = _isolated(count, {culprit})
    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [culprit]
    assert all(outcome == index * 10 for index, outcome in enumerate(outcomes) if index != culprit)
    assert runs - 1 <= (math.ceil(math.log2(count)) + 1 if count > 1 else 0)


@given(st.integers(1, 64), st.data())
def test_several_culprits_are_all_found(count: int, data: st.DataObject) -> None:
    """Each of them, and nobody else, whatever their number; each costs no more than one alone would."""
    culprits = data.draw(st.sets(st.integers(0, count - 1)))
    outcomes, runs = _isolated(count, culprits)
    assert {index for index, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)} == culprits
    assert runs <= 1 + len(culprits) * (math.ceil(math.log2(count)) + 2 if count > 1 else 1)


def test_a_failure_that_passes_blames_nobody() -> None:
    """A model that failed once, and not when asked again, has answered all."""
    failed = False

    def run(items: Sequence[int]) -> list[int]:
        nonlocal failed
        if not failed:
            failed = True
            raise ValueError
        return list(items)

    assert batching.isolate(range(2), run, ValueError) == [0, 1]


def test_requests_of_different_shapes_do_not_share_a_batch() -> None:
    """The key tells apart what cannot be stacked, and nothing else."""
    key = batching.shape_key({"x": np.zeros((1, 3))})
    assert key == batching.shape_key({"x": np.zeros((7, 3))})
    assert key != batching.shape_key({"x": np.zeros((1, 4))})
    assert key != batching.shape_key({"x": np.zeros((1, 3), np.float32)})


class _Item:
    """What a batch is made of."""


def test_a_bad_record_leaves_nothing_behind() -> None:
    """A failure that held its batch, and was held by it, would stay until a collection, which a worker seldom has."""
    items = [_Item() for _ in range(8)]
    left = [weakref.ref(one) for one in items]

    def run(some: Sequence[_Item]) -> list[int]:
        if items[3] in some:
            try:
                {}[0]
            except KeyError as error:
                raise ValueError("no") from error
        return [1] * len(some)

    gc.collect()
    gc.disable()
    try:
        outcomes = batching.isolate(items, run, ValueError)
        assert [str(outcome) for outcome in outcomes] == ["1"] * 3 + ["no"] + ["1"] * 4
        del outcomes
        items.clear()
        assert [one() for one in left] == [None] * 8
    finally:
        gc.enable()
