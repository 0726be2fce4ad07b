"""Keeping libraries that log each failed try from filling the log while a broker is away."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Different messages remembered; beyond it the oldest are let through again.
_REMEMBERED = 256


class RateLimit(logging.Filter):
    """Lets one warning of each kind (logger, level, template) through in `every_s` seconds and counts the rest.

    Args:
        every_s: Seconds.
        clock: Monotonic seconds.
    """

    def __init__(self, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        #: Kind -> when it was last let through, how many were held back since.
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes on; it then carries `suppressed`, the number held back before it."""
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, str(record.msg)[:200])
        now_s = self._clock()
        with self._lock:
            at_s, held = self._seen.get(kind, (float("-inf"), 0))
            if now_s - at_s < self._every_s:
                self._seen[kind] = (at_s, held + 1)
                return False
            self._seen.pop(kind, None)
            self._seen[kind] = (now_s, 0)
            while len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
        record.suppressed = held
        return True


_LIMIT = RateLimit()


def quieten(names: Iterable[str], limit: logging.Filter = _LIMIT) -> None:
    """From these loggers and those below them only warnings come through, each kind at a bounded rate.

    A logger's filter does not see what its children log, so each is given it; call this once the libraries are
    imported.
    """
    roots = tuple(names)
    for root in roots:
        logging.getLogger(root).setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(roots):
            logger = logging.getLogger(name)
            if limit not in logger.filters:
                logger.addFilter(limit)
