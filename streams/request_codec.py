"""Requests on the wire: an Open Inference Protocol (V2) infer request, all in JSON or with its tensors after it.

`decode_request` is called for each record of strangers, thousands of times a second. It raises `MalformedRequest` and
nothing else, and the JSON heads of same-shaped binary requests, being equal, are parsed once.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from streams import headers as names
from streams import quick_json, strict_json, tensors
from streams.errors import MalformedRequest, ReasonCode
from streams.record_types import Array, Encoding, InferRequest, Limits, Tensors

if TYPE_CHECKING:
    from streams.headers import Headers

#: Heads longer than this are parsed each time: what is remembered stays below `HEADS_REMEMBERED` times as many bytes.
LONGEST_REMEMBERED_HEAD = 4096
#: Different heads remembered, the least recently used dropped first: a pipeline sees a few shapes, not hundreds.
HEADS_REMEMBERED = 256

_BINARY_CONTENT = names.BINARY_CONTENT.encode()


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor as a head declares it."""

    name: str
    #: What messages call it.
    place: str
    datatype: str
    shape: tuple[int, ...]
    #: Bytes of raw form after the head; `None` = its data stands in the head.
    size: int | None
    data: object = None


@dataclass(frozen=True, slots=True)
class Head:
    """The JSON of a request, checked."""

    id: str | None
    parts: tuple[Part, ...]
    rows: int
    #: Bytes of raw tensors that must follow.
    raw_bytes: int


def decode_request(value: bytes | None, headers: Headers | None = None, *, limits: Limits) -> InferRequest:
    """Decode a request's value by its headers.

    Args:
        value: the record's value.
        headers: the record's headers: `content-type` names the encoding (absent = JSON), and
            `inference-header-content-length` where the tensors of a binary value begin.
        limits: what one request may ask for.

    Raises:
        MalformedRequest: whatever is wrong; never anything else.
    """
    if not value:
        raise MalformedRequest(ReasonCode.EMPTY_VALUE, "the record has no value; send an infer request")
    if len(value) > limits.max_record_bytes:
        message = f"the value has {len(value)} bytes, more than max_record_bytes={limits.max_record_bytes}"
        raise MalformedRequest(ReasonCode.RECORD_TOO_LARGE, message)
    if headers:
        _check_headers(headers, limits)
    start, encoding = header_start(value, headers)
    if encoding is Encoding.JSON:
        request = quick_json.read(value, limits)
        if request is not None:
            return request
    return _carefully(value, start, encoding, limits)


def _carefully(value: bytes, start: int, encoding: Encoding, limits: Limits) -> InferRequest:
    """Decode a value whose first `start` bytes are JSON, and say what is wrong with it if anything is.

    Raises:
        MalformedRequest: whatever is wrong.
    """
    text = value[:start]
    parse = _remembered if encoding is Encoding.BINARY and comes_again(text) else _parse
    head = parse(text, limits.max_json_depth, limits.max_inputs)
    if head.rows > limits.max_rows:
        message = (
            f"the inputs have {head.rows} rows, more than max_rows={limits.max_rows}; send them in several requests"
        )
        raise MalformedRequest(ReasonCode.TOO_MANY_ROWS, message, request_id=head.id)
    try:
        return InferRequest(head.id, take_tensors(head, value, start), head.rows, encoding)
    except MalformedRequest as error:
        raise MalformedRequest(error.code, error.message, request_id=head.id) from None


def _check_headers(headers: Headers, limits: Limits) -> None:
    """See that the headers are few and short enough to be carried on.

    Raises:
        MalformedRequest: `too-many-headers`.
    """
    if len(headers) > limits.max_headers:
        message = f"the record has {len(headers)} headers, more than max_headers={limits.max_headers}"
        raise MalformedRequest(ReasonCode.TOO_MANY_HEADERS, message)
    size = header_bytes(headers)
    if size > limits.max_header_bytes:
        message = f"the record's headers have {size} bytes, more than max_header_bytes={limits.max_header_bytes}"
        raise MalformedRequest(ReasonCode.TOO_MANY_HEADERS, message)


def header_bytes(headers: Headers) -> int:
    """Bytes of all headers' names and values."""
    return sum([len(name) + len(value or b"") for name, value in headers])


