"""Dead letters read as values, and which of them a person means. Nothing here talks to Kafka or reads a clock."""

from __future__ import annotations

import datetime as dt
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import headers as names
from streams.dead_letters import attempts_before

if TYPE_CHECKING:
    from streams.record_types import ConsumedRecord

_PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]{1,249})/(?P<partition>[0-9]{1,9})/(?P<offset>[0-9]{1,18})")
_SOURCE = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]{1,249})"
    r"(?:/(?P<partition>[0-9]{1,9})(?:/(?P<first>[0-9]{1,18})(?:-(?P<last>[0-9]{1,18}))?)?)?"
)
_AGO = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is or was."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """`topic/partition/offset` as a value; `None` = it is not one."""
        found = _PLACE.fullmatch(text)
        return None if found is None else cls(found["topic"], int(found["partition"]), int(found["offset"]))


@dataclass(frozen=True, slots=True)
class SourceRange:
    """Requests by where they were: a topic, a partition of it, or offsets of that."""

    topic: str
    #: `None` = all.
    partition: int | None = None
    #: First and last offset, both included; `None` = all.
    offsets: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> SourceRange:
        """Read `topic`, `topic/partition`, `topic/partition/offset` or `topic/partition/first-last`.

        Raises:
            ValueError: it is none of these, or the last offset is before the first.
        """
        found = _SOURCE.fullmatch(text)
        if found is None:
            msg = f"source {text!r}: must be topic[/partition[/offset[-offset]]], e.g. digits.requests/3/100-200"
            raise ValueError(msg)
        partition, first, last = found["partition"], found["first"], found["last"]
        if first is None:
            return cls(found["topic"], None if partition is None else int(partition))
        offsets = (int(first), int(last or first))
        if offsets[1] < offsets[0]:
            msg = f"source {text!r}: the last offset is before the first"
            raise ValueError(msg)
        return cls(found["topic"], int(partition), offsets)

    def holds(self, place: Place) -> bool:
        """Whether a place lies in it."""
        return (
            place.topic == self.topic
            and self.partition in (None, place.partition)
            and (self.offsets is None or self.offsets[0] <= place.offset <= self.offsets[1])
        )


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """A dead letter without its key, value and message: about 200 bytes each, so that a million can be held."""

    partition: int
    offset: int
    #: Of the request, Unix milliseconds; negative = it had none.
    timestamp_ms: int
    reason: str
    stage: str
    #: How often the request was tried.
    attempts: int
    #: Where the request was; `None` = the letter does not say.
    source: Place | None
    #: Bytes of the value.
    size: int
    #: The request's `deadline-ms`, if it has one.
    deadline_ms: int | None
    #: Whether the request's value is not in it: no topic took it.
    cut: bool = False


def read_letter(record: ConsumedRecord) -> LetterFacts | None:
    """What a record among the dead letters says of itself; `None` = it is no dead letter. Raises nothing."""
    reason = names.text_header(record.headers, names.DLQ_REASON)
    if reason is None:
        return None
    deadline = names.text_header(record.headers, names.DEADLINE_MS) or ""
    return LetterFacts(
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        # Few and repeated: one copy of each is enough.
        reason=sys.intern(reason),
        stage=sys.intern(names.text_header(record.headers, names.DLQ_STAGE) or "?"),
        attempts=max(attempts_before(record.headers), 1),
        source=Place.parse(names.text_header(record.headers, names.DLQ_SOURCE) or ""),
        size=len(record.value or b""),
        deadline_ms=int(deadline) if re.fullmatch("[0-9]{1,18}", deadline) else None,
        cut=names.header(record.headers, names.DLQ_CUT) is not None,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that pass every test that is given."""

    #: Any of these codes; empty = all.
    reasons: frozenset[str] = frozenset()
    #: The request's timestamp, Unix milliseconds: not before, and before.
    since_ms: int | None = None
    until_ms: int | None = None
    #: From any of these; empty = all.
    sources: tuple[SourceRange, ...] = ()
    #: `None` = all.
    stage: str | None = None
    #: Tried at least so often.
    min_attempts: int = 1

    def takes(self, letter: LetterFacts) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or letter.timestamp_ms < self.until_ms)
            and self.stage in (None, letter.stage)
            and letter.attempts >= self.min_attempts
            and (
                not self.sources
                or (letter.source is not None and any(source.holds(letter.source) for source in self.sources))
            )
        )


def moment_ms(text: str, now_ms: int) -> int:
    """Unix milliseconds of `2h` (that long ago; also s, m and d), or of an ISO 8601 time; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return max(now_ms - round(float(ago["number"]) * _SECONDS[ago["unit"]] * 1000), 0)
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        msg = f"time {text!r}: must be an age such as 30m, 2h or 7d, or ISO 8601 such as 2026-08-01T12:00:00Z"
        raise ValueError(msg) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=dt.UTC)
    return max(round(found.timestamp() * 1000), 0)
