"""A topic read from one set of offsets to another, and then no further: for tools that look at what is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from kafka import TopicPartition

from streams.errors import BrokerUnavailable
from streams.kafka.reader import new_reader
from streams.kafka.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.kafka.settings import KafkaSettings
    from streams.record_types import ConsumedRecord

#: Milliseconds that one poll waits; an empty answer is followed by another until the end is reached or time is up.
POLL_MS = 200


class RangeReader:
    """Reads what is committed, without a group: it leaves no trace on the cluster. Belongs to one thread.

    Args:
        settings: where to connect.
        topic: an existing topic.
        client_id: shown in the broker's logs.
        stalled_s: seconds without a record after which the reading is given up.

    Raises:
        TopicMissing: there is no such topic.
        KafkaFailure: or one of its kinds, here and in each method.
    """

    def __init__(self, settings: KafkaSettings, topic: str, *, client_id: str, stalled_s: float = 30.0) -> None:
        self._settings, self._topic, self._client_id = settings, topic, client_id
        self._stalled_s = stalled_s
        self._reader: Any = new_reader(settings, [topic], from_="earliest", client_id=client_id)
        self._places: list[Any] = sorted(self._reader.assignment())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close(autocommit=False)

    def starts(self) -> dict[int, int]:
        """The first offset still kept, by partition."""
        with translated(f"read the offsets of {self._topic}"):
            return {place.partition: offset for place, offset in self._reader.beginning_offsets(self._places).items()}

    def ends(self) -> dict[int, int]:
        """The first offset that a reader of what is committed cannot see now, by partition.

        An open transaction ends it early: what lies behind its first record is not to be seen yet.
        """
        with translated(f"read the offsets of {self._topic}"):
            return {place.partition: offset for place, offset in self._reader.end_offsets(self._places).items()}

    def since(self, time_ms: int) -> dict[int, int]:
        """The first offset whose timestamp is not before a time, by partition; no entry = there is none."""
        with translated(f"read the offsets of {self._topic} by time"):
            found = self._reader.offsets_for_times(dict.fromkeys(self._places, max(time_ms, 0)))
        return {place.partition: entry.offset for place, entry in found.items() if entry is not None}

    def read(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[ConsumedRecord]:
        """Yield the records from `starts` up to before `ends`, in offset order within each partition.

        Args:
            starts: first offset, by partition; what lies before the first one kept is gone and passed over.
            ends: of the same partitions; not beyond `ends()`.

        Raises:
            BrokerUnavailable: no record came for `stalled_s` though there are more.
        """
        left = {
            TopicPartition(self._topic, partition): ends[partition]
            for partition, start in starts.items()
            if start < ends[partition]
        }
        if not left:
            return
        # A consumer of its own: one that has paused partitions keeps what it had fetched of them, and fetches no more
        # of these after it is sent back.
        reader: Any = new_reader(self._settings, [self._topic], from_="earliest", client_id=self._client_id)
        try:
            with translated(f"read {self._topic}"):
                reader.assign(list(left))
                for place in left:
                    reader.seek(place, starts[place.partition])
            yield from self._until(reader, left)
        finally:
            reader.close(autocommit=False)

    def _until(self, reader: Any, left: dict[TopicPartition, int]) -> Iterator[ConsumedRecord]:
        moved_at_s = time.monotonic()
        while left:
            with translated(f"read {self._topic}"):
                polled = reader.poll(timeout_ms=POLL_MS)
            for place, records in polled.items():
                end = left.get(place, 0)
                for record in records:
                    if record.offset < end:
                        yield record
            with translated(f"read {self._topic}"):
                # Positions move over the marks that transactions leave as well, which are no records.
                done = [place for place, end in left.items() if (reader.position(place) or 0) >= end]
                if done:
                    reader.pause(*done)
            for place in done:
                del left[place]
            if polled or done:
                moved_at_s = time.monotonic()
            elif time.monotonic() - moved_at_s > self._stalled_s:
                partitions = ", ".join(str(place.partition) for place in left)
                raise BrokerUnavailable(
                    f"{self._topic}: nothing came from partition {partitions} for {self._stalled_s:g} s; check that "
                    "its leader is up"
                )
