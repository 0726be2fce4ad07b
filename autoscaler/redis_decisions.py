"""The `decisions` stream read back: what was decided at a time, in the fields of `redis_fields.decision_entry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from autoscaler.errors import StoreUnavailable
from autoscaler.redis_store import client_of

if TYPE_CHECKING:
    from autoscaler.redis_fields import Fields

#: Seconds that one answer may take: a person waits for it.
_TIMEOUT_S = 5.0


class DecisionLog:
    """One pipeline's decisions, for reading.

    Args:
        url: `redis://user:password@host:port/db`.
        pipeline: Its name.

    Raises:
        ValueError: the URL is none that Redis clients take.
    """

    def __init__(self, url: str, pipeline: str) -> None:
        self._redis: Any = client_of(url, _TIMEOUT_S)
        self._key = f"penstock:{pipeline}:decisions"

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def newest(self, until_s: float | None = None) -> Fields | None:
        """The last decision until a time (Unix seconds; `None` = of all); `None` = there is none.

        Raises:
            StoreUnavailable: Redis does not answer or refuses.
        """
        # An id is the time in milliseconds and a number; without the number it means the last of that millisecond.
        last = "+" if until_s is None else str(max(0, int(until_s * 1000 + 0.5)))
        return self._one("xrevrange", last, "-")

    def oldest(self) -> Fields | None:
        """The first decision that is still kept; `None` = there is none.

        Raises:
            StoreUnavailable: Redis does not answer or refuses.
        """
        return self._one("xrange", "-", "+")

    def _one(self, command: str, first: str, last: str) -> Fields | None:
        try:
            entries = getattr(self._redis, command)(self._key, first, last, count=1)
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(
                f"the decisions cannot be read from Redis ({error}); check that it runs and what redis.url says"
            ) from error
        return dict(entries[0][1]) if entries else None
