"""Settings written as TOML: the standard library only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def dumps(tree: Mapping[str, object]) -> str:
    """A nested mapping as TOML text: strings, numbers, booleans, sequences and mappings.

    Raises:
        TypeError: another type, which TOML has no form for.
    """
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in tree.items())


def _value(value: object) -> str:
    # Inline forms only: no order of tables to think of.
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    msg = f"{type(value).__name__} has no form in TOML"
    raise TypeError(msg)


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, except that TOML wants DEL escaped and knows no surrogate pairs.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
