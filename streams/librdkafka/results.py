"""Results outside transactions over librdkafka's idempotent producer, for at-least-once delivery."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import BrokerUnavailable
from streams.kafka.results import WRITE_S
from streams.librdkafka.configuration import producer_configuration
from streams.librdkafka.errors import ErrorWatch, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

_library_log = logging.getLogger("streams.librdkafka.library")
#: Seconds that a full send buffer is waited for, as kafka-python's `max_block_ms` is set.
_FULL_S = 10.0
_FULL_LOOK_S = 0.05
#: Seconds that closing may take.
_CLOSE_S = 2.0


class _Sent:
    """A record on its way; a future for the thread that sent it."""

    __slots__ = ("_error", "_producer", "_settled", "_topic")

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._settled = False
        self._error: KafkaError | None = None

    def settle(self, error: KafkaError | None, _: Any) -> None:
        """Called by the library, inside this thread's calls."""
        self._settled, self._error = True, error

    def get(self, timeout: float) -> None:
        """Wait until the broker has it.

        Raises:
            streams.errors.KafkaFailure: or one of its kinds.
        """
        deadline = time.monotonic() + timeout
        while not self._settled:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise BrokerUnavailable(f"cannot write to {self._topic}: no answer within {timeout:g} s")
            self._producer.poll(left_s)
        if self._error is not None:
            raise translate(self._error, f"write to {self._topic}")


class LibrdkafkaResults:
    """See `streams.kafka.results.Results`. Belongs to one thread.

    Raises:
        streams.errors.KafkaFailure: a setting is not one that the library knows.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        configuration = producer_configuration(
            settings,
            {"linger.ms": 0, "partitioner": "murmur2_random"},
            {"client.id": client_id, "acks": "all", "enable.idempotence": True, "error_cb": ErrorWatch(client_id)},
        )
        try:
            self._producer = Producer(configuration, logger=_library_log)
        except KafkaException as error:
            raise translate(error.args[0], "set up the results producer") from error

    def write(self, records: Sequence[Outgoing]) -> None:
        """See `Results.write`."""
        sent = [self._sent(record) for record in records]
        for one in sent:
            one.get(WRITE_S)

    def idle(self) -> None:
        """Nothing to do: the library's own threads see to the connections."""

    def close(self) -> None:
        """See `Results.close`."""
        self._producer.flush(_CLOSE_S)

    def _sent(self, record: Outgoing) -> _Sent:
        placed: dict[str, Any] = {"headers": list(record.all_headers or ())}
        if record.partition is not None:
            placed["partition"] = record.partition
        if record.timestamp_ms is not None:
            placed["timestamp"] = record.timestamp_ms
        topic = record.topic
        sent = _Sent(self._producer, topic)
        deadline = time.monotonic() + _FULL_S
        while True:
            try:
                self._producer.produce(topic, record.value, record.key, on_delivery=sent.settle, **placed)
            except BufferError as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"cannot write to {topic}: the send buffer stays full") from error
                self._producer.poll(_FULL_LOOK_S)
            except KafkaException as error:
                raise translate(error.args[0], f"write to {topic}") from error
            else:
                return sent
