"""What a worker computes on: a CPU, a GPU, or a device emulated on top of a CPU."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inference_workers.errors import InvalidDevice

if TYPE_CHECKING:
    from autoscaler.model import ServiceCurve
    from inference_workers.model import ServedModel

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Device:
    """Where batches run.

    With `emulated` set, the real answer is computed on the CPU and the worker is then held until the stated time has
    passed: fleets can be studied on a laptop. It is named as emulated wherever a number of it is shown.
    """

    gpu: int | None = None
    emulated: ServiceCurve | None = None

    @property
    def label(self) -> str:
        """Name for reports and people, e.g. `emulated(20 ms + 20 ms/row, batch 8)`."""
        if self.emulated is not None:
            curve = self.emulated
            return f"emulated({curve.a_s * 1000:g} ms + {curve.b_s * 1000:g} ms/row, batch {curve.max_batch})"
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"

    def compute(
        self,
        model: ServedModel,
        inputs: Tensors,
        rows: int,
        *,
        clock: Callable[[], float] = time.perf_counter,
        hold: Callable[[float], None] = time.sleep,
    ) -> tuple[dict[str, NDArray[Any]], float, int]:
        """Run one padded batch.

        Args:
            model: what to run.
            inputs: arrays padded to an allowed size.
            rows: how many of their rows are real.
            clock: seconds, monotonic.
            hold: waits for so many seconds.

        Returns:
            the outputs (padded), the seconds that the device was held, and the rows that it was held for: the padded
            ones on a real device, the real ones on an emulated one.

        """
        started = clock()
        outputs = model.run(inputs)
        if self.emulated is None:
            return outputs, clock() - started, len(next(iter(inputs.values())))
        rest = self.emulated.seconds(rows) - (clock() - started)
        if rest > 0:
            hold(rest)
        return outputs, clock() - started, rows


def parse_device(text: str, curve: ServiceCurve) -> Device:
    """Read `cpu`, `gpu:N` or `emulated` (which takes the worker type's stated `curve`).

    Raises:
        InvalidDevice: anything else.

    """
    if text == "cpu":
        return Device()
    if text == "emulated":
        return Device(emulated=curve)
    if match := re.fullmatch(r"gpu:(\d+)", text):
        return Device(gpu=int(match[1]))
    msg = f"device {text!r}: must be cpu, gpu:N (e.g. gpu:0) or emulated"
    raise InvalidDevice(msg)
