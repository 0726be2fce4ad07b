"""What can go wrong between a record and its reader: one tree, each message with its cause and its cure.

The errors of kafka-python do not leave `streams.kafka`; they arrive here as a `KafkaFailure` (see
`streams.kafka.translate`). What is wrong with a record has a `ReasonCode`, stable over versions, because dashboards
and replay scripts select by it.
"""

from __future__ import annotations

import enum


class StreamsError(Exception):
    """Anything that this package raises on purpose."""


class ReasonCode(enum.StrEnum):
    """Why a request could not be decoded; the value of the header `dlq-reason`. Never renamed, only added to."""

    EMPTY_VALUE = "empty-value"
    RECORD_TOO_LARGE = "record-too-large"
    BAD_HEADER = "bad-header"
    TOO_MANY_HEADERS = "too-many-headers"
    UNSUPPORTED_CONTENT_TYPE = "unsupported-content-type"
    BAD_CONTENT_LENGTH = "bad-content-length"
    INVALID_UTF8 = "invalid-utf8"
    INVALID_JSON = "invalid-json"
    JSON_TOO_DEEP = "json-too-deep"
    DUPLICATE_KEY = "duplicate-key"
    NOT_AN_OBJECT = "not-an-object"
    BAD_ID = "bad-id"
    MISSING_INPUTS = "missing-inputs"
    TOO_MANY_INPUTS = "too-many-inputs"
    BAD_INPUT_NAME = "bad-input-name"
    DUPLICATE_INPUT = "duplicate-input"
    BAD_SHAPE = "bad-shape"
    UNKNOWN_DATATYPE = "unknown-datatype"
    BAD_DATA = "bad-data"
    SHAPE_DATA_MISMATCH = "shape-data-mismatch"
    BINARY_SIZE_MISMATCH = "binary-size-mismatch"
    ROWS_DIFFER = "rows-differ"
    TOO_MANY_ROWS = "too-many-rows"


class MalformedRequest(StreamsError):
    """A request that cannot be decoded, whatever is tried: it becomes a dead letter and a failed result.

    Attributes:
        code: what is wrong, as a stable code.
        message: what is wrong in words, with the field and the value.
        request_id: the body's `id`, where it could still be read.
    """

    def __init__(self, code: ReasonCode, message: str, *, request_id: str | None = None) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message
        self.request_id = request_id


class UnencodableTensor(StreamsError, ValueError):
    """An array has no form in the encoding that was asked for; the message names the tensor and a way out."""


class MalformedResult(StreamsError):
    """A result that cannot be decoded: it was not written by this version's workers, or by none of them."""


class MalformedTelemetry(StreamsError):
    """A telemetry record that cannot be decoded: skip it."""


class InvalidPipelineName(StreamsError, ValueError):
    """A pipeline's name is not `[a-z0-9-]+`."""


class TopicMismatch(StreamsError):
    """Topics exist already, and differently from what a pipeline needs."""


class ResultTimeout(StreamsError, TimeoutError):
    """A request has no result yet after the time that its caller gave it. It may still be answered."""


class ClientClosed(StreamsError):
    """The client was closed before the result came, or before the request was submitted."""


class ClientBusy(StreamsError):
    """As many requests as a client may have wait for results already."""


class KafkaFailure(StreamsError):
    """Kafka refused or could not do what was asked.

    Attributes:
        retriable: whether the same call may succeed later without anybody changing anything.
    """

    retriable = False


class BrokerUnavailable(KafkaFailure):
    """No broker answers, or none that can do it now."""

    retriable = True


class EndsUnknown(BrokerUnavailable):
    """A new leader does not know yet how far its partition is committed: nothing new can be read there either."""


class AuthenticationFailed(KafkaFailure):
    """The broker refused the credentials, or the two sides do not trust each other's certificates."""


class NotAuthorized(KafkaFailure):
    """The credentials are right, but they do not permit it."""


class TopicMissing(KafkaFailure):
    """A topic does not exist, and this package never lets a broker create one on the fly."""


class RecordTooLarge(KafkaFailure):
    """A record is larger than the producer, the topic or the broker permits.

    Attributes:
        index: which of several records it was, counted from 0; `None` = not known.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class Fenced(KafkaFailure):
    """Another process took over the same slot (group instance id or transactional id): this one must stop."""


class GenerationChanged(KafkaFailure):
    """The group has rebalanced since the records were polled: these offsets may no longer be ours to commit."""


class TopicRefuses(KafkaFailure):
    """A topic does not take what is written to it, and another try would not cure that.

    Attributes:
        topic: its name.
    """

    def __init__(self, topic: str, message: str) -> None:
        super().__init__(message)
        self.topic = topic


class OutcomeUnknown(KafkaFailure):
    """A transaction may or may not have been committed; a new producer of the same name decides it.

    Attributes:
        topic: the one that refused to be written to; `None` = that was not it, or is not known.
    """

    def __init__(self, message: str, *, topic: str | None = None) -> None:
        super().__init__(message)
        self.topic = topic
