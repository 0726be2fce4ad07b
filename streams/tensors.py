"""Tensors on the wire: the datatypes of the Open Inference Protocol (V2), as raw bytes and as JSON.

Raw is little-endian, row-major and without padding. `BYTES` elements are preceded by their length in 4 bytes
(unsigned, little-endian). Sources: Open Inference Protocol, "Tensor Data Types"; its binary tensor data extension.

What a stranger declares is checked against the bytes at hand before anything of that size is made.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streams.errors import MalformedRequest, ReasonCode, UnencodableTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

#: Fixed-width datatypes by their V2 names.
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
#: Strings and other bytes of any length; an array of `bytes` objects here.
BYTES: Final = "BYTES"
#: Most dimensions of a tensor; models have 5 at the most, NumPy 32.
MAX_RANK: Final = 16
#: Largest dimension, so that products stay small numbers: no record holds more.
MAX_DIMENSION: Final = 2**31 - 1
#: Most elements of a tensor, those that a 0 among the dimensions hides included: NumPy counts in 64 bits.
MAX_ELEMENTS: Final = 2**40

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_INTEGERS: frozenset[type] = frozenset({int})
#: The types that JSON's values may have, by NumPy's kind; whole numbers are fine as floats, since people type them.
_FROM_JSON: dict[str, frozenset[type]] = {"b": frozenset({bool}), "f": frozenset({int, float})}
_LENGTH = struct.Struct("<I")
#: NumPy's kinds of strings, and of objects, which may hold bytes or text.
_STRING_KINDS = "SUOT"


def datatype_of(array: Array, name: str = "tensor") -> str:
    """The V2 datatype of an array, whatever its byte order.

    Raises:
        UnencodableTensor: V2 has none for it, e.g. complex numbers.
    """
    found = _NAMES.get(array.dtype) or _NAMES.get(array.dtype.newbyteorder("<"))
    if found is None and array.dtype.kind in _STRING_KINDS:
        return BYTES
    if found is None:
        msg = (
            f"{name} has dtype {array.dtype}, which has no V2 datatype; cast it to one of {', '.join(DTYPES)} or BYTES"
        )
        raise UnencodableTensor(msg)
    return found


def to_raw(array: Array, name: str = "tensor") -> tuple[str, bytes | Array]:
    """An array's datatype and its raw form, a bytes-like object; numbers that are so already are not copied.

    Raises:
        UnencodableTensor: V2 has no datatype for it, or an element is neither bytes nor text.
    """
    datatype = datatype_of(array, name)
    if datatype == BYTES:
        parts = []
        for element in _byte_strings(array, name):
            parts += [_LENGTH.pack(len(element)), element]
        return datatype, b"".join(parts)
    return datatype, np.ascontiguousarray(array, DTYPES[datatype])


def to_json(array: Array, name: str = "tensor") -> tuple[str, list[Any]]:
    """An array's datatype and its elements in row-major order, as JSON has them; numbers come back exactly.

    Raises:
        UnencodableTensor: it holds what JSON cannot say: numbers that are not finite, bytes that are not UTF-8.
    """
    datatype = datatype_of(array, name)
    if datatype == BYTES:
        try:
            return datatype, [element.decode() for element in _byte_strings(array, name)]
        except UnicodeDecodeError as error:
            msg = f"{name} holds bytes that are not UTF-8, which JSON cannot carry; use the binary encoding"
            raise UnencodableTensor(msg) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = f"{name} holds numbers that are not finite, which JSON cannot carry; use the binary encoding"
        raise UnencodableTensor(msg)
    return datatype, array.ravel().tolist()


def check_shape(shape: object, name: str, *, may_be_empty: bool = False) -> tuple[int, ...]:
    """A declared shape, if it is one.

    Args:
        shape: what JSON gave.
        name: the tensor's, for the message.
        may_be_empty: whether scalars and dimensions of 0 are allowed, as in results.

    Raises:
        MalformedRequest: `bad-shape`.
    """
    least = 0 if may_be_empty else 1
    if not isinstance(shape, list) or not least <= len(shape) <= MAX_RANK:
        raise _bad_shape(name, shape, f"a list of {least} to {MAX_RANK} whole numbers")
    for size in shape:
        # Exactly int: true and 1.0 are numbers to Python, but nobody means a dimension by them.
        if type(size) is not int or not least <= size <= MAX_DIMENSION:
            raise _bad_shape(name, shape, f"whole numbers from {least} to {MAX_DIMENSION}")
    if math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
        raise _bad_shape(name, shape, f"of at most {MAX_ELEMENTS} elements")
    return tuple(shape)


def check_datatype(datatype: object, name: str) -> str:
    """A declared datatype, if it is one that we carry.

    Raises:
        MalformedRequest: `unknown-datatype`.
    """
    if isinstance(datatype, str) and (datatype in DTYPES or datatype == BYTES):
        return datatype
    message = f"{name} has datatype {str(datatype)[:40]!r}: must be one of {', '.join(DTYPES)} or BYTES"
    if datatype == "BF16":
        message += "; send BF16 as FP32, which holds all its values"
    raise MalformedRequest(ReasonCode.UNKNOWN_DATATYPE, message)


def from_raw(
    buffer: bytes, *, start: int, size: int, datatype: str, shape: tuple[int, ...], name: str = "tensor"
) -> Array:
    """The tensor in `size` bytes of `buffer` from `start`: a read-only view of numbers, a new array of strings.

    Args:
        buffer: holds at least `start + size` bytes.
        start: where the tensor begins.
        size: its bytes; for numbers exactly what `raw_size` says.
        datatype: as `check_datatype` gave it.
        shape: as `check_shape` gave it.
        name: the tensor's, for messages.

    Raises:
        MalformedRequest: `bad-data`, `shape-data-mismatch`.
    """
    if datatype == BYTES:
        return _strings_from_raw(buffer, start, size, shape, name)
    view: Array = np.ndarray(shape, DTYPES[datatype], buffer, start)
    # A boolean that is neither 0 nor 1 would behave differently in each library that reads it.
    if datatype == "BOOL" and view.size and view.view(np.uint8).max() > 1:
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{name} has a BOOL byte that is neither 0 nor 1")
    return view


def raw_size(datatype: str, shape: tuple[int, ...]) -> int | None:
    """Bytes that a tensor takes in raw form; `None` = depends on its elements (`BYTES`)."""
    return None if datatype == BYTES else math.prod(shape) * DTYPES[datatype].itemsize


def from_json(data: object, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """The tensor that JSON data stands for, nested as the shape or flat in row-major order.

    Raises:
        MalformedRequest: `bad-data`, `shape-data-mismatch`.
    """
    elements = _flat(data, shape, name)
    kinds = set(map(type, elements))
    if datatype == BYTES:
        return _strings_from_json(elements, kinds, shape, name)
    dtype = DTYPES[datatype]
    allowed = _FROM_JSON.get(dtype.kind, _INTEGERS)
    if not kinds <= allowed:
        found = ", ".join(sorted(kind.__name__ for kind in kinds - allowed))
        wanted = " or ".join(sorted(kind.__name__ for kind in allowed))
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{name} has {found} in its data: {datatype} takes {wanted}")
    if dtype.kind in "iu" and elements:
        limits = np.iinfo(dtype)
        if min(elements) < limits.min or max(elements) > limits.max:
            message = f"{name} has a number outside of {datatype}, which goes from {limits.min} to {limits.max}"
            raise MalformedRequest(ReasonCode.BAD_DATA, message)
    try:
        # What is too large for its datatype becomes infinite here, and is refused below.
        with np.errstate(over="ignore"):
            array = (
                np.array(elements, np.float64 if dtype.kind == "f" else dtype).astype(dtype, copy=False).reshape(shape)
            )
    except OverflowError:
        array = None
    if array is None or (dtype.kind == "f" and not np.isfinite(array).all()):
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{name} has a number too large for {datatype}") from None
    return array


def _flat(data: object, shape: tuple[int, ...], name: str) -> list[Any]:
    """The elements in row-major order, as many as the shape says."""
    if not isinstance(data, list):
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{name} has data {str(data)[:40]!r}: must be a list")
    level: list[Any] = data
    if data and isinstance(data[0], list) and shape:
        _same(len(level), shape[0], name, "data's length")
        for axis, size in enumerate(shape[1:], start=1):
            rows = level
            for row in rows:
                if not isinstance(row, list):
                    message = f"{name} has data that nests unevenly at dimension {axis}: {str(row)[:40]!r}"
                    raise MalformedRequest(ReasonCode.BAD_DATA, message)
                _same(len(row), size, name, f"a length at dimension {axis}")
            level = [element for row in rows for element in row]
        return level
    _same(len(level), math.prod(shape), name, "data's length")
    return level


def _same(found: int, wanted: int, name: str, what: str) -> None:
    if found != wanted:
        raise MalformedRequest(ReasonCode.SHAPE_DATA_MISMATCH, f"{name}: {what} is {found}, its shape says {wanted}")


def _bad_shape(name: str, shape: object, allowed: str) -> MalformedRequest:
    return MalformedRequest(ReasonCode.BAD_SHAPE, f"{name} has shape {str(shape)[:80]!a}: must be {allowed}")


def _byte_strings(array: Array, name: str) -> list[bytes]:
    elements = array.astype(object).ravel().tolist()
    try:
        return [element.encode() if isinstance(element, str) else _bytes(element) for element in elements]
    except (TypeError, UnicodeEncodeError) as error:
        msg = f"{name} holds an element that is neither bytes nor UTF-8 text ({error}); convert it first"
        raise UnencodableTensor(msg) from error


def _bytes(element: object) -> bytes:
    if not isinstance(element, bytes):
        msg = f"found {type(element).__name__}"
        raise TypeError(msg)
    return element


def _objects(elements: Sequence[bytes], shape: tuple[int, ...]) -> Array:
    # Filled rather than converted: NumPy would look into the elements for a shape of its own.
    array: Array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def _strings_from_json(elements: list[Any], kinds: set[type], shape: tuple[int, ...], name: str) -> Array:
    if not kinds <= {str}:
        raise MalformedRequest(ReasonCode.BAD_DATA, f"{name} has an element that is not a string: BYTES takes strings")
    try:
        return _objects([element.encode() for element in elements], shape)
    except UnicodeEncodeError:
        message = f"{name} has half of a surrogate pair in a string, which is no text"
        raise MalformedRequest(ReasonCode.BAD_DATA, message) from None


def _strings_from_raw(buffer: bytes, start: int, size: int, shape: tuple[int, ...], name: str) -> Array:
    count, end = math.prod(shape), start + size
    elements = []
    for _ in range(count):
        if start + _LENGTH.size > end:
            break
        (length,) = _LENGTH.unpack_from(buffer, start)
        start += _LENGTH.size
        if length > end - start:
            message = f"{name} has an element of {length} bytes where {end - start} are left"
            raise MalformedRequest(ReasonCode.BAD_DATA, message)
        elements.append(buffer[start : start + length])
        start += length
    if len(elements) != count or start != end:
        message = (
            f"{name} has {len(elements)} elements and {end - start} bytes left over; its shape says {count} elements"
        )
        raise MalformedRequest(ReasonCode.SHAPE_DATA_MISMATCH, message)
    return _objects(elements, shape)
