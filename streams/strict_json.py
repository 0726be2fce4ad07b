"""JSON as RFC 8259 has it, and no deeper than told: what Python's parser lets pass, strangers' records may not use.

Python also takes `NaN` and `Infinity`, the last of two equal keys, other encodings than UTF-8, and nesting until its
stack is full. Each of these is refused here with its own code.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, NoReturn

from streams.errors import MalformedRequest, ReasonCode

#: A string in JSON, closed or running to the end of the text. It always matches from a quote on, so the scan is linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = b"[]{}"
_OTHERS = bytes(code for code in range(256) if code not in _BRACKETS)
_STEP = [{ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}.get(code, 0) for code in range(256)]


def loads(value: bytes, *, max_depth: int) -> Any:
    """The value that a JSON text stands for.

    Args:
        value: the text in UTF-8.
        max_depth: most arrays and objects within one another; checked before anything is built.

    Raises:
        MalformedRequest: `invalid-utf8`, `json-too-deep`, `duplicate-key` or `invalid-json`.
    """
    if depth(value, enough=max_depth) > max_depth:
        raise MalformedRequest(
            ReasonCode.JSON_TOO_DEEP, f"the JSON nests deeper than {max_depth} levels; flatten the data"
        )
    try:
        return json.loads(value.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        message = f"byte {error.start} of the JSON is not UTF-8 ({error.reason}); write it as UTF-8"
        raise MalformedRequest(ReasonCode.INVALID_UTF8, message) from None
    except RecursionError:
        message = "the JSON nests deeper than the interpreter can follow; flatten the data"
        raise MalformedRequest(ReasonCode.JSON_TOO_DEEP, message) from None
    except ValueError as error:
        # Also a whole number of thousands of digits, which Python refuses to read because that takes quadratic time.
        raise MalformedRequest(ReasonCode.INVALID_JSON, f"not JSON: {error}") from None


def depth(value: bytes, *, enough: int) -> int:
    """How deep brackets nest outside of strings, or an upper bound where that is at most `enough` already.

    Takes time in proportion to the text, and none to speak of for flat data, whatever its length.
    """
    opened = value.count(b"[") + value.count(b"{")
    if opened <= enough:
        return opened
    brackets = _STRING.sub(b"", value).translate(None, _OTHERS)
    return max(itertools.accumulate(_STEP[code] for code in brackets), default=0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        message = f"the key {twice[:80]!r} is given twice in one object; which of the two counts would be a guess"
        raise MalformedRequest(ReasonCode.DUPLICATE_KEY, message)
    return found


def _constant(name: str) -> NoReturn:
    message = f"{name} is not JSON; send numbers that are not finite in the binary encoding"
    raise MalformedRequest(ReasonCode.INVALID_JSON, message)
