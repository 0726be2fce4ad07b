"""Dead letters: a request that nobody can answer, byte for byte, with what happened to it in headers beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import headers as names
from streams import topics
from streams.record_types import Outgoing

if TYPE_CHECKING:
    import enum

    from streams.record_types import ConsumedRecord

#: Where a request can fail, in the order in which it gets there.
STAGES = ("decode", "batch", "model", "encode")
#: Longest message in bytes: it must fit into the headroom that the topic of dead letters has above that of requests.
LONGEST_MESSAGE = 2048

_OURS = "dlq-"


def dead_letter(
    record: ConsumedRecord,
    *,
    reason: enum.StrEnum | str,
    message: str,
    stage: str,
    attempts: int,
    topic: str | None = None,
) -> Outgoing:
    """The record to be written for a request that failed.

    Key, value, timestamp and headers are the request's own, so that `replay` gives the request again. Headers of an
    earlier failure are replaced: what counts is the last one.

    Args:
        record: the request as consumed.
        reason: a stable code, e.g. a `ReasonCode`.
        message: what happened, in words; cut to `LONGEST_MESSAGE` bytes.
        stage: one of `STAGES`.
        attempts: how often the stage was tried.
        topic: where to write it; `None` = the dead letters of the pipeline whose requests topic it came from.

    Raises:
        ValueError: `stage` is not one of `STAGES`, or `attempts` is below 1.
    """
    if stage not in STAGES:
        msg = f"stage={stage!r}: must be one of {', '.join(STAGES)}"
        raise ValueError(msg)
    if attempts < 1:
        msg = f"attempts={attempts}: must be at least 1"
        raise ValueError(msg)
    told = message.encode(errors="backslashreplace")[:LONGEST_MESSAGE].decode(errors="ignore").encode()
    headers = [
        *_own(record),
        (names.DLQ_REASON, str(reason).encode()),
        (names.DLQ_MESSAGE, told),
        (names.DLQ_STAGE, stage.encode()),
        (names.DLQ_ATTEMPTS, b"%d" % attempts),
        (names.DLQ_SOURCE, f"{record.topic}/{record.partition}/{record.offset}".encode()),
    ]
    if record.value is None:
        headers.append((names.DLQ_NULL_VALUE, b"1"))
    return Outgoing(
        topic=topic or topics.dead_letters(topics.pipeline_of(record.topic)),
        key=record.key,
        # Clients refuse to write a record that has neither key nor value; the header above tells the two apart.
        value=record.value if record.value is not None else b"",
        headers=headers,
        partition=record.partition,
        timestamp_ms=record.timestamp if record.timestamp >= 0 else None,
    )


def replay(letter: ConsumedRecord, topic: str) -> Outgoing:
    """The request that a dead letter holds, to be written to `topic` again, as new: it gets a timestamp of its own."""
    headers = letter.headers or []
    empty = names.header(headers, names.DLQ_NULL_VALUE) is not None
    return Outgoing(topic, letter.key, None if empty else letter.value, _own(letter))


def _own(record: ConsumedRecord) -> list[tuple[str, bytes]]:
    # A null header value can be read but not written by clients; empty is the nearest.
    return [(name, value or b"") for name, value in record.headers or () if not name.startswith(_OURS)]
