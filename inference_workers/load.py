"""How much is asked of the device of late: rows a second that come in, and the share of time that it is busy."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds over which the past fades to a third: several batches, and quick enough to see a surge begin.
MEMORY_S = 1.0


@dataclass(slots=True)
class Fading:
    """A sum over the last `MEMORY_S` or so, older amounts counting less. Written by one thread, read by any."""

    clock: Callable[[], float] = time.monotonic
    _sum: float = 0.0
    _at: float = field(default=-math.inf)

    def add(self, amount: float) -> None:
        """Something happened now."""
        now = self.clock()
        self._sum = self._sum * math.exp(-(now - self._at) / MEMORY_S) + amount
        self._at = now

    @property
    def per_second(self) -> float:
        """The amount a second, as a mean over the recent past."""
        return self._sum * math.exp(-(self.clock() - self._at) / MEMORY_S) / MEMORY_S


@dataclass(slots=True)
class Load:
    """What the batching decision wants to know."""

    clock: Callable[[], float] = time.monotonic
    arrived: Fading = field(init=False)
    held: Fading = field(init=False)

    def __post_init__(self) -> None:
        self.arrived, self.held = Fading(self.clock), Fading(self.clock)

    @property
    def rate(self) -> float:
        """Rows a second that came in."""
        return self.arrived.per_second

    @property
    def busy(self) -> float:
        """Share of the time that the device was held, 0 to 1."""
        return min(self.held.per_second, 1.0)
