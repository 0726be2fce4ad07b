"""Running a model before it serves, so that nothing is allocated, optimised or compiled for the first request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_workers.errors import BrokenModel
from inference_workers.model import ComputeFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference_workers.device import Device
    from inference_workers.model import ServedModel


def warm(model: ServedModel, device: Device, sizes: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Run each allowed batch size twice.

    Args:
        model: freshly loaded.
        device: where it will run.
        sizes: allowed batch sizes, in rows.

    Returns:
        for each size its rows and the seconds of the second run: first points of a service curve. On an emulated
        device those that it states.

    Raises:
        BrokenModel: the model fails on an input that its own signature asks for.

    """
    timings = []
    for size in sizes:
        sample = model.sample(size)
        try:
            model.run(sample)
            # Not held for an emulated device's time: nobody waits for an answer here.
            _, seconds, rows = device.compute(model, sample, size, hold=lambda _s: None)
        except ComputeFailed as error:
            msg = (
                f"model {model.name} version {model.version} fails on zeros of its own signature at {size} rows: "
                f"{error}; export it again"
            )
            raise BrokenModel(msg) from error
        timings.append((rows, seconds if device.emulated is None else max(seconds, device.emulated.seconds(size))))
    return tuple(timings)
