"""What stands in a pipeline's topics at the end of the demo, read from the first offset to the last."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.demo.digits import OUTPUT
from penstock.demo.errors import NotReady
from penstock.demo.ledger import Answer
from streams import topics
from streams.errors import MalformedResult
from streams.kafka.reader import new_reader
from streams.records import Status, decode_result, result_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka.settings import KafkaSettings

#: Longest reading of one topic, in seconds. Behind an open transaction a `read_committed` reader waits for the
#: broker to abort it: the transaction time-out (10 s) and the broker's look-round.
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Contents:
    """A pipeline's topics, settled: only what is committed."""

    #: Ids in the requests topic, as often as they stand there.
    requests: tuple[str, ...]
    #: Partition of each of these.
    partitions: tuple[int, ...]
    answers: tuple[Answer, ...]
    #: Ids in the dead-letters topic.
    dead_letters: tuple[str, ...]


def read_contents(settings: KafkaSettings, pipeline: str) -> Contents:
    """Read requests, results and dead letters whole.

    Raises:
        NotReady: a topic cannot be read to its end.
        KafkaFailure: or one of its kinds.
    """
    requests = [(_name(record), record.partition) for record in records(settings, topics.requests(pipeline))]
    return Contents(
        requests=tuple(name for name, _ in requests),
        partitions=tuple(partition for _, partition in requests),
        answers=tuple(answer_of(record) for record in records(settings, topics.results(pipeline))),
        dead_letters=tuple(_name(record) for record in records(settings, topics.dead_letters(pipeline))),
    )


def records(settings: KafkaSettings, topic: str) -> Iterator[Any]:
    """Every committed record of a topic, from the first offset to where it ends now.

    Raises:
        NotReady: the end is not reached within `TIMEOUT_S`.
    """
    reader = new_reader(settings, [topic], from_="earliest", client_id="demo-audit")
    try:
        ends = reader.end_offsets(list(reader.assignment()))
        deadline_s = time.monotonic() + TIMEOUT_S
        while any(reader.position(place) < end for place, end in ends.items()):
            if time.monotonic() > deadline_s:
                cause = f"{topic} could not be read to its end within {TIMEOUT_S:g} s"
                raise NotReady(cause, "a transaction may still be open: look at the workers' logs")
            for batch in reader.poll(timeout_ms=500).values():
                yield from batch
    finally:
        reader.close()


def answer_of(record: Any) -> Answer:
    """A record of the results topic as the ledger has it; an unreadable one is a failed answer, never an exception."""
    try:
        result = decode_result(record.value, record.headers)
    except MalformedResult:
        return Answer(_name(record), Status.FAILED, None)
    given = result.outputs.get(OUTPUT)
    if result.status is not Status.OK or given is None:
        return Answer(result.id, result.status, None)
    return Answer(result.id, result.status, np.asarray(given, dtype=np.float32).reshape(-1))


def _name(record: Any) -> str:
    return result_id(record.headers) or f"{record.topic}-{record.partition}-{record.offset}"
