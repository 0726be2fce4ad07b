"""Requests in JSON as most are written, read with a compiled parser; whatever else comes is left to the careful way.

The careful way (`streams.strict_json` and `streams.request_codec`) says what a request must be. This one takes only
what that one would take, with the same values, and says nothing about the rest: `None` is "in doubt", never "wrong". A
property test compares the two on every kind of text.

orjson takes less than RFC 8259 allows (no infinite numbers, no halves of surrogate pairs) and in two places more than
we do. Of equal keys it keeps the last, so keys are counted: each has a colon after it in the text. And whole numbers
beyond 64 bits become floats, which is what they become in a tensor of floats anyway; other tensors do not take them.
"""

from __future__ import annotations

import functools
import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from streams import headers as names
from streams import tensors
from streams.errors import MalformedRequest
from streams.record_types import Encoding, InferRequest

if TYPE_CHECKING:
    from streams.record_types import Array, Limits

#: Codes of `struct` that take an element of JSON exactly where its datatype does, but for booleans, and round alike.
_CODES: Final = {
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
#: Levels of a request around its data: body, list of inputs, input.
_AROUND: Final = 3
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


def read(value: bytes, limits: Limits) -> InferRequest | None:
    """The request in a JSON value; `None` = in doubt, ask the careful way.

    Args:
        value: of at most `limits.max_record_bytes`.
        limits: what one request may ask for.
    """
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    entries = body.get("inputs") if type(body) is dict else None
    if type(entries) is not list or not 0 < len(entries) <= limits.max_inputs:
        return None
    keys, colons = _plain(body, "inputs")
    booleans = b"true" in value or b"false" in value
    inputs: dict[str, Array] = {}
    for entry in entries:
        if type(entry) is not dict:
            return None
        array = _tensor(entry, limits.max_json_depth - _AROUND, booleans=booleans)
        if array is None:
            return None
        more, within = _plain(entry, "shape", "data")
        keys, colons = keys + more, colons + within
        inputs[entry["name"]] = array
    rows = {len(array) for array in inputs.values()}
    request_id = body.get("id")
    known = (
        len(inputs) == len(entries)
        and len(rows) == 1
        and max(rows) <= limits.max_rows
        and (request_id is None or (type(request_id) is str and len(request_id) <= names.LONGEST_ID))
        and _each_key_once(value, keys, colons)
    )
    return InferRequest(request_id or None, inputs, rows.pop(), Encoding.JSON) if known else None


def _plain(found: dict[str, Any], *known: str) -> tuple[float, int]:
    """How many keys an object has, and colons in its keys and texts; infinitely many keys if anything nests in it.

    Args:
        found: the object.
        known: fields that are looked at elsewhere.
    """
    keys, colons = len(found), 0
    for name, field in found.items():
        if name in known:
            continue
        if type(field) is dict and _SCALARS.issuperset(map(type, field.values())):
            more, within = _plain(field)
            keys, colons = keys + int(more), colons + within
        elif type(field) not in _SCALARS:
            return math.inf, 0
        colons += name.count(":") + (field.count(":") if type(field) is str else 0)
    return keys, colons


def _each_key_once(value: bytes, keys: float, colons: int) -> bool:
    """Whether a text has as many keys as were found in it: one that is given twice is found once, and written twice."""
    # An escape could spell a colon of a text that is found and not written, which would make up for a key.
    return value.count(b":") == keys + colons and (not colons or b"\\" not in value)


def _tensor(entry: dict[str, Any], deepest: int, *, booleans: bool) -> Array | None:
    """The tensor that an entry of `inputs` holds; `None` = in doubt."""
    name, datatype, data = entry.get("name"), entry.get("datatype"), entry.get("data")
    sizes, parameters = entry.get("shape"), entry.get("parameters")
    if type(name) is not str or not 0 < len(name) <= names.LONGEST_ID or type(datatype) is not str:
        return None
    if parameters is not None and (type(parameters) is not dict or "binary_data_size" in parameters):
        return None
    try:
        # Unpacked, since what comes in pieces can be remembered.
        shape = _shape(*sizes) if type(sizes) is list else ()
        if not 0 < len(shape) <= deepest:
            return None
        if booleans or datatype not in _CODES:
            return tensors.from_json(data, tensors.check_datatype(datatype, name), shape, name)
    except (MalformedRequest, TypeError):
        return None
    return numbers(data, datatype, shape)


@functools.lru_cache(maxsize=256, typed=True)
def _shape(*sizes: object) -> tuple[int, ...]:
    return tensors.check_shape(list(sizes), "input")


def numbers(data: object, datatype: str, shape: tuple[int, ...]) -> Array | None:
    """The tensor that JSON data stands for, read-only; `None` = in doubt.

    Args:
        data: as JSON gave it, without any boolean.
        datatype: a datatype of numbers.
        shape: without any 0.
    """
    if type(data) is not list or not data:
        return None
    level: list[Any] = data
    try:
        if type(data[0]) is list:
            if len(level) != shape[0]:
                return None
            for size in shape[1:]:
                # What is no list here ends as what is no number: the keys of an object, the letters of a text.
                if set(map(len, level)) != {size}:
                    return None
                level = list(chain.from_iterable(level))
        if len(level) != math.prod(shape):
            return None
        # It takes no text, list or null, no number that is out of range, and no fraction as a whole number.
        packed = struct.pack(f"<{len(level)}{_CODES[datatype]}", *level)
    except (TypeError, struct.error, OverflowError):
        return None
    return np.ndarray(shape, tensors.DTYPES[datatype], packed)
