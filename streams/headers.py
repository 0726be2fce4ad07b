"""Header names on the wire, and what a request's headers say.

A header's value is UTF-8 text. Where a name is given twice, the last one counts, as with `lastHeader` in Kafka's own
clients; an empty value counts as absent, because some tools cannot leave a header out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.errors import MalformedRequest, ReasonCode

#: As kafka-python gives and takes them; a value may be null on the wire.
Headers = Sequence[tuple[str, bytes | None]]

REQUEST_ID = "request-id"
DEADLINE_MS = "deadline-ms"
MODEL_VERSION = "model-version"
TRACEPARENT = "traceparent"
REPLY_TO = "reply-to"
CONTENT_TYPE = "content-type"
HEADER_LENGTH = "inference-header-content-length"

STATUS = "status"
MODEL_NAME = "model-name"
SOURCE = "source"
QUEUE_MS = "queue-ms"
COMPUTE_MS = "compute-ms"
BATCH_ROWS = "batch-rows"

DLQ_REASON = "dlq-reason"
DLQ_MESSAGE = "dlq-message"
DLQ_STAGE = "dlq-stage"
DLQ_ATTEMPTS = "dlq-attempts"
DLQ_SOURCE = "dlq-source"
#: Present on the copy of a record whose value was null: clients refuse to write a record with neither key nor value.
DLQ_NULL_VALUE = "dlq-null-value"
#: Present on a copy without the value, which no topic of dead letters takes: the bytes that it had.
DLQ_CUT = "dlq-cut"
#: Present on a mark, which stands among dead letters and says which of them were replayed.
DLQ_REPLAYED = "dlq-replayed"

JSON_CONTENT = "application/json"
BINARY_CONTENT = "application/octet-stream"

#: Longest trace context carried, in bytes. The standard's first version has 55; a later one may add some. A longer one
#: could make a result larger than its topic takes.
LONGEST_TRACE = 512
#: Longest request id, in characters: ids are copied into results, dead letters and logs.
LONGEST_ID = 512

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
#: Results written there would be read as requests again, or as the autoscaler's input.
_NO_REPLY = re.compile(r"__.*|penstock\..*|.*\.requests(\.bulk)?|.*\.dead-letters|\.{1,2}")
_LONGEST_NUMBER = 18
_DECIMAL = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """What the headers of a request say; `None` = nothing."""

    request_id: str | None = None
    #: Unix time in milliseconds after which the answer is worthless.
    deadline_at_ms: int | None = None
    model_version: str | None = None
    #: W3C trace context, copied to the result unread.
    traceparent: str | None = None
    #: Topic for the result, instead of the pipeline's.
    reply_to: str | None = None
    #: Media type in lower case, without parameters.
    content_type: str | None = None
    #: Bytes of JSON at the head of a binary value.
    header_length: int | None = None

    def expired(self, now_s: float) -> bool:
        """Whether the deadline has passed at `now_s`, in Unix seconds; one that is reached has."""
        return self.deadline_at_ms is not None and self.deadline_at_ms <= now_s * 1000

    @classmethod
    def parse(cls, headers: Headers | None) -> RequestHeaders:
        """Read a record's headers; those of others are passed over.

        Raises:
            MalformedRequest: a header that we read has a value we cannot use (`bad-header`, `bad-content-length`).
        """
        if not headers:
            return _NONE
        found = {name: value for name, value in headers if name in _READ and value}
        if not found:
            return _NONE
        content_type = _text(found, CONTENT_TYPE)
        length = found.get(HEADER_LENGTH)
        return cls(
            request_id=_id(found),
            deadline_at_ms=_deadline(found),
            model_version=_matching(found, MODEL_VERSION, _VERSION, "1 to 64 letters, digits, '.', '_' or '-'"),
            traceparent=_trace(found),
            reply_to=_reply_to(found),
            content_type=content_type.partition(";")[0].strip().lower() or None if content_type else None,
            header_length=None if length is None else header_length(length),
        )


_NONE = RequestHeaders()
_READ = frozenset((REQUEST_ID, DEADLINE_MS, MODEL_VERSION, TRACEPARENT, REPLY_TO, CONTENT_TYPE, HEADER_LENGTH))


def header(headers: Headers | None, name: str) -> bytes | None:
    """The last value of a header; `None` = absent or null."""
    for key, value in reversed(headers or ()):
        if key == name:
            return value
    return None


def text_header(headers: Headers | None, name: str) -> str | None:
    """The last value of a header as text; `None` = absent, empty or not UTF-8. Raises nothing."""
    value = header(headers, name)
    try:
        return value.decode() or None if value else None
    except UnicodeDecodeError:
        return None


def request_id_of(headers: Headers | None, body_id: str | None, topic: str, partition: int, offset: int) -> str:
    """The id that a request's result carries: its header's, else its body's, else the place of its record.

    Raises nothing, so that a request too broken to read still gets an answer under a name.
    """
    named = text_header(headers, REQUEST_ID)
    if named is not None and len(named) <= LONGEST_ID:
        return named
    return body_id or f"{topic}-{partition}-{offset}"


def _bad(name: str, value: object, allowed: str, code: ReasonCode = ReasonCode.BAD_HEADER) -> MalformedRequest:
    return MalformedRequest(code, f"header {name}={str(value)[:80]!r}: must be {allowed}")


def _text(found: Mapping[str, bytes], name: str) -> str | None:
    value = found.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _bad(name, value, "UTF-8 text") from None


def _matching(found: Mapping[str, bytes], name: str, pattern: re.Pattern[str], allowed: str) -> str | None:
    value = _text(found, name)
    if value is not None and not pattern.fullmatch(value):
        raise _bad(name, value, allowed)
    return value


def _id(found: Mapping[str, bytes]) -> str | None:
    value = _text(found, REQUEST_ID)
    if value is not None and len(value) > LONGEST_ID:
        raise _bad(REQUEST_ID, value, f"at most {LONGEST_ID} characters")
    return value


def _deadline(found: Mapping[str, bytes]) -> int | None:
    value = _matching(found, DEADLINE_MS, _DECIMAL, "Unix time in milliseconds, digits only")
    return None if value is None else int(value)


def _reply_to(found: Mapping[str, bytes]) -> str | None:
    value = _matching(found, REPLY_TO, _TOPIC, "the name of a topic")
    if value is not None and _NO_REPLY.fullmatch(value):
        raise _bad(REPLY_TO, value, "a topic for results; requests, dead letters and internal topics are refused")
    return value


def _trace(found: Mapping[str, bytes]) -> str | None:
    # A broken trace context is no reason to refuse a request (W3C Trace Context, 4.3: ignore what cannot be parsed).
    try:
        trace = _text(found, TRACEPARENT)
        return trace if trace is None or len(trace) <= LONGEST_TRACE else None
    except MalformedRequest:
        return None


def header_length(value: bytes) -> int:
    """The number in the header of that name.

    Raises:
        MalformedRequest: `bad-content-length`.
    """
    # `isdigit` of bytes is ASCII only, unlike that of text.
    if not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise _bad(HEADER_LENGTH, value, "the number of JSON bytes, digits only", ReasonCode.BAD_CONTENT_LENGTH)
    return int(value)
