"""Strict JSON: what Python's parser would let pass is refused, in time proportional to the text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import strict_json
from streams.errors import MalformedRequest, ReasonCode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nesting(value: Any) -> int:
    """The depth of a parsed value, the slow and obvious way."""
    if isinstance(value, dict):
        return 1 + max(map(nesting, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(nesting, value), default=0)
    return 0


@given(values)
def test_what_is_json_is_read(value: Any) -> None:
    """Any JSON value comes back, with and without escapes for other scripts."""
    for ascii_only in (True, False):
        assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only).encode(), max_depth=32) == value


@given(values)
def test_depth_is_what_nests_outside_of_strings(value: Any) -> None:
    """Brackets in strings do not count; those outside do."""
    assert strict_json.depth(json.dumps(value).encode(), enough=-1) == nesting(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"\xff", ReasonCode.INVALID_UTF8),
        ('{"a": 1}'.encode("utf-16"), ReasonCode.INVALID_UTF8),
        (b"{", ReasonCode.INVALID_JSON),
        (b"{} {}", ReasonCode.INVALID_JSON),
        (b"{'a': 1}", ReasonCode.INVALID_JSON),
        (b"[1,]", ReasonCode.INVALID_JSON),
        (b"NaN", ReasonCode.INVALID_JSON),
        (b"[-Infinity]", ReasonCode.INVALID_JSON),
        (b"1" * 100_000, ReasonCode.INVALID_JSON),
        (b'{"a": 1, "b": 2, "a": 1}', ReasonCode.DUPLICATE_KEY),
        (b'[{"b": {"a": 1, "a": 2}}]', ReasonCode.DUPLICATE_KEY),
        (b"[" * 33, ReasonCode.JSON_TOO_DEEP),
        (b"[" * 1_000_000, ReasonCode.JSON_TOO_DEEP),
        (b'{"a":' * 100_000, ReasonCode.JSON_TOO_DEEP),
    ],
)
def test_what_is_not_is_refused_by_code(text: bytes, code: ReasonCode) -> None:
    """Each kind of refusal has its own code."""
    with pytest.raises(MalformedRequest) as refused:
        strict_json.loads(text, max_depth=32)
    assert refused.value.code is code


@pytest.mark.parametrize(
    "text",
    [
        b'"\\"' + b'\\"' * 500_000 + b"[" * 40,
        b'"' * 1_000_000 + b"[" * 40,
        b"\\" * 1_000_000 + b"[" * 40,
        b'["\\' * 300_000,
    ],
)
def test_no_text_takes_long_to_refuse(text: bytes) -> None:
    """A megabyte of quotes or backslashes, in whatever disorder, is refused within a second or two."""
    began = time.process_time()
    with pytest.raises(MalformedRequest):
        strict_json.loads(text, max_depth=32)
    assert time.process_time() - began < 2


def test_depth_has_an_exact_bound() -> None:
    """As deep as told is read, one deeper is not."""
    assert strict_json.loads(b"[" * 5 + b"]" * 5, max_depth=5) == [[[[[]]]]]
    with pytest.raises(MalformedRequest):
        strict_json.loads(b"[" * 6 + b"]" * 6, max_depth=5)
    wide = b"[" + b",".join([b"[1]"] * 100) + b"]"
    assert len(strict_json.loads(wide, max_depth=2)) == 100
