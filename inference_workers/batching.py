"""How requests become batches and batches become answers: pure functions over arrays and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
T = TypeVar("T")
R = TypeVar("R")


def allowed_sizes(max_batch: int) -> tuple[int, ...]:
    """Rows to which batches are padded: powers of two, and `max_batch` itself.

    A padded batch wastes less than half of its rows, and log2(max_batch) + 1 sizes are few enough to warm each.
    """
    sizes = [1]
    while sizes[-1] * 2 < max_batch:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes) if max_batch == 1 else (*sizes, max_batch)


def padded_size(rows: int, sizes: Sequence[int]) -> int:
    """The smallest allowed size that holds `rows` rows (1 <= rows <= the largest size)."""
    return next(size for size in sizes if size >= rows)


def shape_key(inputs: Tensors) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """What requests must have in common to be computed together: names, types and shapes but for the rows."""
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))


def stack(requests: Sequence[Tensors], rows: int, size: int) -> dict[str, NDArray[Any]]:
    """One array an input, the `rows` rows of the requests in order, padded to `size` rows by repeating the last row.

    Repeated rather than zero: a row the model has a finite answer for, whatever it normalises by.
    """
    if len(requests) == 1 and rows == size:
        return dict(requests[0])
    stacked = {}
    for name, first in requests[0].items():
        batch = np.empty((size, *first.shape[1:]), dtype=first.dtype)
        np.concatenate([request[name] for request in requests], out=batch[:rows])
        if rows < size:
            batch[rows:] = batch[rows - 1]
        stacked[name] = batch
    return stacked


def chunks(inputs: Tensors, rows: int, most: int) -> list[dict[str, NDArray[Any]]]:
    """A request of more rows than a batch takes, in pieces of at most `most` rows. Views, not copies."""
    return [{name: array[at : at + most] for name, array in inputs.items()} for at in range(0, rows, most)]


def isolate(items: Sequence[T], run: Callable[[Sequence[T]], list[R]], fails: type[Exception]) -> list[R | Exception]:
    """Run `items` together; where that fails, find the culprit by halves, and run all others together.

    Only one half is run at each step: if it fails the culprit is in it, else in the other. So one culprit among n costs
    at most ceil(log2 n) + 1 runs after the first, where running both halves each time would cost twice that.

    A culprit found by elimination is run alone to make sure, unless that would be one run too many; then what it was
    last part of, less what has succeeded, has failed, which no other item of it can explain.

    Args:
        items: at least one.
        run: returns a result an item, or raises.
        fails: the exception that means "something in here cannot be computed"; others pass through.

    Returns:
        a result or the exception, without traceback and cause, for each item, in order.

    """
    found: dict[int, R | Exception] = {}

    def failure(indices: Sequence[int]) -> Exception | None:
        try:
            found.update(zip(indices, run([items[index] for index in indices]), strict=True))
        except fails as error:
            # Its traceback holds the batch and everything that ran it, and they would hold it: a circle for each bad
            # record, which only a collection frees.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return None

    groups = [list(range(len(items)))]
    while groups:
        suspects = groups.pop()
        error = failure(suspects)
        rest: list[int] = []
        alone = len(suspects) == 1
        while error is not None and len(suspects) > 1:
            half = len(suspects) // 2
            again = failure(suspects[:half])
            if again is None:
                suspects, alone = suspects[half:], False
            else:
                rest = suspects[half:] + rest
                suspects, error, alone = suspects[:half], again, half == 1
        if error is not None and not alone and not rest:
            error = failure(suspects)
        if error is not None:
            found[suspects[0]] = error
        if rest:
            groups.append(rest)
    return [found[index] for index in range(len(items))]
