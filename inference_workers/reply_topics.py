"""Which topics that requests name for their replies are there and may be written to; remembered for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from streams.errors import KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds for which it is remembered that a reply topic does or does not exist.
MEMORY_S = 30.0
#: Names come from strangers: memory is bounded.
MOST_NAMES = 1000


class Asked(Protocol):
    """Who knows."""

    def writable(self, topic: str) -> bool:
        """See `streams.kafka.admin.Admin.writable`."""
        ...


class ReplyTopics:
    """Belongs to the deliver thread.

    Args:
        admin: is asked about what is not remembered.
        clock: seconds, monotonic.

    """

    def __init__(self, admin: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin, self._clock = admin, clock
        self._known: dict[str, tuple[bool, float]] = {}

    def there(self, topic: str, *, anew: bool = False) -> bool:
        """Whether a reply can be written there.

        Args:
            topic: its name.
            anew: ask, whatever is remembered: a write has failed.

        """
        known, asked_at = self._known.get(topic, (False, float("-inf")))
        if anew or self._clock() - asked_at > MEMORY_S:
            try:
                # Names come from strangers: one that we may not write to must not stop the worker.
                known = self._admin.writable(topic)
            except KafkaFailure:
                # Not to be had now: the send will say so, and try again.
                return True
            if len(self._known) > MOST_NAMES:
                self._known.clear()
            self._known[topic] = (known, self._clock())
        return known
