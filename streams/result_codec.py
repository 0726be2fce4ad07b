"""Results on the wire: an Open Inference Protocol (V2) infer response in the encoding of its request, or an error."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from streams import headers as names
from streams import strict_json
from streams.errors import MalformedRequest, MalformedResult
from streams.record_types import Array, Encoding, InferResult, Status, Tensors, Timings
from streams.request_codec import (
    Declared,
    Head,
    check_id,
    comes_again,
    declarations,
    dumps,
    header_start,
    json_tensors,
    parse_parts,
    raw_tensors,
    take_tensors,
    with_head,
)
from streams.tensors import datatype_of

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


@dataclass(frozen=True, slots=True)
class JsonResults:
    """The results of one batch in JSON, whose numbers have been written once for all of its rows.

    What it writes is to the byte what `encode_result` writes.
    """

    _head: bytes
    #: For each output: its declaration before and behind the number of rows, and the text of each row's numbers.
    _outputs: tuple[tuple[bytes, bytes, tuple[bytes, ...]], ...]

    @classmethod
    def of(cls, outputs: Tensors, *, model_name: str, model_version: str) -> JsonResults | None:
        """Write a batch's outputs.

        Args:
            outputs: by name, each with as many rows.
            model_name: of the model that ran.
            model_version: of the model that ran.

        Returns:
            `None` where `encode_result` must see each by itself: text, nothing in a row, or a number that is not
            finite, which fails only the request that it belongs to.
        """
        written = []
        for name, array in outputs.items():
            if not array.size or array.dtype.kind not in "biuf":
                return None
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return None
            shape = b"".join(b",%d" % size for size in array.shape[1:])
            declared = dumps({"name": name, "shape": [0], "datatype": datatype_of(array, name), "data": []})
            before, _, behind = declared[:-2].rpartition(b"0]")
            written.append((before, shape + b"]" + behind, _texts(array)))
        told = dumps({"model_name": model_name, "model_version": model_version})
        return cls(told[:-1], tuple(written))

    def value(self, request_id: str, start: int, rows: int) -> bytes:
        """The value of the result for rows `start` to `start + rows - 1`."""
        outputs = [
            b"%b%d%b%b]}" % (before, rows, behind, b",".join(texts[start : start + rows]))
            for before, behind, texts in self._outputs
        ]
        return b'%b,"id":%b,"outputs":[%b]}' % (self._head, dumps(request_id), b",".join(outputs))


def _texts(array: Array) -> tuple[bytes, ...]:
    """The numbers of each row as JSON, in row-major order and with commas between."""
    # Doubles, so that each is written with the digits that bring back its value, also by way of a double.
    dtype = np.dtype(np.float64) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    text = orjson.dumps(np.ascontiguousarray(array.reshape(len(array), -1), dtype), option=orjson.OPT_SERIALIZE_NUMPY)
    return tuple(text[2:-2].split(b"],["))


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


@dataclass(frozen=True, slots=True)
class _Body:
    """The JSON of a result, checked as far as it goes without the rest."""

    id: str | None
    error: str | None
    model_name: str | None
    model_version: str | None
    #: What is wrong with the outputs, if there are none; only a result that says `ok` needs them.
    outputs: Head | MalformedRequest


def _decode(value: bytes, headers: Headers | None) -> InferResult:
    start, encoding = header_start(value, headers)
    text = value[:start]
    body = (_remembered if encoding is Encoding.BINARY and comes_again(text) else _parse)(text)
    told = dict(headers or ())  # the last of two counts
    found = _told(told, names.REQUEST_ID) or body.id
    if found is None:
        raise MalformedResult("the result says for which request it is neither in the header request-id nor in its id")
    status = _status(told, failed=body.error is not None)
    outputs: Tensors = {}
    if status is Status.OK:
        if isinstance(body.outputs, MalformedRequest):
            raise MalformedRequest(body.outputs.code, body.outputs.message)
        outputs = take_tensors(body.outputs, value, start)
    return InferResult(
        id=found,
        status=status,
        outputs=outputs,
        error=None if status is Status.OK else body.error or status.value,
        model_name=_told(told, names.MODEL_NAME) or body.model_name,
        model_version=_told(told, names.MODEL_VERSION) or body.model_version,
        timings=Timings(
            queue_ms=_number(told, names.QUEUE_MS),
            compute_ms=_number(told, names.COMPUTE_MS),
            batch_rows=_whole(told, names.BATCH_ROWS),
        ),
        source=_told(told, names.SOURCE),
        traceparent=_told(told, names.TRACEPARENT),
    )


def _parse(text: bytes) -> _Body:
    body = strict_json.loads(text, max_depth=_MAX_DEPTH)
    if not isinstance(body, dict):
        raise MalformedResult("the result's JSON is no object; was it written by a worker of this pipeline?")
    outputs: Head | MalformedRequest
    try:
        parts = parse_parts(body.get("outputs"), "outputs", max_parts=_MAX_OUTPUTS, may_be_empty=True)
        outputs = Head(None, parts, 0, sum(part.size or 0 for part in parts))
    except MalformedRequest as refusal:
        outputs = refusal.with_traceback(None)
    error = body.get("error")
    return _Body(
        id=check_id(body.get("id")),
        error=None if error is None else str(error),
        model_name=_text(body.get("model_name")),
        model_version=_text(body.get("model_version")),
        outputs=outputs,
    )


_remembered = functools.lru_cache(maxsize=256)(_parse)


@functools.lru_cache(maxsize=256)
def _result_head(model_name: str, model_version: str, declared: Declared) -> bytes:
    return dumps({"model_name": model_name, "model_version": model_version, "outputs": declarations(declared)})


Told = Mapping[str, bytes | None]


def _status(told: Told, *, failed: bool) -> Status:
    given = _told(told, names.STATUS)
    if given is None:
        return Status.FAILED if failed else Status.OK
    try:
        return Status(given)
    except ValueError:
        msg = f"header {names.STATUS}={given[:40]!a}: must be one of {', '.join(Status)}"
        raise MalformedResult(msg) from None


def _told(told: Told, name: str) -> str | None:
    value = told.get(name)
    try:
        return value.decode() or None if value else None
    except UnicodeDecodeError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(told: Told, name: str) -> float | None:
    try:
        number = float(told.get(name) or b"nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(told: Told, name: str) -> int | None:
    number = _number(told, name)
    return None if number is None else int(number)
