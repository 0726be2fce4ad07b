"""The rate of now: the mean of the seconds since the rate last changed.

A change is looked for after every second of a window at once: two Poisson means against one (generalised likelihood
ratio; Basseville and Nikiforov 1993, section 2.4.3),

    gain(k) = 2 (S1 ln(S1 / k) + S2 ln(S2 / (n - k)) - S ln(S / n)) / D,

S1 being the arrivals of the newest k of n seconds, S2 the others, S all, and D the dispersion, so that bursty counts
need a stronger change. The best k is believed when chance would not give its gain in months of ticks; then the newest
k seconds are looked through again, since there may have been a later change. A fourfold step at 25 records a second is
seen in the first full second after it, one of 40 % at 200 in the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Seconds looked at, at most: 144 give the mean of 100 records a second to 0.8 %.
_LONGEST_S = 144
#: Fewest seconds in which a change is looked for.
_LEAST_S = 4
#: Gain that chance exceeds at one second in a million looks (chi-squared with one degree of freedom), less the choice.
_GAIN = 24.0
#: Seconds before and after a cut whose means must differ for a jump: a ramp is cut too, and does not jump.
_AROUND_S = 8
#: By how many standard deviations, and by which share of the larger.
_JUMP_SIGMAS, _JUMP_SHARE = 4.0, 0.12
#: Changes within the window that are looked for one after the other.
_CHANGES = 4
_SECONDS = np.arange(1.0, _LONGEST_S + 1)


@dataclass(frozen=True, slots=True)
class Level:
    """The rate at the newest second."""

    #: Records a second.
    per_s: float
    #: Its standard deviation.
    sigma_per_s: float
    #: Seconds that it is the mean of.
    window_s: int
    #: Seconds since the rate last jumped; `None` = not within the seconds looked at.
    jumped_s: int | None


def level(counts: Floats, dispersion: float) -> Level:
    """The rate at the end of `counts`.

    Args:
        counts: Arrivals in successive seconds, newest last, all known; at least one.
        dispersion: Variance over mean of such counts, at least 1.
    """
    sums = np.cumsum(counts[: -_LONGEST_S - 1 : -1])
    window = sums.size
    jumped_s = None
    for _ in range(_CHANGES):
        cut = _changed(sums[:window], dispersion)
        if cut is None:
            break
        window = cut
        if _jumped(sums, cut, dispersion):
            jumped_s = cut
    arrived = float(sums[window - 1])
    return Level(
        per_s=arrived / window,
        # One arrival more, so that silence is not taken for certainty.
        sigma_per_s=math.sqrt((arrived + 1) * dispersion) / window,
        window_s=window,
        jumped_s=jumped_s,
    )


def _jumped(sums: Floats, cut: int, dispersion: float) -> bool:
    """Whether the seconds right before a cut differ from those right after it."""
    after_s, before_s = min(_AROUND_S, cut), min(_AROUND_S, sums.size - cut)
    at = float(sums[cut - 1])
    after = (at - (float(sums[cut - 1 - after_s]) if cut > after_s else 0.0)) / after_s
    before = (float(sums[cut - 1 + before_s]) - at) / before_s
    sigma = math.sqrt((after / after_s + before / before_s) * dispersion)
    return abs(after - before) > max(_JUMP_SIGMAS * sigma, _JUMP_SHARE * max(after, before))


def _changed(sums: Floats, dispersion: float) -> int | None:
    """Seconds since the change that fits best; `None` = chance will do.

    Args:
        sums: Arrivals of the newest 1, 2, ... seconds.
        dispersion: Variance over mean of the counts.
    """
    n = sums.size
    total = float(sums[-1])
    if n < _LEAST_S or total <= 0:
        return None
    seconds = _SECONDS[: n - 1]
    after = sums[:-1] + 1e-9
    before = (total + 2e-9) - after
    gains = after * np.log(after / seconds)
    gains += before * np.log(before / (n - seconds))
    best = int(np.argmax(gains))
    gain = 2 * (float(gains[best]) - total * math.log(total / n)) / dispersion
    return best + 1 if gain > _GAIN + 2 * math.log(n) else None
