"""The quick way to read JSON requests takes only what the careful way takes, and reads the same numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import quick_json, records, request_codec
from streams.errors import MalformedRequest
from streams.records import Encoding, InferRequest, Limits

LIMITS = Limits(max_record_bytes=4096, max_rows=8, max_json_depth=8, max_inputs=3)


def carefully(value: bytes, limits: Limits = LIMITS) -> InferRequest | None:
    """What the careful way makes of a value; `None` = it refuses."""
    try:
        return request_codec._carefully(value, len(value), Encoding.JSON, limits)
    except MalformedRequest:
        return None


def agree(value: bytes, limits: Limits = LIMITS) -> bool:
    """Check that what is read quickly is read carefully too, to the bit; whether it was read quickly."""
    quick = quick_json.read(value, limits)
    if quick is None:
        return False
    wanted = carefully(value, limits)
    assert wanted is not None, "the careful way refuses it"
    assert (quick.id, quick.rows, quick.encoding) == (wanted.id, wanted.rows, wanted.encoding)
    assert list(quick.inputs) == list(wanted.inputs)
    for name, array in wanted.inputs.items():
        found = quick.inputs[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        if array.dtype == object:
            assert found.tolist() == array.tolist()
        else:
            assert found.tobytes() == array.tobytes(), "not the same bits"
    return True


def body(**tensor: Any) -> bytes:
    """A request of one input with two numbers, changed as told."""
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]} | tensor
    return json.dumps({"inputs": [entry]}).encode()


@pytest.mark.parametrize(
    "value",
    [
        body(),
        body(shape=[2, 3, 1], data=[[[1], [2], [3]], [[4], [5], [6]]]),
        body(datatype="INT64", data=[-(2**63), 2**63 - 1]),
        body(datatype="UINT64", data=[2**64 - 1, 0]),
        body(datatype="FP16", data=[65504, 6e-8]),
        body(datatype="FP32", data=[2**64, -(2**70)]),
        body(datatype="FP32", data=[7.038531e-26, 16777217]),
        body(datatype="BOOL", data=[True, False]),
        body(datatype="BYTES", data=["ü", "true"]),
        body(parameters={"content_type": "np"}),
        json.dumps({"id": "order:17/a", "inputs": json.loads(body())["inputs"], "parameters": {"a:b": 1}}).encode(),
        json.dumps({"inputs": json.loads(body())["inputs"], "id": "größe"}, ensure_ascii=False, indent=1).encode(),
    ],
)
def test_what_people_send_is_read_quickly(value: bytes) -> None:
    """Without this, the rest of the file would compare nothing."""
    assert agree(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"inputs": [], ' + body()[1:],
        body().replace(b'"name": "x"', b'"name": "y", "name": "x"'),
        body().replace(b'"name": "x"', b'"n\\u0061me": "x", "name": "x"'),
        b'{"id": "\\u003a", "id": "\\u003a", ' + body()[1:],
        body(parameters={"a": 1}).replace(b'{"a": 1}', b'{"a": 1, "a": 1}'),
        body(data=[1, True]),
        body(datatype="INT32", data=[1, False]),
        body(data=["1", "2"]),
        body(data=["12"]),
        body(shape=[2, 1], data=["12", "34"]),
        body(shape=[2, 2], data=[[1, 2], {"1": 1, "2": 2}]),
        body(data=[1, None]),
        body(data=[1, 1e39]),
        body(datatype="FP16", data=[1, 65520]),
        body(datatype="INT64", data=[1, 2**63]),
        body(datatype="INT8", data=[1, 2.0]),
        body(datatype="BYTES", shape=[2, 1], data=[["a"], "b"]),
        body(shape=[True, 2]),
        body(shape=[1.0, 2]),
        body(shape=[1] * 6, data=[[[[[[1]]]]]]),
        body(shape=[9], data=[0] * 9),
        body(extra=[[[[[[[1]]]]]]]),
        body(data=None),
        json.dumps(json.loads(body()) | {"id": "n" * 513}).encode(),
        b"\xef\xbb\xbf" + body(),
        body()[:-1],
        body() + b"}",
        b"[" * 5000,
    ],
)
def test_what_is_refused_is_left_to_the_careful_way(value: bytes) -> None:
    """Keys given twice, booleans and texts among numbers, what is out of range, too deep or too large, and no JSON."""
    assert carefully(value) is None
    assert quick_json.read(value, LIMITS) is None


NUMBERS = (
    st.integers(-300, 300)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0.0, -0.0, 1e39, 65519.99, 65520.0, 3.4028235677973366e38, 2**63, 2**64 - 1, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
)
ODD = (
    st.none() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(["true", ":", "1"])
)
DATATYPES = st.sampled_from([*quick_json._CODES, "BOOL", "BYTES", "BF16"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """JSON that is, or nearly is, a request: nested or flat data, an odd element, a wrong length, more fields."""
    entries = []
    for index in range(draw(st.integers(1, 2))):
        shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        datatype = draw(DATATYPES)
        count = int(np.prod(shape)) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
        kinds = {"BOOL": st.booleans(), "BYTES": st.text(max_size=3)}.get(datatype, draw(
            st.sampled_from([NUMBERS, st.integers(0, 100), st.integers(-100, 100), NUMBERS | ODD])
        ))  # fmt: skip
        data: Any = draw(st.lists(kinds, min_size=count, max_size=count))
        if draw(st.booleans()) and count == np.prod(shape):
            for size in reversed(shape[1:]):
                data = [data[at : at + size] for at in range(0, len(data), size)]
        entry = {"name": draw(st.sampled_from(["x", f"x{index}"])), "shape": shape, "datatype": datatype, "data": data}
        entry |= draw(st.dictionaries(st.sampled_from(["parameters", "more", "a:b"]), ODD | st.just({"k": "v:"})))
        entries.append(entry)
    top = {"inputs": entries} | draw(st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), ODD))
    return json.dumps(top, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))).encode()


@settings(max_examples=300, deadline=None)
@given(requests())
def test_both_ways_agree_on_requests(value: bytes) -> None:
    """Accepted quickly means accepted carefully, with the same bits."""
    agree(value)


@settings(max_examples=300, deadline=None)
@given(requests(), st.data())
def test_both_ways_agree_on_damaged_requests(value: bytes, data: st.DataObject) -> None:
    """The same with a piece cut out and another put in, mostly one that JSON has a rule for."""
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 6)))
    pieces = [b'"', b"[", b"{", b"}", b":", b",", b"-", b"e9", b"\\ud800", b"\\u003a", b"null", b"true", b"0", b"NaN",
              b'"id":"a",', b'"name":"x",', b"1" * 30, b"\xff", b".5", b" "]  # fmt: skip
    put = data.draw(st.sampled_from(pieces) | st.binary(max_size=4))
    agree(value[:start] + put + value[end:])


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=6), DATATYPES)
def test_numbers_are_taken_where_the_datatype_takes_them(data: list[Any], datatype: str) -> None:
    """Each number alone, in each datatype: both ways take it with the same bits or neither does.

    In doubt are only whole numbers beyond 64 bits in tensors of whole numbers, which nobody takes, and what overflows.
    """
    value = body(shape=[len(data)], data=data, datatype=datatype)
    if not agree(value):
        assert carefully(value) is None or any(isinstance(n, int) and abs(n) > 10**300 for n in data)


def test_a_declaration_that_was_read_before_is_not_taken_for_its_like() -> None:
    """True is 1 and 1.0 is 1 to Python's dictionaries, which remember shapes."""
    assert agree(body(shape=[1, 2]))
    for shape in ([True, 2], [1.0, 2], [1, 2.0]):
        assert quick_json.read(body(shape=shape), LIMITS) is None


