"""A consumer whose kept partitions go on while the group joins, and which notices that it was fenced.

kafka-python's `poll` waits for a pending join and gives nothing meanwhile, though under the cooperative protocol a
member owns its partitions until it is told otherwise: every join of anybody paused everybody, for a heartbeat interval
and for as long as the slowest batch of a revoked partition took. Here the join runs on the client's I/O thread, and
polling goes on with what is owned (Java's consumer does so since 2.5, KAFKA-8421).

What makes it safe: while a join is under way no position of a new partition is looked up, so no record of it can come
out; and a new partition is announced by the polling thread, before it is polled for the first time. So every record is
stamped under the assignment under which it was read.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition

from streams.kafka.fetching import fetch_directly

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.kafka.assignor import Claims

#: Milliseconds between looks at whether a join is done: how much later a new partition is read at most.
JOIN_LOOK_MS = 20


class JoiningConsumer(KafkaConsumer):  # type: ignore[misc] # kafka-python is untyped
    """See the module. `on_joined` and `on_lost` are to be set before the first poll."""

    def __init__(self, *topics: str, **configs: Any) -> None:
        super().__init__(*topics, **configs)
        #: Called on the polling thread after each join, before anything new is read.
        self.on_joined: Callable[[], None]
        #: Called on the I/O thread with what is no longer ours, because the group threw us out in the middle of a join.
        self.on_lost: Callable[[set[TopicPartition]], None]
        #: The join under way; started by the polling thread only, run by the I/O thread.
        self._join: Any = None
        self._join_done = threading.Event()
        self._fenced = False
        self._fetching = fetch_directly(self)
        # Attributes of this coordinator only. The first is the one call by which `poll` waits for a join.
        self._coordinator.ensure_active_group = self._start_join
        self._on_heartbeat = self._coordinator._handle_heartbeat_response  # noqa: SLF001 - the library only logs it
        self._coordinator._handle_heartbeat_response = self._watch_heartbeat  # noqa: SLF001 - see above

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:
        """Close, the connections of our own too."""
        try:
            super().close(autocommit=autocommit, timeout_ms=timeout_ms)
        finally:
            if self._fetching is not None:
                self._fetching.close()

    def claims(self) -> Claims:
        """What may be claimed when joining; called on the I/O thread each time a request to join is built.

        Thrown out in the middle of a join, the library tries again with what it had: somebody else may have it by now.
        """
        generation = self._coordinator._generation  # noqa: SLF001 - the public snapshot lacks `is_lost`
        owned = self._subscription.assigned_partitions()
        if owned and generation.is_lost():
            self.on_lost(owned)
            self._subscription.assign_from_subscribed([])
            return (), -1
        return owned, generation.generation_id

    def rejoin(self) -> None:
        """Ask for another placement at the next poll."""
        self._coordinator.request_rejoin()

    def _start_join(self, timeout_ms: float | None = None) -> bool:  # noqa: ARG002 - the library's signature
        self._join_done.clear()
        self._join = self._manager.call_soon(self._coordinator.ensure_active_group_async)
        self._join.add_both(lambda _: self._join_done.set())
        return False

    def _watch_heartbeat(self, response: Any, *args: Any) -> Any:
        if kafka_errors.for_code(response.error_code) is kafka_errors.FencedInstanceIdError:
            self._fenced = True
        return self._on_heartbeat(response, *args)

    def _poll_once(self, timer: Any, max_records: int, update_offsets: bool = True) -> Any:
        if self._fenced:
            # The library stops its heartbeats and polls on, so the member would read partitions of others for ever.
            raise kafka_errors.FencedInstanceIdError(self._coordinator.group_instance_id)
        if self._join is not None and self._join.is_done:
            join, self._join = self._join, None
            self.on_joined()
            if join.exception is not None:
                raise join.exception
        if self._join is None:
            records = super()._poll_once(timer, max_records, update_offsets=update_offsets)
            if records or self._join is None:
                return records
        self._coordinator.poll_heartbeat()
        look_ms = JOIN_LOOK_MS if timer.timeout_ms is None else min(JOIN_LOOK_MS, timer.timeout_ms)
        records, idle = self._fetcher.fetch_records(max_records, update_offsets=update_offsets, timeout_ms=look_ms)
        if not records and idle:
            self._join_done.wait(look_ms / 1000)
        return records
