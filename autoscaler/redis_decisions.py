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
        shadow: The decisions of this policy, which is not obeyed; `None` = of the policy in charge.

    Raises:
        ValueError: the URL is none that Redis clients take.
    """

    def __init__(self, url: str, pipeline: str, shadow: str | None = None) -> None:
        self._redis: Any = client_of(url, _TIMEOUT_S)
        prefix = f"penstock:{pipeline}:"
        self._shadow = None if shadow is None else f"{prefix}shadow:{shadow}"
        self._key = f"{self._shadow or prefix[:-1]}:decisions"

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

    def failure(self) -> str | None:
        """Why a shadow was given up; `None` = it was not, or there is no such shadow.

        Raises:
            StoreUnavailable: Redis does not answer or refuses.
        """
        return None if self._shadow is None else self._asked("hget", self._shadow, "shadow_failed")

    def oldest(self) -> Fields | None:
        """The first decision that is still kept; `None` = there is none.

        Raises:
            StoreUnavailable: Redis does not answer or refuses.
        """
        return self._one("xrange", "-", "+")

    def _one(self, command: str, first: str, last: str) -> Fields | None:
        entries = self._asked(command, self._key, first, last, count=1)
        return dict(entries[0][1]) if entries else None

    def _asked(self, command: str, *arguments: Any, **named: Any) -> Any:
        try:
            return getattr(self._redis, command)(*arguments, **named)
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(
                f"the decisions cannot be read from Redis ({error}); check that it runs and what redis.url says"
            ) from error
