"""How long a smaller fleet must have been enough before the fleet shrinks: the highest need of a trailing window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NeedWindow:
    """Needs that may still be the highest of the window: times ascend, needs descend, so the first is the highest.

    A need that is followed by one at least as high can never be the highest again and is dropped, so there are never
    more entries than different needs (the ascending-minima algorithm, mirrored).
    """

    #: (time, workers needed), oldest first.
    needs: tuple[tuple[float, int], ...] = ()
    #: When watching began; `None` = it has not.
    since_s: float | None = None

    def add(self, at_s: float, workers: int, window_s: float) -> NeedWindow:
        """The window with the need of now and without what is older than `window_s`."""
        # A clock that was set back must not keep old needs for ever: they count from now.
        kept = [(min(then_s, at_s), need) for then_s, need in self.needs if need > workers]
        kept = [(then_s, need) for then_s, need in kept if then_s > at_s - window_s]
        since_s = at_s if self.since_s is None or self.since_s > at_s else self.since_s
        return NeedWindow((*kept, (at_s, workers)), since_s)

    def highest(self, at_s: float, window_s: float) -> int | None:
        """Highest need of the last `window_s` seconds; `None` until so many have been watched."""
        if self.since_s is None or at_s - self.since_s < window_s or not self.needs:
            return None
        return self.needs[0][1]

    def remaining_s(self, at_s: float, window_s: float, workers: int) -> float:
        """Seconds until a need above `workers` has left the window, if none comes anew."""
        latest_s = max((then_s for then_s, need in self.needs if need > workers), default=self.since_s or at_s)
        return max(0.0, latest_s + window_s - at_s)
