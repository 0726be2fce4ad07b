"""Fetches by the polling thread itself, over sockets of its own.

kafka-python's consumer hands each fetch to its I/O thread and waits for word from there, twice a poll: under light load
most of what reading a record costs, and several milliseconds of waiting while other threads compute. Here the polling
thread writes the request and reads the answer. All that decides what is fetched and what becomes of an answer is still
the library's: subscriptions and positions, sessions, epochs, errors of partitions, records of aborted transactions; as
is everything about the group, on its own thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import errors as kafka_errors
from kafka.consumer.fetcher import FetchSessionHandler
from kafka.net.compat import KafkaNetClient
from kafka.protocol.consumer import FetchRequest

from streams.kafka import fetch_frames
from streams.kafka.fetch_frames import FETCH_VERSION, Limits, Place
from streams.kafka.wire import Wires

if TYPE_CHECKING:
    from kafka.structs import TopicPartition

    from streams.kafka.frames import Frame
    from streams.kafka.wire import Wire

log = logging.getLogger(__name__)

#: Seconds between looks at whether a partition's leader has changed (KIP-320). A fetch of this version says what it
#: read last, so that a broker whose log has another history says so at once.
VALIDATE_S = 0.1


@dataclass(frozen=True, slots=True)
class _Flying:
    """A fetch without an answer yet."""

    wire: Wire
    #: The offset from which each partition of the session was asked for.
    offsets: dict[TopicPartition, int]
    sent_s: float


class Fetching:
    """Stands in for the `fetch_records` of kafka-python's fetcher. Belongs to the polling thread.

    Args:
        consumer: kafka-python's, connected.

    """

    def __init__(self, consumer: Any) -> None:
        self._fetcher = consumer._fetcher  # noqa: SLF001 - the part of the library that this stands in for
        self._subscription = consumer._subscription  # noqa: SLF001 - likewise
        self._cluster = consumer._cluster  # noqa: SLF001 - likewise
        config = consumer.config
        # Never asked about the cluster: the consumer's own client knows it, and its thread keeps it up to date.
        self._network = KafkaNetClient(**{**config, "metrics": None})
        self._network._manager.broker_version_data = consumer._manager.broker_version_data  # noqa: SLF001 - likewise
        self._wires = Wires(self._network)
        self._flying: dict[int, _Flying] = {}
        self._limits = Limits(
            config["fetch_max_wait_ms"],
            config["fetch_min_bytes"],
            config["fetch_max_bytes"],
            config["max_partition_fetch_bytes"],
        )
        self._timeout_s = config["request_timeout_ms"] / 1000
        self._isolation = int(self._fetcher._isolation_level)  # noqa: SLF001 - likewise
        self._rack = config["client_rack"]
        self._validate = self._fetcher.maybe_validate_positions
        self._validated_s = float("-inf")
        # Attributes of this fetcher only.
        self._fetcher.fetch_records = self.fetch_records
        self._fetcher.maybe_validate_positions = self._validate_positions

    def fetch_records(
        self,
        max_records: int | None = None,
        update_offsets: bool = True,
        timeout_ms: float | None = None,
    ) -> tuple[dict[TopicPartition, list[Any]], bool]:
        """What has come, waiting up to `timeout_ms` for something; the next fetches are sent beforehand.

        Returns:
            records by partition; and whether there was nothing to wait for, so that the caller should pause.

        Raises:
            kafka.errors.KafkaError: as the library's; a broker that is away is none.

        """
        records: dict[TopicPartition, list[Any]] = {}
        partial = False
        if self._something_left():
            records, partial = self._fetcher.fetched_records(max_records, update_offsets=update_offsets)
        if not partial:
            self._ask()
        if records:
            return records, False
        timeout_s = self._timeout_s if timeout_ms is None else timeout_ms / 1000
        if not self._flying and not self._wires.connecting:
            return records, not self._await_positions(timeout_s)
        self._wires.wait([one.wire for one in self._flying.values()], timeout_s)
        if self._gather():
            records, _ = self._fetcher.fetched_records(max_records, update_offsets=update_offsets)
        return records, False

    def close(self) -> None:
        """Close the connections."""
        self._wires.close()
        self._network.close()

    def _something_left(self) -> bool:
        """Whether the library has anything to give out, or to say, of what came before."""
        fetcher = self._fetcher
        return bool(
            fetcher._completed_fetches  # noqa: SLF001 - see the module
            or fetcher._next_partition_records  # noqa: SLF001 - likewise
            or fetcher._paused_completed_fetches  # noqa: SLF001 - likewise
            or fetcher._paused_partition_records  # noqa: SLF001 - likewise
            or fetcher._next_in_line_exception_metadata  # noqa: SLF001 - likewise
        )

    def _validate_positions(self) -> None:
        """The library's look at whether leaders have changed, not at each poll: the broker looks at each fetch."""
        now_s = time.monotonic()
        if now_s - self._validated_s > VALIDATE_S:
            self._validated_s = now_s
            self._validate()

    # --- requests

    def _ask(self) -> None:
        """Send a fetch to each broker that leads something to be read and has none of ours to answer."""
        for node, places in self._wanted().items():
            try:
                wire = self._wires.at_hand(node, self._cluster.broker_metadata(node))
                if wire is None:
                    continue
                frame, offsets = self._request(node, places)
                wire.send(frame, time.monotonic() + self._timeout_s)
            except kafka_errors.KafkaError as error:
                self._failed(node, error)
                self._raise_if_refused(error)
            else:
                self._flying[node] = _Flying(wire, offsets, time.monotonic())

    def _wanted(self) -> dict[int, dict[TopicPartition, Place]]:
        wanted: dict[int, dict[TopicPartition, Place]] = {}
        fetcher, cluster, leaderless = self._fetcher, self._cluster, False
        # The I/O thread takes partitions away: not while we look.
        with self._subscription._lock:  # noqa: SLF001 - as the library's own methods
            assignment = self._subscription.assignment
            for place in fetcher._fetchable_partitions():  # noqa: SLF001 - see the module
                state = assignment[place]
                # Only with racks there is a choice (KIP-392).
                node = (
                    cluster.leader_for_partition(place)
                    if state._preferred_read_replica is None  # noqa: SLF001 - see the module
                    else fetcher._select_read_replica(place)  # noqa: SLF001 - see the module
                )
                if node is None or node == -1:
                    leaderless = True
                    continue
                if node in self._flying:
                    continue
                position = state._position  # noqa: SLF001 - a property of it costs a call
                epoch = cluster.leader_epoch_for_partition(place)
                wanted.setdefault(node, {})[place] = Place(
                    position.offset, -1 if epoch is None else epoch, position.leader_epoch
                )
        if leaderless:
            cluster.request_update()
        return wanted

    def _request(self, node: int, places: dict[TopicPartition, Place]) -> tuple[Frame, dict[TopicPartition, int]]:
        sessions = self._fetcher._session_handlers  # noqa: SLF001 - see the module
        if node not in sessions:
            sessions[node] = FetchSessionHandler(node)
        session = sessions[node].build_next(places)
        frame = fetch_frames.fetch(
            (session.id, session.epoch),
            session._to_send,  # noqa: SLF001 - the public form makes an object of each
            session._to_forget,  # noqa: SLF001 - likewise
            limits=self._limits,
            isolation=self._isolation,
            rack=self._rack,
        )
        return frame, {place: start.offset for place, start in places.items()}

    # --- answers

    def _gather(self) -> bool:
        """Take the answers that have come; `True` = there was one."""
        found = False
        for node, one in list(self._flying.items()):
            try:
                answer = one.wire.take()
                if answer is None:
                    if time.monotonic() > one.sent_s + self._timeout_s:
                        raise kafka_errors.RequestTimedOutError
                    continue
                response = fetch_frames.fetched(*answer)
            except kafka_errors.KafkaError as error:
                self._failed(node, error)
                continue
            del self._flying[node]
            self._fetcher._handle_fetch_response(node, one.offsets, one.sent_s, response)  # noqa: SLF001 - see above
            found = True
        return found

    def _failed(self, node: int, error: kafka_errors.KafkaError) -> None:
        """Whatever that broker was asked, it will not answer: another connection, and another session."""
        self._flying.pop(node, None)
        self._wires.drop(node, error)
        self._fetcher._handle_fetch_error(node, error)  # noqa: SLF001 - see the module
        self._cluster.request_update()

    @staticmethod
    def _raise_if_refused(error: kafka_errors.KafkaError) -> None:
        """A refused login does not get better by trying."""
        if isinstance(error, (kafka_errors.SaslAuthenticationFailedError, kafka_errors.AuthorizationError)):
            raise error

    def _await_positions(self, timeout_s: float) -> bool:
        """Wait for positions that are being looked up; `False` = none are."""
        task = self._fetcher._reset_task  # noqa: SLF001 - see the module
        if task is None or task.is_done:
            return False
        done = threading.Event()
        task.add_both(lambda _: done.set())
        done.wait(timeout_s)
        return True


def fetch_directly(consumer: Any) -> Fetching | None:
    """Have a consumer of kafka-python fetch by this module; `None` = its brokers are too old, and it stays as it is."""
    versions = consumer._manager.broker_version_data  # noqa: SLF001 - see the module
    with contextlib.suppress(kafka_errors.IncompatibleBrokerVersion):
        if versions.api_version(FetchRequest, max_version=FETCH_VERSION) == FETCH_VERSION:
            return Fetching(consumer)
    log.info("fetching.by_the_library", extra={"client": consumer.config["client_id"]})
    return None
