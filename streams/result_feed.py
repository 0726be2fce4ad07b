"""Results as a stream of their own: a consumer group that reads them all, once each, and remembers how far it got."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from streams.errors import GenerationChanged, MalformedResult
from streams.kafka import commit_offsets, new_reader, translated
from streams.result_codec import decode_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.kafka import KafkaSettings
    from streams.record_types import ConsumedRecord, InferResult
    from streams.repeats import Repeats

log = logging.getLogger(__name__)

#: Longest wait in one poll, in milliseconds: how soon the end of the iteration is noticed.
POLL_MS = 200


def follow_results(
    settings: KafkaSettings,
    topic: str,
    *,
    group: str,
    idle_s: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
    repeats: Repeats | None = None,
) -> Iterator[InferResult]:
    """Yield each result of a topic to one member of a group, from where the group had got to.

    A result counts as done when the next one is asked for; how far the group got is committed after each poll's worth
    and at the end. So a reader that is killed sees its last results again, and none is lost.

    Args:
        settings: where to connect.
        topic: the results topic.
        group: the name of the group; a new one begins with the oldest result kept.
        idle_s: end after so many seconds without a result; `None` = never.
        stopped: asked between polls; `True` ends the iteration.
        repeats: drops results that come again, and counts them; for pipelines that deliver at least once. It knows what
            it has seen itself: not what another member of the group has, nor what this one had before a restart.
            `None` = repeats are handed out.

    Raises:
        TopicMissing: there is no such topic.
        KafkaFailure: or one of its kinds.
    """
    consumer: Any = new_reader(settings, [topic], group=group, from_="earliest", client_id=f"{group}-results")
    done: dict[Any, int] = {}
    try:
        last_at_s = time.monotonic()
        while not stopped():
            with translated(f"read {topic}"):
                polled = consumer.poll(timeout_ms=POLL_MS)
            for place, batch in polled.items():
                for record in batch:
                    result = _decode(record)
                    if result is None or (repeats is not None and repeats.repeated(result.id, result.source)):
                        done[place] = record.offset + 1
                        continue
                    yield result
                    if repeats is not None:
                        repeats.remember(result.id, result.source)
                    done[place] = record.offset + 1
            if polled:
                _commit(consumer, done)
                last_at_s = time.monotonic()
            elif idle_s is not None and time.monotonic() - last_at_s > idle_s:
                return
    finally:
        try:
            _commit(consumer, done)
        finally:
            consumer.close(autocommit=False, timeout_ms=2000)


def _decode(record: ConsumedRecord) -> InferResult | None:
    try:
        return decode_result(record.value, record.headers)
    except MalformedResult as error:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        log.warning("results.malformed", extra={"source": place, "error": str(error)})
        return None


def _commit(consumer: Any, done: dict[Any, int]) -> None:
    if done:
        try:
            commit_offsets(consumer, done)
        except GenerationChanged as error:
            # Another member owns these now, and gets the results again: at-least-once, as promised.
            log.info("results.not_committed", extra={"error": str(error)})
        done.clear()
