"""An answer in hand: a request's record, what came of it, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams import headers as names
from streams.dead_letters import attempts_before, dead_letter
from streams.errors import UnencodableTensor
from streams.records import ConsumedRecord, Encoding, Outgoing, Status, encode_error, encode_result

if TYPE_CHECKING:
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
class Answer:
    """One request, answered. Exactly one of `outputs` and `failure` is set, except when it expired."""

    record: ConsumedRecord
    #: Epoch of the record's partition (see `inference_workers.ownership`).
    epoch: int
    headers: RequestHeaders
    request_id: str
    encoding: Encoding
    status: Status
    outputs: dict[str, NDArray[Any]] | None = None
    failure: Failure | None = None
    #: Seconds that the batch held the device, and its rows; `None` = no batch.
    compute_s: float | None = None
    batch_rows: int | None = None
    #: Unix seconds when the batch was formed.
    formed_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as records: the result, and the dead letter of a failed one."""

    answer: Answer
    status: Status
    records: tuple[Outgoing, ...]


def write(answer: Answer, *, results_topic: str, model_name: str, model_version: str, max_bytes: int) -> Written:
    """Encode an answer.

    Outputs that cannot be encoded, or are too large for the results topic, become a failed result and a dead letter.

    Args:
        answer: what to write.
        results_topic: where results go that name no other.
        model_name: stamped on the result.
        model_version: stamped on the result.
        max_bytes: largest value that the results topic takes.

    """
    failure = answer.failure
    value, content = b"", list[tuple[str, bytes]]()
    if answer.outputs is not None:
        try:
            value, content = encode_result(
                answer.outputs,
                request_id=answer.request_id,
                model_name=model_name,
                model_version=model_version,
                encoding=answer.encoding,
            )
        except UnencodableTensor as error:
            failure = Failure("unencodable-output", str(error), "encode")
        else:
            if len(value) > max_bytes:
                failure = Failure(
                    "result-too-large",
                    f"the result has {len(value)} bytes, the results topic takes {max_bytes}; ask with fewer rows",
                    "encode",
                )
    status = Status.FAILED if failure is not None else answer.status
    if failure is not None:
        value, content = encode_error(f"{failure.reason}: {failure.message}", request_id=answer.request_id)
    elif status is Status.EXPIRED:
        value, content = encode_error("expired: the deadline had passed", request_id=answer.request_id)
    record = answer.record
    reply_to = answer.headers.reply_to
    result = Outgoing(
        topic=reply_to or results_topic,
        key=record.key,
        value=value,
        headers=content + _result_headers(answer, status, model_name, model_version),
        # A results topic of ours has as many partitions as the requests: the result's place is its request's, so
        # order within a partition holds for results too. Of a stranger's topic nothing is known: the key decides.
        partition=record.partition if reply_to is None else None,
    )
    if failure is None:
        return Written(answer, status, (result,))
    attempts = attempts_before(record.headers) + 1
    letter = dead_letter(record, reason=failure.reason, message=failure.message, stage=failure.stage, attempts=attempts)
    return Written(answer, status, (result, letter))


def _result_headers(answer: Answer, status: Status, model_name: str, model_version: str) -> list[tuple[str, bytes]]:
    record = answer.record
    headers = [
        (names.REQUEST_ID, answer.request_id.encode()),
        (names.STATUS, status.value.encode()),
        (names.MODEL_NAME, model_name.encode()),
        (names.MODEL_VERSION, model_version.encode()),
        (names.SOURCE, f"{record.topic}/{record.partition}/{record.offset}".encode()),
    ]
    if answer.headers.traceparent is not None:
        headers.append((names.TRACEPARENT, answer.headers.traceparent.encode()))
    if answer.formed_at_s is not None and record.timestamp >= 0:
        headers.append((names.QUEUE_MS, b"%.1f" % max(answer.formed_at_s * 1000 - record.timestamp, 0.0)))
    if answer.compute_s is not None:
        headers.append((names.COMPUTE_MS, b"%.2f" % (answer.compute_s * 1000)))
    if answer.batch_rows is not None:
        headers.append((names.BATCH_ROWS, b"%d" % answer.batch_rows))
    return headers
