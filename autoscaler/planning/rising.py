"""Where a load goes that has been rising for some seconds: least squares, carried on.

Counts n_1 ... n_w of the last w seconds, centred times t_i:  slope = sum t_i n_i / sum t_i^2. Poisson counts of a
constant rate m give it a standard error of sqrt(m / sum t_i^2) by chance alone; so many of them are taken off first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Seconds that a rise is read off: half of what smoothed traces and most real ramps take, and enough that chance moves
#: a thousand requests a second by less than 5 % of their rate over ten seconds.
WINDOW_S = 8


def ahead(counts: NDArray[np.float64], after_s: float, *, sure: float) -> float:
    """Rate in `after_s` seconds of a load that goes on rising.

    Args:
        counts: Arrivals of each second, the newest last.
        after_s: Seconds from now.
        sure: Standard errors that are taken off the slope.

    Returns:
        Records a second; 0 = it does not rise, or too few seconds are known.
    """
    newest = counts[-WINDOW_S:]
    if newest.size < WINDOW_S:
        return 0.0
    at_s = np.arange(WINDOW_S) - (WINDOW_S - 1) / 2
    square = float(at_s @ at_s)
    mean = float(newest.mean())
    slope = float(at_s @ newest) / square - sure * math.sqrt(max(1.0, mean) / square)
    return mean + slope * (WINDOW_S / 2 + after_s) if slope > 0 else 0.0
