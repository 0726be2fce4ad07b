"""How long a transaction gathers: a quiet pipeline pays one commit of latency, a busy one few commits."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Share of a busy worker's time that may go into commits.
MOST_SHARE = 0.1
#: Longest that a transaction gathers, in seconds: what a busy pipeline pays in latency, where its queue costs more.
MOST_GATHER_S = 0.25
#: Weight of the newest commit in the mean of what commits take: the last ten or so count.
_NEWEST = 0.2


@dataclass(slots=True)
class Pace:
    """Belongs to the deliver thread.

    A commit that takes c seconds may come every c / `MOST_SHARE` seconds while the worker is busy. What a commit takes
    is measured, since it depends on the brokers: a few milliseconds beside one, tens across three zones.
    """

    clock: Callable[[], float] = time.monotonic
    _commit_s: float = 0.0
    _ended: float = field(default=float("-inf"))

    def left_s(self) -> float:
        """Seconds that a busy worker's next transaction should still gather."""
        period_s = min(self._commit_s / MOST_SHARE, MOST_GATHER_S)
        return max(self._ended + period_s - self.clock(), 0.0)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Around a commit: learn what it takes."""
        started = self.clock()
        yield
        self._ended = self.clock()
        took_s = self._ended - started
        self._commit_s = took_s if self._commit_s == 0 else self._commit_s + _NEWEST * (took_s - self._commit_s)
