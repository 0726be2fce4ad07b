"""Made-up loads: rate curves with a name, each with a mean of 1 over its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

HOUR_S = 3600.0
#: Length of a tooth, in seconds: a boot of 20 s is short beside it, and six of them are an hour.
TOOTH_S = 600.0
#: Mean distance of bursts and their length, in seconds; their height over the base.
BURST_EVERY_S, BURST_S, BURST_HEIGHT = 180.0, 20.0, 5.0


@dataclass(frozen=True, slots=True)
class Pattern:
    """A named load."""

    name: str
    #: In one line, for people.
    words: str
    #: Seconds, where no other length is asked for.
    length_s: float
    #: Relative rate at times (seconds from the start, shape (n,)), given length and seed; >= 0, of any mean.
    shape: Callable[[Numbers, float, int], Numbers]


def _constant(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    del length_s, seed
    return np.ones_like(at_s)


def _step5(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    del seed
    along = at_s / length_s
    return np.where((along >= 1 / 3) & (along < 2 / 3), 5.0, 1.0)


def _sawtooth6(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    del length_s, seed
    return 1.0 + 5.0 * (at_s % TOOTH_S) / TOOTH_S


def _ramp(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    del seed
    return 1.0 + 3.0 * at_s / length_s


def _daily(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    del length_s, seed
    return 1.0 - 0.7 * np.cos(2 * np.pi * at_s / (24 * HOUR_S))


def _bursts(at_s: Numbers, length_s: float, seed: int) -> Numbers:
    rng = np.random.default_rng([seed, 0xB])
    starts = np.cumsum(rng.exponential(BURST_EVERY_S, int(2 * length_s / BURST_EVERY_S) + 10))
    last = np.searchsorted(starts, at_s, side="right") - 1
    inside = (last >= 0) & (at_s - starts[np.maximum(last, 0)] < BURST_S)
    return np.where(inside, BURST_HEIGHT, 1.0)


PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        Pattern("constant", "the same rate all along", HOUR_S, _constant),
        Pattern("step5", "one 5x step: up after a third, down after two thirds", HOUR_S, _step5),
        Pattern("sawtooth6", "6x sawtooth: ten minutes up, down at once", HOUR_S, _sawtooth6),
        Pattern("ramp", "straight from 1 to 4", HOUR_S, _ramp),
        Pattern("daily", "a sine of 24 hours, 5.7 times from trough to peak", 24 * HOUR_S, _daily),
        Pattern("bursts", "5x bursts of 20 s at random, one every three minutes", HOUR_S, _bursts),
    )
}