def test_results_of_a_batch_are_those_of_each_request() -> None:
    """To the byte, for every type of number, one and several rows, and several outputs."""
    rng = np.random.default_rng(3)
    outputs = {
        "p": rng.random((6, 2, 3)).astype(np.float32),
        'größe"': rng.random(6) * 1e20,
        "h": np.linspace(-1, 1, 12, dtype=np.float16).reshape(6, 2),
        "b": rng.random((6, 2)) > 0.5,
        "i": rng.integers(-(2**62), 2**62, (6, 1)),
        "u": rng.integers(0, 255, (6, 4), dtype=np.uint8),
        "big": rng.random((6, 2)).astype(">f4"),
    }
    whole = records.JsonResults.of(outputs, model_name="m:1", model_version="7")
    assert whole is not None
    for start, rows in ((0, 1), (2, 3), (5, 1), (0, 6)):
        part = {name: array[start : start + rows] for name, array in outputs.items()}
        for request_id in ("r:1", 'ü"\\'):
            value, _ = records.encode_result(
                part, request_id=request_id, model_name="m:1", model_version="7", encoding=Encoding.JSON
            )
            assert whole.value(request_id, start, rows) == value


@pytest.mark.parametrize(
    "array", [np.array([[1.0], [np.nan]]), np.array([np.inf, 1]), np.array([b"a"], object), np.zeros((2, 0))]
)
def test_what_must_be_seen_request_by_request_is_left(array: Any) -> None:
    """A number that JSON cannot carry fails its own request only; text is looked at one by one."""
    assert records.JsonResults.of({"y": array}, model_name="m", model_version="1") is None
