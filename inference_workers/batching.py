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


def stack(requests: Sequence[Tensors], size: int) -> dict[str, NDArray[Any]]:
    """One array an input, rows of the requests in order, padded to `size` rows by repeating the last row.

    Repeated rather than zero: a row the model has a finite answer for, whatever it normalises by.
    """
    stacked = {}
    for name, first in requests[0].items():
        batch = np.empty((size, *first.shape[1:]), dtype=first.dtype)
        at = 0
        for request in requests:
            rows = request[name]
            batch[at : at + len(rows)] = rows
            at += len(rows)
        if at < size:
            batch[at:] = batch[at - 1]
        stacked[name] = batch
    return stacked


def split(outputs: Tensors, rows: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    """The outputs of each request: consecutive slices of `rows[i]` rows. Views, not copies."""
    answers, at = [], 0
    for count in rows:
        answers.append({name: array[at : at + count] for name, array in outputs.items()})
        at += count
    return answers


def chunks(inputs: Tensors, rows: int, most: int) -> list[dict[str, NDArray[Any]]]:
    """A request of more rows than a batch takes, in pieces of at most `most` rows. Views, not copies."""
    return [{name: array[at : at + most] for name, array in inputs.items()} for at in range(0, rows, most)]


def bisect(items: Sequence[T], run: Callable[[Sequence[T]], list[R]], fails: type[Exception]) -> list[R | Exception]:
    """Run `items` together; where that fails, in halves, down to the culprit alone.

    One culprit among n costs at most 2 * ceil(log2 n) runs more; the other items get their results.

    Args:
        items: at least one.
        run: returns a result an item, or raises.
        fails: the exception that means "something in here cannot be computed"; others pass through.

    Returns:
        a result or the exception for each item, in order.

    """
    try:
        return list(run(items))
    except fails as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return bisect(items[:middle], run, fails) + bisect(items[middle:], run, fails)
