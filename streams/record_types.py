"""The records as values: what is consumed, what is decoded, what is written."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = Mapping[str, Array]


class Encoding(enum.StrEnum):
    """How tensors are written; the value is the header `content-type`."""

    JSON = "application/json"
    BINARY = "application/octet-stream"


class Status(enum.StrEnum):
    """How a request ended; the value of the header `status`."""

    OK = "ok"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for. Beyond it, the request is refused, whatever else is right with it.

    Raises:
        ValueError: a field is below 1.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Bytes of a record's value: as `max_record_bytes` of the topics, 1 MiB.
    max_record_bytes: int = 1024 * 1024
    #: Rows of a request; more would hold a batch of their own for longer than others should wait.
    max_rows: int = 1024
    #: Arrays and objects within one another: a V2 request takes 4 and its nested data one more a dimension.
    max_json_depth: int = 32
    #: Tensors of a request; models with more inputs than this have not been seen.
    max_inputs: int = 64
    #: Headers of a record: we read seven, and tracing and routing of others add a few each.
    max_headers: int = 64
    #: Bytes of all headers' names and values: twice what web servers take in a request's head. A dead letter carries
    #: them all.
    max_header_bytes: int = 16 * 1024

    def __post_init__(self) -> None:
        for name in (
            "max_record_bytes",
            "max_rows",
            "max_json_depth",
            "max_inputs",
            "max_headers",
            "max_header_bytes",
        ):
            if getattr(self, name) < 1:
                msg = f"limits.{name}={getattr(self, name)}: must be at least 1"
                raise ValueError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A decoded request."""

    #: The body's `id`; a header's goes before it (see `streams.headers.request_id_of`). `None` = it has none.
    id: str | None
    #: By name, in the order of the body; all of `rows` rows. Numbers in the binary encoding are read-only views of the
    #: record's value.
    inputs: Tensors
    rows: int
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, as its worker says; `None` = it does not say."""

    #: From the record's timestamp to the start of its batch, in milliseconds.
    queue_ms: float | None = None
    #: What its batch held the device, in milliseconds.
    compute_ms: float | None = None
    #: Rows in its batch.
    batch_rows: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InferResult:
    """A decoded result."""

    id: str
    status: Status
    #: By name; empty unless `status` is `ok`.
    outputs: Tensors
    #: What went wrong, in words; `None` where nothing did.
    error: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    timings: Timings = field(default_factory=Timings)
    #: `topic/partition/offset` of the request.
    source: str | None = None
    traceparent: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there are outputs."""
        return self.status is Status.OK


@dataclass(frozen=True, slots=True, eq=False)
class SharedHeaders:
    """Headers that many records have in common: named, and encoded, once."""

    pairs: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Outgoing:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    #: `None` = the key decides, or any will do.
    partition: int | None = None
    #: Unix time in milliseconds; `None` = now.
    timestamp_ms: int | None = None
    #: Follow `headers`.
    shared: SharedHeaders | None = None

    @property
    def all_headers(self) -> list[tuple[str, bytes]]:
        """Those of its own, then those it shares."""
        return self.headers if self.shared is None else [*self.headers, *self.shared.pairs]


class ConsumedRecord(Protocol):
    """A record as kafka-python hands it out."""

    @property
    def topic(self) -> str:
        """Where it was read."""

    @property
    def partition(self) -> int:
        """Which part of the topic."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """Unix time in milliseconds, by its producer or the broker."""

    @property
    def key(self) -> bytes | None:
        """The user's key."""

    @property
    def value(self) -> bytes | None:
        """The user's value; `None` is a tombstone."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Names and values, in order; names may repeat and, on the wire, values may be null."""