def encode_request(
    inputs: Tensors, *, request_id: str | None = None, encoding: Encoding = Encoding.BINARY
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A request's value, and the headers that say how to read it and what it is called.

    The id travels in the header, so that the heads of same-shaped binary requests are equal; JSON carries it too.

    Args:
        inputs: by name; the first dimension of each is rows.
        request_id: comes back with the result.
        encoding: JSON can be read by people, binary is several times smaller and faster.

    Raises:
        UnencodableTensor: an array has no form in this encoding.
    """
    named = [] if request_id is None else [(names.REQUEST_ID, request_id.encode())]
    if encoding is Encoding.JSON:
        body: dict[str, Any] = {} if request_id is None else {"id": request_id}
        body["inputs"] = json_tensors(inputs)
        return dumps(body), [*named, (names.CONTENT_TYPE, names.JSON_CONTENT.encode())]
    declared, raw = raw_tensors(inputs)
    return with_head(_request_head(declared), raw, named)


def take_tensors(head: Head, value: bytes, start: int) -> dict[str, Array]:
    """The tensors of a parsed head, raw ones from `value[start:]`.

    Raises:
        MalformedRequest: the bytes and the declarations do not fit.
    """
    if len(value) - start != head.raw_bytes:
        message = f"{len(value) - start} bytes follow the JSON, where its inputs' binary_data_size say {head.raw_bytes}"
        raise MalformedRequest(ReasonCode.BINARY_SIZE_MISMATCH, message)
    found = {}
    for part in head.parts:
        if part.size is None:
            found[part.name] = tensors.from_json(part.data, part.datatype, part.shape, part.place)
        else:
            found[part.name] = tensors.from_raw(
                value, start=start, size=part.size, datatype=part.datatype, shape=part.shape, name=part.place
            )
            start += part.size
    return found


def parse_parts(entries: object, what: str, *, max_parts: int, may_be_empty: bool = False) -> tuple[Part, ...]:
    """The tensors that a body's `inputs` or `outputs` declares.

    Raises:
        MalformedRequest: one of the declarations is not one, or two have one name.
    """
    if not isinstance(entries, list) or not (entries or may_be_empty):
        message = (
            f"{what} is {str(entries)[:40]!r}: must be a list of tensors, each with name, shape, datatype and data"
        )
        raise MalformedRequest(ReasonCode.MISSING_INPUTS, message)
    if len(entries) > max_parts:
        message = f"{what} has {len(entries)} tensors, more than max_inputs={max_parts}"
        raise MalformedRequest(ReasonCode.TOO_MANY_INPUTS, message)
    parts: dict[str, Part] = {}
    for index, entry in enumerate(entries):
        part = _part(entry, f"{what}[{index}]", may_be_empty=may_be_empty)
        if part.name in parts:
            raise MalformedRequest(ReasonCode.DUPLICATE_INPUT, f"{what} names {part.name!r} twice")
        parts[part.name] = part
    return tuple(parts.values())


def check_id(value: object) -> str | None:
    """A body's `id`, if it has one that can be carried in a header.

    Raises:
        MalformedRequest: `bad-id`.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= names.LONGEST_ID and _is_text(value):
        return value
    message = f"id {str(value)[:40]!a}: must be text of at most {names.LONGEST_ID} characters, or be left out"
    raise MalformedRequest(ReasonCode.BAD_ID, message)


def json_tensors(arrays: Tensors) -> list[dict[str, Any]]:
    """Declarations of tensors with their data."""
    found = []
    for name, array in arrays.items():
        datatype, data = tensors.to_json(array, name)
        found.append({"name": name, "shape": list(array.shape), "datatype": datatype, "data": data})
    return found


Declared = tuple[tuple[str, tuple[int, ...], str, int], ...]


def raw_tensors(arrays: Tensors) -> tuple[Declared, list[bytes | Array]]:
    """Declarations of tensors (name, shape, datatype, bytes), hashable, and their raw forms."""
    declared, raw = [], []
    for name, array in arrays.items():
        datatype, form = tensors.to_raw(array, name)
        declared.append((name, array.shape, datatype, len(form) if isinstance(form, bytes) else form.nbytes))
        raw.append(form)
    return tuple(declared), raw


def declarations(declared: Declared) -> list[dict[str, Any]]:
    """The JSON of tensors whose data follows it."""
    return [
        {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
        for name, shape, datatype, size in declared
    ]


def with_head(
    head: bytes, raw: list[bytes | Array], named: list[tuple[str, bytes]]
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A binary value, and its headers after those given."""
    kind = (names.CONTENT_TYPE, _BINARY_CONTENT)
    value = b"".join((head, *raw))  # type: ignore[arg-type] # arrays are buffers, but NumPy's stubs do not say so
    return value, [*named, kind, (names.HEADER_LENGTH, b"%d" % len(head))]


def dumps(body: object) -> bytes:
    """Compact JSON of text, whole numbers, finite floats, lists, tuples and objects. Text is written as UTF-8."""
    try:
        return orjson.dumps(body)
    except TypeError:
        # Text with half of a surrogate pair in it, which only an escape can carry.
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


@functools.lru_cache(maxsize=HEADS_REMEMBERED)
def _request_head(declared: Declared) -> bytes:
    return dumps({"inputs": declarations(declared)})


def comes_again(head: bytes) -> bool:
    """Whether the head of a binary record is worth remembering: one with an id would push out those that come again."""
    return len(head) <= LONGEST_REMEMBERED_HEAD and b'"id"' not in head


def header_start(value: bytes, headers: Headers | None) -> tuple[int, Encoding]:
    """How many bytes of a value are JSON, and by which encoding.

    Raises:
        MalformedRequest: `unsupported-content-type`, `bad-content-length`.
    """
    encoding = _encoding(headers)
    return (len(value) if encoding is Encoding.JSON else _head_length(value, headers)), encoding


def _encoding(headers: Headers | None) -> Encoding:
    value = names.header(headers, names.CONTENT_TYPE)
    if not value:
        return Encoding.JSON
    if value == _BINARY_CONTENT:
        return Encoding.BINARY
    media = value.decode("latin-1").partition(";")[0].strip().lower()
    if media not in (names.JSON_CONTENT, names.BINARY_CONTENT):
        message = f"content-type {media[:80]!r}: must be {names.JSON_CONTENT} or {names.BINARY_CONTENT}"
        raise MalformedRequest(ReasonCode.UNSUPPORTED_CONTENT_TYPE, message)
    return Encoding(media)


def _head_length(value: bytes, headers: Headers | None) -> int:
    given = names.header(headers, names.HEADER_LENGTH)
    if not given:
        message = f"{names.BINARY_CONTENT} needs the header {names.HEADER_LENGTH}: the number of JSON bytes"
        raise MalformedRequest(ReasonCode.BAD_CONTENT_LENGTH, message)
    length = names.header_length(given)
    if not 0 < length <= len(value):
        message = f"{names.HEADER_LENGTH}={length}: must be from 1 to the value's {len(value)} bytes"
        raise MalformedRequest(ReasonCode.BAD_CONTENT_LENGTH, message)
    return length


def _parse(text: bytes, max_depth: int, max_inputs: int) -> Head:
    body = strict_json.loads(text, max_depth=max_depth)
    if not isinstance(body, dict):
        message = f"the body is a JSON {type(body).__name__}: must be an object with inputs"
        raise MalformedRequest(ReasonCode.NOT_AN_OBJECT, message)
    request_id = check_id(body.get("id"))
    try:
        parts = parse_parts(body.get("inputs"), "inputs", max_parts=max_inputs)
        rows = _common_rows(parts)
    except MalformedRequest as error:
        raise MalformedRequest(error.code, error.message, request_id=request_id) from None
    return Head(request_id, parts, rows, sum(part.size or 0 for part in parts))


def _common_rows(parts: tuple[Part, ...]) -> int:
    rows = {part.shape[0] for part in parts}
    if len(rows) > 1:
        listed = ", ".join(f"{part.name!r} {part.shape[0]}" for part in parts)
        message = f"the inputs differ in rows (their first dimension): {listed[:200]}"
        raise MalformedRequest(ReasonCode.ROWS_DIFFER, message)
    return rows.pop()


_remembered = functools.lru_cache(maxsize=HEADS_REMEMBERED)(_parse)


def _part(entry: object, place: str, *, may_be_empty: bool) -> Part:
    if not isinstance(entry, dict):
        message = f"{place} is {str(entry)[:40]!r}: must be an object with name, shape, datatype and data"
        raise MalformedRequest(ReasonCode.MISSING_INPUTS, message)
    name = entry.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= names.LONGEST_ID or not _is_text(name):
        message = f"{place}.name is {str(name)[:40]!a}: must be text of 1 to {names.LONGEST_ID} characters"
        raise MalformedRequest(ReasonCode.BAD_INPUT_NAME, message)
    shape = tensors.check_shape(entry.get("shape"), place, may_be_empty=may_be_empty)
    datatype = tensors.check_datatype(entry.get("datatype"), place)
    parameters = entry.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        if "data" not in entry:
            raise MalformedRequest(ReasonCode.BAD_DATA, f"{place} has no data, nor parameters.binary_data_size")
        return Part(name, f"{place} {name[:80]!a}", datatype, shape, None, entry["data"])
    if type(size) is not int or size < 0:
        message = f"{place}.parameters.binary_data_size is {str(size)[:40]!a}: must be a number of bytes"
        raise MalformedRequest(ReasonCode.BINARY_SIZE_MISMATCH, message)
    if "data" in entry:
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{place} has both data and parameters.binary_data_size; give one")
    wanted = tensors.raw_size(datatype, shape)
    if wanted is not None and wanted != size:
        message = f"{place} has binary_data_size={size}, where its shape and datatype take {wanted} bytes"
        raise MalformedRequest(ReasonCode.SHAPE_DATA_MISMATCH, message)
    return Part(name, f"{place} {name[:80]!a}", datatype, shape, size)


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON's escapes can spell half of a surrogate pair, which cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
