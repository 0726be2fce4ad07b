"""A tape from the telemetry topic: where a decider's term begins there, and its records in order."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from autoscaler.model import ArrivalSample
from penstock.errors import KafkaUnusable, NotFound
from penstock.replay.course import Taped
from penstock.replay.tape_file import Heading
from streams import telemetry, topics
from streams.errors import MalformedTelemetry, StreamsError
from streams.kafka.tape import PartitionTape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka import KafkaSettings
    from streams.kafka.tape import TapeRecord

#: Seconds that nothing may come while records are known to be there.
_PATIENCE_S = 20.0
#: Records looked through at a time, from the end backwards, for the newest decision.
_PORTION = 2000


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of the partition is to be read."""

    start: int
    stop: int
    heading: Heading


class TelemetryTape:
    """One pipeline's records of the telemetry topic, read without joining any group. Use it in a `with`.

    Args:
        kafka: Where to connect.
        pipeline: Its name.
        history_s: Seconds of tape that a decider reads before its claim.

    Raises:
        KafkaUnusable: Kafka cannot be reached, or the topic is not there.
    """

    def __init__(self, kafka: KafkaSettings, pipeline: str, history_s: float) -> None:
        self._pipeline = pipeline
        self._key = pipeline.encode()
        self._history_s = history_s
        with _told():
            self._tape = PartitionTape(kafka, topics.TELEMETRY, self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tape.close()

    def stretch(self, since_s: float | None) -> Stretch:
        """All that is needed to decide again from a moment on.

        Args:
            since_s: Unix seconds; `None` = from the last claim under which something was decided.

        Raises:
            NotFound: the topic holds no decision of the pipeline, or none since then.
            KafkaUnusable: the topic cannot be read.
        """
        with _told():
            first, stop = self._tape.bounds()
            epoch = self._newest_epoch(first, stop) if since_s is None else self._epoch_at(since_s, stop)
            if epoch is None:
                when = "" if since_s is None else " since then"
                raise NotFound(
                    f"{topics.TELEMETRY} holds no decision of the pipeline {self._pipeline}{when}",
                    "name an earlier time with --since, or start `penstock autoscaler`; the topic keeps a day",
                )
            claim = next(self._entries(epoch, epoch + 1), None) if first <= epoch < stop else None
            wanted_s = claim.record.at_s - self._history_s if claim is not None else 0.0
            start = self._tape.offset_at(wanted_s)
            start = first if start is None else start
            portions = self._tape.read(start, stop, patience_s=_PATIENCE_S)
            oldest = next((record for portion in portions for record in portion), None)
            cut = start == first > 0 and oldest is not None
            whole_from_s = oldest.timestamp_ms / 1000 if cut and oldest is not None else wanted_s
            return Stretch(start, stop, Heading(self._pipeline, whole_from_s, epoch))

    def read(self, stretch: Stretch) -> Iterator[tuple[Taped, float]]:
        """Its records in order, each with the part (0-1) that is read by then.

        Raises:
            KafkaUnusable: the topic cannot be read.
        """
        length = max(1, stretch.stop - stretch.start)
        with _told():
            for entry in self._entries(stretch.start, stretch.stop):
                yield entry, (entry.offset - stretch.start) / length

    def _entries(self, start: int, stop: int) -> Iterator[Taped]:
        for portion in self._tape.read(start, stop, patience_s=_PATIENCE_S):
            yield from filter(None, map(self._taped, portion))

    def _taped(self, found: TapeRecord) -> Taped | None:
        if found.key != self._key:
            return None
        # As the autoscaler does: what is no record, or another pipeline's, is passed over.
        with contextlib.suppress(MalformedTelemetry):
            record = telemetry.decode(found.value)
            if record.pipeline == self._pipeline:
                return Taped(found.offset, found.timestamp_ms, record)
        return None

    def _newest_epoch(self, first: int, stop: int) -> int | None:
        while stop > first:
            start = max(first, stop - _PORTION)
            epochs = [epoch for entry in self._entries(start, stop) if (epoch := _epoch(entry)) is not None]
            if epochs:
                return max(epochs)
            stop = start
        return None

    def _epoch_at(self, since_s: float, stop: int) -> int | None:
        start = self._tape.offset_at(since_s)
        if start is None:
            return None
        epochs = map(_epoch, self._entries(start, stop))
        return next((epoch for epoch in epochs if epoch is not None), None)


def _epoch(entry: Taped) -> int | None:
    """Under which claim it tells that something was decided."""
    record = entry.record
    return record.decided[0].epoch if isinstance(record, ArrivalSample) and record.decided else None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StreamsError as error:
        raise KafkaUnusable(str(error), "then run `penstock replay` again") from error
