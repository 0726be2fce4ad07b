"""An answer in hand: a request's record, what came of it, and how it is written."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streams import headers as names
from streams.dead_letters import attempts_before, dead_letter
from streams.errors import UnencodableTensor
from streams.records import (
    ConsumedRecord,
    Encoding,
    JsonResults,
    Outgoing,
    SharedHeaders,
    Status,
    encode_error,
    encode_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from streams.headers import RequestHeaders


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no outputs."""

    #: Stable code, e.g. `invalid-json` or `wrong-shape`.
    reason: str
    message: str
    #: `decode`, `batch`, `model` or `encode`.
    stage: str


@dataclass(frozen=True, slots=True, eq=False)
class BatchFacts:
    """What the answers of one batch have in common."""

    model_name: str
    model_version: str
    #: Seconds that the batch held the device.
    compute_s: float
    #: Rows in it, without padding.
    rows: int
    #: Unix seconds when the batch was formed.
    formed_at_s: float
    #: What the model gave, by name; without padding.
    outputs: Mapping[str, NDArray[Any]]
    _written: dict[int, tuple[bytes, SharedHeaders, tuple[tuple[bytes, int], ...]]] = field(default_factory=dict)
    #: The same in JSON, one for all; empty = nobody has asked for it yet.
    _json: list[tuple[JsonResults | None, SharedHeaders]] = field(default_factory=list)

    def rows_of(self, start: int, rows: int) -> dict[str, NDArray[Any]]:
        """The outputs of one request. Views, not copies."""
        return {name: array[start : start + rows] for name, array in self.outputs.items()}

    def binary(self, start: int, rows: int) -> tuple[bytes, SharedHeaders]:
        """The value of one request's result in the binary encoding, and the headers that it shares with the others.

        Raises:
            UnencodableTensor: an output has no form in it.

        """
        known = self._written.get(rows)
        if known is None:
            known = self._written[rows] = self._prepared(start, rows)
        head, shared, sources = known
        if not sources:
            value, _ = self._encoded(start, rows)
            return value, shared
        if len(sources) == 1:
            # Most models have one output, and are asked thousands of times a second.
            ((raw, size),) = sources
            return head + raw[start * size : (start + rows) * size], shared
        return b"".join([head, *[raw[start * size : (start + rows) * size] for raw, size in sources]]), shared

    def _prepared(self, start: int, rows: int) -> tuple[bytes, SharedHeaders, tuple[tuple[bytes, int], ...]]:
        value, content = self._encoded(start, rows)
        shared = SharedHeaders((*content, *self.shared_pairs(Status.OK)))
        if any(array.dtype.kind not in "biuf" for array in self.outputs.values()):
            # Strings have no fixed size a row.
            return b"", shared, ()
        # Row-major and little-endian, the rows of a request are consecutive bytes of the whole.
        sources = tuple(
            (np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), array.nbytes // len(array))
            for array in self.outputs.values()
        )
        return value[: len(value) - sum(size * rows for _, size in sources)], shared, sources

    def _encoded(
        self, start: int, rows: int, request_id: str | None = None, encoding: Encoding = Encoding.BINARY
    ) -> tuple[bytes, list[tuple[str, bytes]]]:
        return encode_result(
            self.rows_of(start, rows),
            request_id=request_id,
            model_name=self.model_name,
            model_version=self.model_version,
            encoding=encoding,
        )

    def json(self, request_id: str, start: int, rows: int) -> tuple[bytes, SharedHeaders]:
        """The same in JSON, whose bodies carry the id too.

        Raises:
            UnencodableTensor: an output has no form in it.

        """
        if not self._json:
            written = JsonResults.of(self.outputs, model_name=self.model_name, model_version=self.model_version)
            content = (names.CONTENT_TYPE, names.JSON_CONTENT.encode())
            self._json.append((written, SharedHeaders((content, *self.shared_pairs(Status.OK)))))
        ((written, shared),) = self._json
        if written is not None:
            return written.value(request_id, start, rows), shared
        return self._encoded(start, rows, request_id, Encoding.JSON)[0], shared

    def shared_pairs(self, status: Status) -> tuple[tuple[str, bytes], ...]:
        """The headers that all results of the batch have."""
        return (
            (names.STATUS, status.value.encode()),
            (names.MODEL_NAME, self.model_name.encode()),
            (names.MODEL_VERSION, self.model_version.encode()),
            (names.COMPUTE_MS, b"%.2f" % (self.compute_s * 1000)),
            (names.BATCH_ROWS, b"%d" % self.rows),
        )


@dataclass(slots=True, eq=False)
class Answer:
    """One request, answered: by rows of a batch (`ok`), or with a failure, or because it expired."""

    record: ConsumedRecord
    #: Epoch of the record's partition (see `inference_workers.ownership`).
    epoch: int
    headers: RequestHeaders
    request_id: str
    encoding: Encoding
    status: Status
    failure: Failure | None = None
    #: The batch it was computed in; `None` = it never reached one.
    batch: BatchFacts | None = None
    #: Its first row in the batch's outputs, and how many are its own.
    start: int = 0
    rows: int = 0
    #: Its dead letter goes without the request's value: the topic does not take a record of that size.
    cut: bool = False


