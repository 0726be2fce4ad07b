"""Whether a worker is alive and whether it is ready, decided from the signs of life of its threads."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from autoscaler.model import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Beats:
    """The last sign of life of each thread that must not stand still. Thread-safe; a beat costs well under 1 us.

    Args:
        overdue_s: seconds without one after which a thread counts as stuck.
        clock: monotonic seconds.
    """

    def __init__(self, overdue_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._overdue_s = overdue_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last_s: dict[str, float] = {}

    def beat(self, role: str) -> None:
        """This thread has come round."""
        with self._lock:
            self._last_s[role] = self._clock()

    def rest(self, role: str) -> None:
        """This thread has ended, or waits for something that is not its fault: no sign of life is expected."""
        with self._lock:
            self._last_s.pop(role, None)

    @contextlib.contextmanager
    def waiting(self, role: str) -> Iterator[None]:
        """While the block runs the thread waits for others, e.g. for a broker that is away: it is not stuck."""
        self.rest(role)
        try:
            yield
        finally:
            self.beat(role)

    def overdue(self) -> tuple[str, ...]:
        """The threads that are stuck."""
        now_s = self._clock()
        with self._lock:
            return tuple(sorted(role for role, last_s in self._last_s.items() if now_s - last_s > self._overdue_s))


def is_ready(state: WorkerState) -> bool:
    """Whether requests may count on this worker: warm, in the group, and not on its way out."""
    return state is WorkerState.READY
