"""How busy a worker's device has been lately, from the counter of its busy seconds."""

from __future__ import annotations

from collections import deque

#: Seconds looked back over: several batches of the slowest model, short enough to follow a load that comes.
WINDOW_S = 10.0


class BusyShare:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def update(self, now_s: float, busy_s: float) -> float | None:
        """Part of the last `WINDOW_S` seconds in which the device was held; `None` = seen for less than half of it.

        Args:
            now_s: any clock, in seconds.
            busy_s: seconds of work since the start.
        """
        self._seen.append((now_s, busy_s))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= WINDOW_S:  # noqa: PLR2004 - a share needs two looks
            self._seen.popleft()
        then_s, before_s = self._seen[0]
        passed_s = now_s - then_s
        return (busy_s - before_s) / passed_s if passed_s >= WINDOW_S / 2 else None
