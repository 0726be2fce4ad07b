"""What a fleet could do with its forecasts: the courses, and how many workers each declares.

A *course* is a margin (how much is added to the forecast's middle), a patience (for how long the highest need that came
is kept), and a habit:

- how long a need that was forecast is kept, whether or not it came;
- whether it *holds* after a surprise: a load that it could not carry may come again, and soon, so the highest need that
  came of late is kept for a while, whatever the patience;
- whether it goes in *strides*: where it grows at all it grows for the next minute, and stays there as long as that
  minute would have it. On a ramp the group then moves its partitions half as often.

Some loads are smooth and want none of it, some come in bursts and want all, and nobody knows beforehand which: see
`planning.experience` for who chooses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Margin:
    """How a need is read off the paths."""

    #: Workers' worth that late load is weighed with against one more worker.
    late_price: float
    #: Seconds beyond the actuation delay that are looked at.
    beyond_s: float
    #: Utilisation that a worker may reach.
    utilisation: float


@dataclass(frozen=True, slots=True)
class Habit:
    """What else tells two courses apart."""

    #: Seconds for which a need that was forecast is kept at most, whether or not it came.
    keep_s: float
    #: Whether the fleet of before is held after a surprise.
    holds: bool
    #: Whether it grows in strides.
    strides: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One way to decide."""

    margin: Margin
    habit: Habit
    patience_s: float


#: From lean to careful.
MARGINS: tuple[Margin, ...] = (
    Margin(2.0, 10.0, 0.98),
    Margin(2.0, 10.0, 0.95),
    Margin(2.0, 20.0, 0.91),
    Margin(15.0, 20.0, 0.91),
)
HABITS: tuple[Habit, ...] = (
    Habit(60.0, holds=False, strides=False),
    Habit(60.0, holds=True, strides=False),
    Habit(600.0, holds=False, strides=False),
    Habit(600.0, holds=True, strides=False),
    Habit(60.0, holds=True, strides=True),
)
#: Seconds.
PATIENCES_S: tuple[float, ...] = (30.0, 60.0, 100.0, 150.0, 200.0, 300.0, 450.0, 600.0)
#: All of them, in the order of the arrays.
COURSES: tuple[Course, ...] = tuple(
    Course(margin, habit, patience_s) for margin in MARGINS for habit in HABITS for patience_s in PATIENCES_S
)
#: Seconds beyond the actuation delay that a stride reaches, and for which it is kept while it would be made again.
STRIDE_S = 60.0
#: Least price of a late load where what came is looked at: that a lean margin did not ask for it lets nothing go.
CAME_PRICE = 15.0

#: Seconds for which a more careful margin must find a smaller fleet enough before any course has it: otherwise noise at
#: a threshold moves the group to and fro. The next margin is; where chance alone moves the rate by `_NOISY` in that
#: time, the one after it.
BAND_S, _NOISY = 30.0, 0.02

