"""The service curve, fitted while the worker works: seconds of a batch over its rows."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import ServiceCurve

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Batches remembered a size: enough for a steady median, few enough to follow a change within seconds of load.
REMEMBERED = 32
#: Batches between two fits: a fit costs as much as a small batch, and the curve changes slowly.
FIT_EVERY = 32


class CurveFit:
    """Least squares of `a + b*n` through the median time of each batch size, weighted by how often it was seen.

    Medians, since one batch in fifty waits for the scheduler or a garbage collection. Memory is bounded: the sizes are
    the few that batches are padded to.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._seen: dict[int, deque[float]] = {}
        self._since_fit = 0
        self._fitted: ServiceCurve | None = None

    def add(self, rows: int, seconds: float) -> None:
        """A batch that held the device for `rows` rows took `seconds`."""
        times = self._seen.get(rows)
        if times is None:
            # A size not seen before may change much.
            times, self._since_fit = self._seen.setdefault(rows, deque(maxlen=REMEMBERED)), FIT_EVERY
        times.append(seconds)
        self._since_fit += 1

    def restart(self, timings: Iterable[tuple[int, float]]) -> None:
        """Forget all, and begin with these rows and seconds: another model is served."""
        seen: dict[int, deque[float]] = {}
        for rows, seconds in timings:
            seen.setdefault(rows, deque(maxlen=REMEMBERED)).append(seconds)
        # Replaced whole: the reporting thread may be reading the old one.
        self._seen = seen

    def curve(self) -> ServiceCurve | None:
        """The fitted curve, at most `FIT_EVERY` batches old; `None` = fewer than two sizes seen, or no cost above 0."""
        if self._since_fit >= FIT_EVERY:
            self._since_fit, self._fitted = 0, self._fit()
        return self._fitted

    def _fit(self) -> ServiceCurve | None:
        # A copy: the executing thread may add a size meanwhile, or begin anew.
        seen = dict(self._seen)
        if len(seen) < 2:  # noqa: PLR2004 - a line needs two points
            return None
        sizes = np.array(list(seen), dtype=float)
        medians = np.array([np.median(times) for times in seen.values()])
        weights = np.sqrt([len(times) for times in seen.values()])
        b, a = np.polyfit(sizes, medians, 1, w=weights)
        # A negative coefficient is noise: no batch is free, and none takes back time.
        a, b = max(float(a), 0.0), max(float(b), 0.0)
        return ServiceCurve(a, b, self._max_batch) if a + b > 0 else None
