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
_MOST_DIGITS = 6


def dead_letter(
    record: ConsumedRecord,
    *,
    reason: enum.StrEnum | str,
    message: str,
    stage: str,
    attempts: int,
    topic: str | None = None,
    cut: bool = False,
) -> Outgoing:
    """The record to be written for a request that failed.

    Key, value, timestamp and headers are the request's own, so that `replay` gives the request again. Headers of an
    earlier failure are replaced: what counts is the last one.

    Args:
        record: the request as consumed.
        reason: a stable code, e.g. a `ReasonCode`.
        message: what happened, in words; cut to `LONGEST_MESSAGE` bytes.
        stage: one of `STAGES`.
        attempts: how often the request was tried, this time included; see `attempts_before`.
        topic: where to write it; `None` = the dead letters of the pipeline whose requests topic it came from.
        cut: leave out the value, which the topic does not take: a request may have been compressed.

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
    elif cut:
        headers.append((names.DLQ_CUT, b"%d" % len(record.value)))
    return Outgoing(
        topic=topic or topics.dead_letters(topics.pipeline_of(record.topic)),
        key=record.key,
        # Clients refuse to write a record that has neither key nor value; the header above tells the two apart.
        value=record.value if record.value is not None and not cut else b"",
        headers=headers,
        partition=record.partition,
        timestamp_ms=record.timestamp if record.timestamp >= 0 else None,
    )


def replay(letter: ConsumedRecord, topic: str, partition: int | None = None, *, deadline: bool = True) -> Outgoing:
    """The request that a dead letter holds, to be written to `topic` again.

    Key, value and headers are the request's own, byte for byte, and `dlq-attempts` is added, so that a letter of the
    next failure counts on. The timestamp is a new one: by the old one Kafka could drop the record at once (requests
    are kept for less time than letters), and its waiting time would be that of the letter.

    Args:
        letter: a dead letter as consumed.
        topic: where to write the request.
        partition: its partition; `None` = the key decides.
        deadline: keep the header `deadline-ms`. One that has passed makes the answer `expired`.
    """
    headers = letter.headers or []
    empty = names.header(headers, names.DLQ_NULL_VALUE) is not None
    own = _own(letter)
    if not deadline:
        own = [(name, value) for name, value in own if name != names.DEADLINE_MS]
    own.append((names.DLQ_ATTEMPTS, b"%d" % max(attempts_before(headers), 1)))
    # Clients refuse a record with neither key nor value; an empty value is refused by workers with the same code.
    value = None if empty and letter.key is not None else letter.value
    return Outgoing(topic, letter.key, value, own, partition)


def attempts_before(headers: names.Headers | None) -> int:
    """How often a request was tried before, by its header `dlq-attempts`: 0 for one that was never a dead letter.

    The header of a dead letter counts its last failure too. What is no number from 1 to 999,999 counts as absent: the
    header may come from a stranger.
    """
    value = names.header(headers, names.DLQ_ATTEMPTS) or b""
    return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else 0


def _own(record: ConsumedRecord) -> list[tuple[str, bytes]]:
    # A null header value can be read but not written by clients; empty is the nearest.
    return [(name, value or b"") for name, value in record.headers or () if not name.startswith(_OURS)]