_MARGIN = np.repeat(np.arange(len(MARGINS)), len(HABITS) * len(PATIENCES_S))
HOLDS = np.array([course.habit.holds for course in COURSES])
_STRIDES = np.array([course.habit.strides for course in COURSES])


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Workers needed at one tick, by margin; all of shape (margins,)."""

    #: By the paths, until workers that are asked for now serve, and for the margin's while beyond.
    paths: Ints
    #: The same for a stride.
    stride: Ints
    #: By the load that came.
    came: Ints
    #: By where the load goes if it rises on as it has for some seconds; `None` = it does not rise.
    rising: Ints | None = None
    #: Standard deviation that chance alone gives the mean load of `BAND_S`, as a part of it.
    noise: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """Needs of the last ticks, newest last, and what is held. A value."""

    #: Of the longest patience, shape (ticks, margins).
    paths: Ints
    came: Ints
    #: Of a stride's time, shape (ticks, margins).
    stride: Ints
    #: Of the newest needs.
    noise: float
    rising: Ints | None
    #: Seconds for which each course still expects its last surprise again, shape (courses,).
    expects_s: Floats

    @classmethod
    def nothing(cls) -> Recent:
        """Before the first tick."""
        none = np.empty((0, len(MARGINS)), dtype=np.int64)
        return cls(none, none, none, 0.0, None, np.zeros(len(COURSES)))

    def with_needs(self, needs: Needs, tick_s: float) -> Recent:
        """One tick later."""
        ticks = int(max(PATIENCES_S) / tick_s)
        strides = max(1, int(STRIDE_S / tick_s))
        return Recent(
            paths=np.vstack((_last(self.paths, ticks - 1), needs.paths)),
            came=np.vstack((_last(self.came, ticks - 1), needs.came)),
            stride=np.vstack((_last(self.stride, strides - 1), needs.stride)),
            noise=needs.noise,
            rising=needs.rising,
            expects_s=np.maximum(0.0, self.expects_s - tick_s),
        )

    def with_surprises(self, surprised: NDArray[np.bool_], keep_s: float) -> Recent:
        """Those that could not carry the load expect it again for `keep_s` seconds."""
        return replace(self, expects_s=np.where(surprised, keep_s, self.expects_s))


def declared(recent: Recent, before: Ints, tick_s: float) -> tuple[Ints, Ints]:
    """What each course declares now.

    Args:
        recent: With the needs of now.
        before: What each declared at the tick before, shape (courses,).
        tick_s: Seconds between two ticks.

    Returns:
        Workers by course; and what they would be without what is held after a surprise; both of shape (courses,).
    """
    kept = {seconds: _highest(recent.paths, seconds, tick_s) for seconds in _KEPT_S}
    came = {seconds: _highest(recent.came, seconds, tick_s) for seconds in PATIENCES_S}
    lasting = np.array(
        [
            np.maximum(kept[min(habit.keep_s, patience_s)], came[patience_s])
            for habit in HABITS
            for patience_s in PATIENCES_S
        ]
    )
    wanted = lasting.T.reshape(-1)
    peak = recent.came.max(axis=0)[_MARGIN]
    held = np.where(HOLDS & (recent.expects_s > 0), np.maximum(wanted, peak), wanted)
    band = np.minimum(before, careful(recent, tick_s))
    if recent.rising is not None:
        # What is let go while the load rises is asked for again a moment later, and boots.
        band = np.maximum(band, np.minimum(before, recent.rising[_MARGIN]))
    wanted, held = np.maximum(wanted, band), np.maximum(held, band)
    return _strode(held, recent, before), _strode(wanted, recent, before)


def careful(recent: Recent, tick_s: float) -> Ints:
    """What each course lets go of at most: the highest need of `BAND_S` by a more careful margin, shape (courses,)."""
    margin = np.minimum(_MARGIN + (2 if recent.noise > _NOISY else 1), len(MARGINS) - 1)
    return np.asarray(_highest(recent.paths, BAND_S, tick_s)[margin])


_KEPT_S = sorted({min(habit.keep_s, patience_s) for habit in HABITS for patience_s in PATIENCES_S})


def _strode(wanted: Ints, recent: Recent, before: Ints) -> Ints:
    """With those that go in strides further up where they grow, and there as long as a stride would go there again."""
    reach, kept = recent.stride[-1][_MARGIN], recent.stride.max(axis=0)[_MARGIN]
    further = np.where(wanted > before, reach, np.minimum(before, kept))
    return np.asarray(np.where(_STRIDES, np.maximum(wanted, further), wanted))


def _highest(needs: Ints, seconds: float, tick_s: float) -> Ints:
    return np.asarray(needs[-max(1, int(seconds / tick_s)) :].max(axis=0))


def _last(rows: Ints, count: int) -> Ints:
    return rows[-count:] if count > 0 else rows[:0]
