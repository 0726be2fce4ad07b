"""The service curve, fitted while the worker works: seconds of a batch over its rows."""

from __future__ import annotations

from collections import deque

import numpy as np

from autoscaler.model import ServiceCurve

#: Batches remembered a size: enough for a steady median, few enough to follow a change within seconds of load.
REMEMBERED = 32


class CurveFit:
    """Least squares of `a + b*n` through the median time of each batch size, weighted by how often it was seen.

    Medians, since one batch in fifty waits for the scheduler or a garbage collection. Memory is bounded: the sizes are
    the few that batches are padded to.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._seen: dict[int, deque[float]] = {}

    def add(self, rows: int, seconds: float) -> None:
        """A batch that held the device for `rows` rows took `seconds`."""
        self._seen.setdefault(rows, deque(maxlen=REMEMBERED)).append(seconds)

    def curve(self) -> ServiceCurve | None:
        """The fitted curve; `None` = fewer than two sizes seen, or no cost above zero."""
        if len(self._seen) < 2:  # noqa: PLR2004 - a line needs two points
            return None
        sizes = np.array(list(self._seen), dtype=float)
        medians = np.array([np.median(times) for times in self._seen.values()])
        weights = np.sqrt([len(times) for times in self._seen.values()])
        b, a = np.polyfit(sizes, medians, 1, w=weights)
        # A negative coefficient is noise: no batch is free, and none takes back time.
        a, b = max(float(a), 0.0), max(float(b), 0.0)
        return ServiceCurve(a, b, self._max_batch) if a + b > 0 else None