@dataclass(slots=True, eq=False)
class Written:
    """An answer as records: the result, and the dead letter of a failed one."""

    answer: Answer
    status: Status
    records: tuple[Outgoing, ...]


@dataclass(frozen=True, slots=True)
class Writing:
    """How a worker writes its answers.

    Args:
        results_topic: where results go that name no other.
        model_name: stamped on results that no model has computed.
        model_version: likewise; the version that is served then.
        max_bytes: largest value that the results topic takes.

    """

    results_topic: str
    model_name: str
    model_version: Callable[[], str]
    max_bytes: int

    def write(self, answer: Answer, *, now_s: float) -> Written:
        """Encode an answer.

        Outputs that cannot be encoded, or are too large for the results topic, become a failed result and a dead
        letter; those whose deadline has passed become an expired one.

        Args:
            answer: what to write.
            now_s: Unix seconds.

        """
        if answer.status is not Status.OK or answer.headers.expired(now_s):
            return self._without_outputs(answer)
        batch = answer.batch
        assert batch is not None, "an answer that is ok has a batch"  # noqa: S101 - what `Answer` promises
        headers = self._own_headers(answer, batch)
        try:
            if answer.encoding is Encoding.BINARY:
                value, shared = batch.binary(answer.start, answer.rows)
            else:
                value, shared = batch.json(answer.request_id, answer.start, answer.rows)
        except UnencodableTensor as error:
            return self._without_outputs(answer, Failure("unencodable-output", str(error), "encode"))
        record, reply_to = answer.record, answer.headers.reply_to
        key = record.key
        size = len(value) if key is None else len(value) + len(key)
        if size > self.max_bytes:
            message = (
                f"the result has {size} bytes with its key, the results topic takes {self.max_bytes}; ask with fewer "
                "rows, or with a shorter key"
            )
            return self._without_outputs(answer, Failure("result-too-large", message, "encode"))
        if reply_to is not None:
            return Written(answer, Status.OK, (self._result(answer, value, headers, shared),))
        # As `_result` does, which is called for the others: this one is called for each of thousands a second.
        result = Outgoing(self.results_topic, key, value, headers, record.partition, None, shared)
        return Written(answer, Status.OK, (result,))

    def _without_outputs(self, answer: Answer, failure: Failure | None = None) -> Written:
        failure = failure or answer.failure
        status = Status.EXPIRED if failure is None else Status.FAILED
        message = "expired: the deadline had passed" if failure is None else f"{failure.reason}: {failure.message}"
        value, content = encode_error(message, request_id=answer.request_id)
        batch = answer.batch
        shared = self._without_batch(status) if batch is None else batch.shared_pairs(status)
        result = self._result(answer, value, [*content, *self._own_headers(answer, batch)], SharedHeaders(shared))
        if failure is None:
            return Written(answer, status, (result,))
        record = answer.record
        letter = dead_letter(
            record,
            reason=failure.reason,
            message=failure.message,
            stage=failure.stage,
            attempts=attempts_before(record.headers) + 1,
            cut=answer.cut,
        )
        return Written(answer, status, (result, letter))

    def _result(
        self, answer: Answer, value: bytes, headers: list[tuple[str, bytes]], shared: SharedHeaders
    ) -> Outgoing:
        record, reply_to = answer.record, answer.headers.reply_to
        key = record.key
        if key is not None and len(key) + len(value) > self.max_bytes:
            # Only of a failed one, whose value is short: a key that fills a record leaves no room for any answer.
            key = None
        if reply_to is None:
            # A results topic of ours has as many partitions as the requests: the result's place is its request's, so
            # order within a partition holds for results too.
            return Outgoing(self.results_topic, key, value, headers, record.partition, None, shared)
        # Of a stranger's topic nothing is known: the key decides.
        return Outgoing(reply_to, key, value, headers, None, None, shared)

    def _without_batch(self, status: Status) -> tuple[tuple[str, bytes], ...]:
        return (
            (names.STATUS, status.value.encode()),
            (names.MODEL_NAME, self.model_name.encode()),
            (names.MODEL_VERSION, self.model_version().encode()),
        )

    @staticmethod
    def _own_headers(answer: Answer, batch: BatchFacts | None) -> list[tuple[str, bytes]]:
        record, traceparent = answer.record, answer.headers.traceparent
        headers = [
            (names.REQUEST_ID, answer.request_id.encode()),
            (names.SOURCE, b"%b%d" % (_place(record.topic, record.partition), record.offset)),
        ]
        if traceparent is not None:
            headers.append((names.TRACEPARENT, traceparent.encode()))
        stamp = record.timestamp
        if batch is not None and stamp >= 0:
            waited_ms = batch.formed_at_s * 1000 - stamp
            headers.append((names.QUEUE_MS, b"%.1f" % waited_ms if waited_ms > 0 else b"0.0"))
        return headers


@functools.lru_cache(maxsize=4096)
def _place(topic: str, partition: int) -> bytes:
    return f"{topic}/{partition}/".encode()
