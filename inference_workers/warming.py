"""Running a model before it serves, so that nothing is allocated, optimised or compiled for the first request.

Where nobody says how large a batch may be, the first version that is warmed shows it: sizes double while that pays.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference_workers.batching import allowed_sizes
from inference_workers.errors import BrokenModel
from inference_workers.lanes import MOST_HOLD
from inference_workers.model import ComputeFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference_workers.device import Device
    from inference_workers.model import ServedModel

log = logging.getLogger(__name__)

#: Rows and seconds of batches.
Timings = tuple[tuple[int, float], ...]

#: Rows that a batch may have whatever they gain, as long as it takes less than the objective: else a moment in which
#: the machine did something else could look like a slow model, and the small batches would stay.
USUAL_ROWS = 64
#: Most rows of a batch that was not asked for: one row of a small CNN costs 3 to 6 % less at 1,024 than at 512, and a
#: batch holds the device for twice as long (measured).
LARGEST_ROWS = 512
#: A batch that holds the device for longer than a small part of the objective must serve so many times the rows a
#: second that half of it does.
GAIN = 1.25
#: Timed runs of a size, and seconds after which no further one begins. The quickest counts: a pause of the machine
#: makes a run longer, and nothing makes it shorter.
RUNS, ENOUGH_S = 3, 0.25


class Warming:
    """Warms versions of one model.

    Args:
        device: where they will run.
        max_batch: most rows of a batch; `None` = what the first version shows.
        objective_s: seconds within which requests want their results.

    """

    def __init__(self, device: Device, max_batch: int | None, objective_s: float) -> None:
        self._device, self._objective_s = device, objective_s
        self._sizes = None if max_batch is None else allowed_sizes(max_batch)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Allowed batch sizes; known when they were told, or a version was warmed."""
        if self._sizes is None:
            msg = "no version has been warmed yet"
            raise RuntimeError(msg)
        return self._sizes

    def __call__(self, model: ServedModel) -> Timings:
        """Run each allowed size; returns rows and seconds of each.

        Raises:
            BrokenModel: the model fails on an input that its own signature asks for.

        """
        if self._sizes is not None:
            return warm(model, self._device, self._sizes)
        # The sizes stay what they are for later versions: those are warmed while others are served, and look slower.
        timings = grown(lambda size: _seconds(model, self._device, size), self._objective_s)
        self._sizes = tuple(rows for rows, _ in timings)
        log.info("worker.batch_sizes", extra={"max_batch": self._sizes[-1]})
        return timings


def grown(seconds_of: Callable[[int], float | None], objective_s: float) -> Timings:
    """Batches of 1, 2, 4 ... rows, as long as larger ones are worth having.

    Args:
        seconds_of: runs a batch of so many rows; `None` = it does not fit into memory. Never of 1 row.
        objective_s: seconds within which requests want their results.

    Returns:
        the sizes that are worth it, with their seconds; at least 1 row.

    """
    found: list[tuple[int, float]] = []
    for size in allowed_sizes(LARGEST_ROWS):
        seconds = seconds_of(size)
        if seconds is None or (found and not pays((size, seconds), found[-1], objective_s)):
            break
        found.append((size, seconds))
        if seconds > objective_s:
            break
    return tuple(found)


def pays(timed: tuple[int, float], half: tuple[int, float], objective_s: float) -> bool:
    """Whether batches of a size are worth having beside those of half of it.

    With S(n) the seconds of n rows: S(n) is at most the objective, and either n is usual, or S(n) is a small part of
    the objective, or the rows a second, n / S(n), are `GAIN` times as many as those of the half.
    """
    rows, seconds = timed
    if seconds > objective_s or rows <= USUAL_ROWS:
        return seconds <= objective_s
    gain = (rows / seconds) / (half[0] / half[1])
    return seconds <= MOST_HOLD * objective_s or gain >= GAIN


def warm(model: ServedModel, device: Device, sizes: Sequence[int]) -> Timings:
    """Run each allowed batch size a few times.

    Args:
        model: freshly loaded.
        device: where it will run.
        sizes: allowed batch sizes, in rows.

    Returns:
        for each size its rows and the seconds of the quickest run: first points of a service curve. On an emulated
        device those that it states.

    Raises:
        BrokenModel: the model fails on an input that its own signature asks for.

    """
    timings = []
    for size in sizes:
        seconds = _seconds(model, device, size, may_be_too_large=False)
        assert seconds is not None, "what is too large raises"  # noqa: S101 - for the type checker
        timings.append((size, seconds if device.emulated is None else max(seconds, device.emulated.seconds(size))))
    return tuple(timings)


def _seconds(model: ServedModel, device: Device, size: int, *, may_be_too_large: bool = True) -> float | None:
    """The quickest of some runs, after one that does not count; `None` = larger than memory.

    Raises:
        BrokenModel: the model fails.

    """
    sample = model.sample(size)
    spent_s, quickest = 0.0, float("inf")
    try:
        model.run(sample)
        for _ in range(RUNS):
            # Not held for an emulated device's time: nobody waits for an answer here.
            _, seconds, _ = device.compute(model, sample, size, hold=lambda _s: None)
            spent_s, quickest = spent_s + seconds, min(quickest, seconds)
            if spent_s > ENOUGH_S:
                break
    except ComputeFailed as error:
        if may_be_too_large and error.out_of_memory and size > 1:
            return None
        msg = (
            f"model {model.name} version {model.version} fails on zeros of its own signature at {size} rows: "
            f"{error}; export it again"
        )
        raise BrokenModel(msg) from error
    return quickest
