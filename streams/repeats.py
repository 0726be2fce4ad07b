"""Results that come a second time, as workers that deliver at least once may send them; known again within bounds."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Results remembered: about 250 bytes each, so 25 MB at the most. A worker repeats what it had not committed when it
#: died, which is a batch or a few of some thousand.
MOST_REMEMBERED = 100_000
#: Seconds for which they are. A dead worker's partitions have a new owner within `worker.session_timeout_ms` (10 s),
#: which then repeats; ten minutes also cover one that has to load a large model first.
REMEMBERED_S = 600.0


class Repeats:
    """Remembers results by request id and source, and counts those that come again. For one thread.

    The source (`topic/partition/offset` of the request) is part of it because an id alone is the user's: two requests
    of one id are two requests. A result that names no source was not written by our workers, and is never a repeat.

    What is beyond the bounds, and all of it after a restart of the process, is forgotten: a repeat of that is not known
    again. Exactly-once delivery has no such limit; choose it where a repeat does harm.

    Args:
        most: results remembered.
        window_s: seconds for which they are.
        clock: monotonic seconds.

    Raises:
        ValueError: a bound is not above 0.
    """

    def __init__(
        self,
        *,
        most: int = MOST_REMEMBERED,
        window_s: float = REMEMBERED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("most", most), ("window_s", window_s)):
            if value <= 0:
                msg = f"{name}={value}: must be above 0"
                raise ValueError(msg)
        self._most = most
        self._window_s = window_s
        self._clock = clock
        #: Until when each is remembered, in the order in which they came.
        self._until_s: OrderedDict[tuple[str, str], float] = OrderedDict()
        #: Repeats met so far.
        self.count = 0

    def __len__(self) -> int:
        return len(self._until_s)

    def repeated(self, request_id: str, source: str | None) -> bool:
        """Whether a result was remembered; counted if so."""
        if source is None:
            return False
        until_s = self._until_s.get((request_id, source))
        if until_s is None or until_s < self._clock():
            return False
        self.count += 1
        return True

    def remember(self, request_id: str, source: str | None) -> None:
        """Know this result from now on, and drop what is beyond the bounds."""
        if source is None:
            return
        now_s = self._clock()
        key = (request_id, source)
        self._until_s[key] = now_s + self._window_s
        self._until_s.move_to_end(key)
        while len(self._until_s) > self._most or next(iter(self._until_s.values())) < now_s:
            self._until_s.popitem(last=False)
