"""What a policy remembers as text and back, so that it outlives its process: frozen dataclasses, numbers and arrays.

Pure. The text is JSON and the arrays' bytes, compressed, in base64; nothing in it is code. Reading makes only frozen
dataclasses of the packages below, with exactly the fields that they have now; whatever else it finds, or a memory of
another version, is a `ValueError`, and the caller goes on without. Equal to what was written, array by array.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import importlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscaler.forecasting.rows import Rows

#: Where the classes of a policy's memory may come from.
_PACKAGES = ("autoscaler.model", "autoscaler.forecasting.", "autoscaler.planning.", "autoscaler.policies.")
_TYPES = {"f8": np.float64, "i8": np.int64, "b1": np.bool_}
#: Bytes that a memory may have, unpacked: a hundred times what one has.
_MOST_BYTES = 256 * 1024 * 1024
#: Bytes of the length in front of the JSON.
_HEAD = 8


def written(memory: Any) -> str:
    """A memory as text.

    Raises:
        ValueError: there is something in it that cannot be written; the message names its type.
    """
    arrays: list[bytes] = []
    tree = json.dumps(_plain(memory, arrays), separators=(",", ":")).encode()
    packed = zlib.compress(len(tree).to_bytes(_HEAD, "big") + tree + b"".join(arrays), 1)
    return base64.b64encode(packed).decode()


def read(text: str) -> Any:
    """The memory that `written` made text of.

    Raises:
        ValueError: it is none, or one of another version.
    """
    try:
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("it is cut, or larger than any memory")
        stop = _HEAD + int.from_bytes(whole[:_HEAD], "big")
        found = _Reader(whole[stop:]).value(json.loads(whole[_HEAD:stop]))
    except (binascii.Error, zlib.error, KeyError, TypeError, RecursionError, AttributeError, ImportError) as error:
        raise ValueError(f"no memory of a policy: {type(error).__name__}: {error}") from error
    return found


def _plain(value: Any, arrays: list[bytes]) -> Any:  # noqa: C901, PLR0911 - one line a kind of value
    """As JSON has it; arrays go to `arrays`, one after the other."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, enum.Enum):
        return {"e": _name(value), "v": value.value}
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"f": repr(float(value))}
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray):
        kind = value.dtype.str.lstrip("<|")
        if kind not in _TYPES:
            raise ValueError(f"an array of {value.dtype} cannot be remembered")
        arrays.append(np.ascontiguousarray(value).tobytes())
        return {"a": kind, "s": list(value.shape)}
    if isinstance(value, Rows):
        keep, total = value.keep, value.total
        return {"r": keep, "n": total, "v": _plain(value.array, arrays)}
    if isinstance(value, tuple):
        return {"t": [_plain(one, arrays) for one in value]}
    if isinstance(value, Mapping):
        return {"d": [[_plain(key, arrays), _plain(one, arrays)] for key, one in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
        return {"c": _name(value), "v": fields}
    raise ValueError(f"a {type(value).__name__} cannot be remembered")


def _name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


class _Reader:
    """Values in the order in which they were written, since the arrays lie so."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def value(self, node: Any) -> Any:  # noqa: PLR0911 - one line a kind of value
        """One value."""
        if not isinstance(node, dict):
            return node
        if "a" in node:
            return self._array(_TYPES[node["a"]], [int(size) for size in node["s"]])
        if "t" in node:
            return tuple(self.value(one) for one in node["t"])
        if "d" in node:
            return {self.value(key): self.value(one) for key, one in node["d"]}
        if "f" in node:
            return float(node["f"])
        if "r" in node:
            return Rows.of(int(node["r"]), self.value(node["v"]), int(node["n"]))
        if "e" in node:
            return _class(node["e"], enum.Enum)(node["v"])
        kind = _class(node["c"])
        if not dataclasses.is_dataclass(kind) or {field.name for field in dataclasses.fields(kind)} != set(node["v"]):
            raise ValueError(f"{node['c']} has other fields now: another version wrote it")
        return kind(**{name: self.value(one) for name, one in node["v"].items()})

    def _array(self, kind: type[Any], shape: list[int]) -> Any:
        size = math.prod(shape) * np.dtype(kind).itemsize
        if min(shape, default=0) < 0 or self._at + size > len(self._data):
            raise ValueError("an array is cut")
        found = np.frombuffer(self._data, kind, math.prod(shape), self._at).reshape(shape).copy()
        self._at += size
        return found


def _class(name: str, base: type[Any] = object) -> type[Any]:
    module, _, path = name.partition(":")
    if not module.startswith(_PACKAGES) or not path.isidentifier():
        raise ValueError(f"{name[:80]!r} is no part of a memory")
    kind = getattr(importlib.import_module(module), path)
    if not isinstance(kind, type) or not issubclass(kind, base):
        raise ValueError(f"{name[:80]!r} is no part of a memory")  # noqa: TRY004 - the text is wrong, not a type
    return kind
