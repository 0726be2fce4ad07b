"""Results on the wire: an Open Inference Protocol (V2) infer response in the encoding of its request, or an error."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from streams import headers as names
from streams import strict_json
from streams.errors import MalformedRequest, MalformedResult
from streams.record_types import Encoding, InferResult, Status, Tensors, Timings
from streams.request_codec import (
    Declared,
    Head,
    check_id,
    declarations,
    dumps,
    header_start,
    json_tensors,
    parse_parts,
    raw_tensors,
    take_tensors,
    with_head,
)

if TYPE_CHECKING:
    from streams.headers import Headers

#: Results come from our own workers: these bound mistakes, not strangers.
_MAX_DEPTH = 64
_MAX_OUTPUTS = 1024


def encode_result(
    outputs: Tensors, *, request_id: str | None, model_name: str, model_version: str, encoding: Encoding
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A result's value and its content headers.

    Args:
        outputs: by name.
        request_id: goes into JSON bodies; in the binary encoding the header `request-id` alone carries it, so that the
            heads of same-shaped results are equal and made once.
        model_name: of the model that ran.
        model_version: of the model that ran.
        encoding: as the request's.

    Raises:
        UnencodableTensor: an output has no form in this encoding, e.g. NaN in JSON.
    """
    if encoding is Encoding.JSON:
        body: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
        if request_id is not None:
            body["id"] = request_id
        body["outputs"] = json_tensors(outputs)
        return dumps(body), [(names.CONTENT_TYPE, names.JSON_CONTENT.encode())]
    declared, raw = raw_tensors(outputs)
    return with_head(_result_head(model_name, model_version, declared), raw, [])


def encode_error(message: str, *, request_id: str | None = None) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The value of a failed or expired result, always JSON, and its content headers."""
    body = {"error": message} if request_id is None else {"id": request_id, "error": message}
    return dumps(body), [(names.CONTENT_TYPE, names.JSON_CONTENT.encode())]


def decode_result(value: bytes | None, headers: Headers | None = None) -> InferResult:
    """Decode a result's value by its headers.

    Raises:
        MalformedResult: whatever is wrong; never anything else.
    """
    try:
        return _decode(value or b"", headers)
    except MalformedRequest as error:
        msg = f"the result cannot be read: {error.message}; see the worker's version"
        raise MalformedResult(msg) from error


def result_id(headers: Headers | None) -> str | None:
    """The id in a result's header, read without its value; `None` = it has none."""
    return names.text_header(headers, names.REQUEST_ID)


def _decode(value: bytes, headers: Headers | None) -> InferResult:
    start, _ = header_start(value, headers)
    body = strict_json.loads(value[:start], max_depth=_MAX_DEPTH)
    if not isinstance(body, dict):
        raise MalformedResult("the result's JSON is no object; was it written by a worker of this pipeline?")
    found = result_id(headers) or check_id(body.get("id"))
    if found is None:
        raise MalformedResult("the result says for which request it is neither in the header request-id nor in its id")
    error = body.get("error")
    outputs: Tensors = {}
    status = _status(headers, failed=error is not None)
    if status is Status.OK:
        parts = parse_parts(body.get("outputs"), "outputs", max_parts=_MAX_OUTPUTS, may_be_empty=True)
        head = Head(None, parts, 0, sum(part.size or 0 for part in parts))
        outputs = take_tensors(head, value, start)
    return InferResult(
        id=found,
        status=status,
        outputs=outputs,
        error=None if status is Status.OK else str(error or status.value),
        model_name=names.text_header(headers, names.MODEL_NAME) or _text(body.get("model_name")),
        model_version=names.text_header(headers, names.MODEL_VERSION) or _text(body.get("model_version")),
        timings=Timings(
            queue_ms=_number(headers, names.QUEUE_MS),
            compute_ms=_number(headers, names.COMPUTE_MS),
            batch_rows=_whole(headers, names.BATCH_ROWS),
        ),
        source=names.text_header(headers, names.SOURCE),
        traceparent=names.text_header(headers, names.TRACEPARENT),
    )


@functools.lru_cache(maxsize=256)
def _result_head(model_name: str, model_version: str, declared: Declared) -> bytes:
    return dumps({"model_name": model_name, "model_version": model_version, "outputs": declarations(declared)})


def _status(headers: Headers | None, *, failed: bool) -> Status:
    given = names.text_header(headers, names.STATUS)
    if given is None:
        return Status.FAILED if failed else Status.OK
    try:
        return Status(given)
    except ValueError:
        msg = f"header {names.STATUS}={given[:40]!a}: must be one of {', '.join(Status)}"
        raise MalformedResult(msg) from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(headers: Headers | None, name: str) -> float | None:
    try:
        number = float(names.text_header(headers, name) or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(headers: Headers | None, name: str) -> int | None:
    number = _number(headers, name)
    return None if number is None else int(number)
