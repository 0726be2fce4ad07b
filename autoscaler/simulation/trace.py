"""Recorded arrivals: counts in bins, with recording gaps left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals recorded in bins; the bins of recording gaps are left out."""

    name: str
    #: Start of each bin since the start of the trace, in recorded seconds.
    starts_s: Numbers
    widths_s: Numbers
    counts: NDArray[np.int64]
    #: Recorded seconds that were left out as gaps.
    gap_s: float

    @property
    def edges_s(self) -> Numbers:
        """Bin edges on the time axis joined over the gaps, from 0; one more than bins."""
        return np.concatenate(([0.0], np.cumsum(self.widths_s)))

    @property
    def end_s(self) -> float:
        """End of the last bin, in recorded seconds since the start of the trace."""
        return float(self.starts_s[-1] + self.widths_s[-1])
