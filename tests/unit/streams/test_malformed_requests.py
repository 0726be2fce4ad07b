"""Requests of strangers: what people type is read, what is malformed is refused by code and by nothing else."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import records
from streams.errors import MalformedRequest, MalformedResult, ReasonCode
from streams.records import Limits

LIMITS = Limits()
BINARY = [("content-type", b"application/octet-stream")]


def body(**tensor: Any) -> bytes:
    """A JSON request of one valid input, changed as told; `None` leaves a field out."""
    fields = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} | tensor
    return json.dumps({"inputs": [{name: value for name, value in fields.items() if value is not None}]}).encode()


def binary(head: Any, tail: bytes = b"", length: int | None = None) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """A binary request of a head and what follows it."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    told = len(text) if length is None else length
    return text + tail, [*BINARY, ("inference-header-content-length", str(told).encode())]


def raw_input(size: Any, **tensor: Any) -> dict[str, Any]:
    """A head of one input whose bytes follow."""
    fields = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}} | tensor
    return {"inputs": [fields]}


def refused(value: bytes | None, headers: Any = None, limits: Limits = LIMITS) -> MalformedRequest:
    """How a request is refused."""
    with pytest.raises(MalformedRequest) as caught:
        records.decode_request(value, headers, limits=limits)
    return caught.value


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[1.0, 2], [3, 4e0]]])
def test_data_may_be_flat_or_nested_and_whole(data: Any) -> None:
    """The same four numbers, however a person writes them, without id, headers or parameters."""
    decoded = records.decode_request(body(shape=[2, 2], data=data), limits=LIMITS)
    assert decoded.inputs["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert decoded.inputs["x"].dtype == np.float32
    assert (decoded.id, decoded.rows) == (None, 2)


def test_what_is_not_ours_is_passed_over() -> None:
    """Parameters, requested outputs, unknown fields and headers of others change nothing."""
    request = json.loads(body(parameters={"binary_data_size": None, "x": [1]}))
    request |= {"parameters": {"priority": 1}, "outputs": [{"name": "y"}], "extra": None, "id": "r1"}
    value = b" \n" + json.dumps(request, indent=2).encode()
    headers = [("content-type", b"Application/JSON; charset=utf-8"), ("other", b"\xff"), ("null", None)]
    decoded = records.decode_request(value, headers, limits=LIMITS)
    assert decoded.id == "r1"
    assert decoded.inputs["x"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("datatype", "data", "wanted"),
    [
        ("BOOL", [True, False], [True, False]),
        ("UINT64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("FP64", [0.1, -1e300], [0.1, -1e300]),
        ("FP16", [65504, -0.5], [65504.0, -0.5]),
        ("BYTES", ["a", "ü"], [b"a", "ü".encode()]),
    ],
)
def test_each_datatype_takes_its_whole_range(datatype: str, data: list[Any], wanted: list[Any]) -> None:
    """The ends of each range are inside of it."""
    decoded = records.decode_request(body(datatype=datatype, data=data), limits=LIMITS)
    assert decoded.inputs["x"].tolist() == [wanted]


def test_json_and_binary_inputs_may_be_mixed() -> None:
    """The V2 extension lets one input stand in the head and another follow it."""
    head = raw_input(8)
    head["inputs"].append({"name": "y", "shape": [1], "datatype": "BYTES", "data": ["tag"]})
    value, headers = binary(head, np.array([1, 2], "<f4").tobytes())
    decoded = records.decode_request(value, headers, limits=LIMITS)
    assert decoded.inputs["x"].tolist() == [[1.0, 2.0]]
    assert decoded.inputs["y"].tolist() == [b"tag"]


HUGE = 2**31 - 1
ONE = True
NO_DATATYPES: list[Any] = ["BF16", "float", "fp32", 7, [], {}]
CASES: list[tuple[Any, ReasonCode]] = [
    ((None, None), ReasonCode.EMPTY_VALUE),
    ((b"", None), ReasonCode.EMPTY_VALUE),
    ((b"x" * (LIMITS.max_record_bytes + 1), None), ReasonCode.RECORD_TOO_LARGE),
    ((body(), [("content-type", b"text/csv")]), ReasonCode.UNSUPPORTED_CONTENT_TYPE),
    ((body(), [("content-type", b"\xff\xfe")]), ReasonCode.UNSUPPORTED_CONTENT_TYPE),
    ((body(), BINARY), ReasonCode.BAD_CONTENT_LENGTH),
    (binary(b"{}", length=-1), ReasonCode.BAD_CONTENT_LENGTH),
    (binary(b"{}", length=0), ReasonCode.BAD_CONTENT_LENGTH),
    (binary(b"{}", length=3), ReasonCode.BAD_CONTENT_LENGTH),
    (binary(b"{}", length=10**30), ReasonCode.BAD_CONTENT_LENGTH),
    ((body(), [*BINARY, ("inference-header-content-length", "٣".encode())]), ReasonCode.BAD_CONTENT_LENGTH),
    ((b"\xff\xfe{}", None), ReasonCode.INVALID_UTF8),
    ((b"hello", None), ReasonCode.INVALID_JSON),
    ((b'{"inputs": [NaN]}', None), ReasonCode.INVALID_JSON),
    ((b"[" * 10_000, None), ReasonCode.JSON_TOO_DEEP),
    ((b'{"inputs": [], "inputs": []}', None), ReasonCode.DUPLICATE_KEY),
    ((b"[]", None), ReasonCode.NOT_AN_OBJECT),
    ((b"null", None), ReasonCode.NOT_AN_OBJECT),
    ((b'{"id": 7, "inputs": []}', None), ReasonCode.BAD_ID),
    ((b'{"id": "\\ud800", "inputs": []}', None), ReasonCode.BAD_ID),
    ((b"{}", None), ReasonCode.MISSING_INPUTS),
    ((b'{"inputs": []}', None), ReasonCode.MISSING_INPUTS),
    ((b'{"inputs": {"x": 1}}', None), ReasonCode.MISSING_INPUTS),
    ((b'{"inputs": [null]}', None), ReasonCode.MISSING_INPUTS),
    ((json.dumps({"inputs": [None] * 65}).encode(), None), ReasonCode.TOO_MANY_INPUTS),
    ((body(name=""), None), ReasonCode.BAD_INPUT_NAME),
    ((body(name=7), None), ReasonCode.BAD_INPUT_NAME),
    ((body(name="\ud800"), None), ReasonCode.BAD_INPUT_NAME),
    ((json.dumps({"inputs": json.loads(body())["inputs"] * 2}).encode(), None), ReasonCode.DUPLICATE_INPUT),
    *(
        ((body(shape=shape), None), ReasonCode.BAD_SHAPE)
        for shape in (
            [],
            [0, 2],
            [-1, -2],
            [True, 2],
            [1.0, 2],
            ["1", 2],
            [[1], 2],
            {"0": 1},
            "12",
            2,
            [2**31],
            [1] * 17,
            [HUGE] * 16,
            [10**4000, 2],
        )
    ),
    ((body(shape=None), None), ReasonCode.BAD_SHAPE),
    *(((body(datatype=kind), None), ReasonCode.UNKNOWN_DATATYPE) for kind in NO_DATATYPES),
    ((body(datatype=None), None), ReasonCode.UNKNOWN_DATATYPE),
    ((body(data=None), None), ReasonCode.BAD_DATA),
    ((body(data="ab"), None), ReasonCode.BAD_DATA),
    ((body(data={"0": 1}), None), ReasonCode.BAD_DATA),
    ((body(data=[1, "2"]), None), ReasonCode.BAD_DATA),
    ((body(data=[1, True]), None), ReasonCode.BAD_DATA),
    ((body(data=[1, [2]]), None), ReasonCode.BAD_DATA),
    ((body(data=[1, 1e39]), None), ReasonCode.BAD_DATA),
    ((body(data=[1, 10**400]), None), ReasonCode.BAD_DATA),
    ((body(datatype="FP64").replace(b"[1, 2]}", b"[1, 1e999]}"), None), ReasonCode.BAD_DATA),
    ((body(datatype="INT8", data=[1, 128]), None), ReasonCode.BAD_DATA),
    ((body(datatype="UINT8", data=[1, -1]), None), ReasonCode.BAD_DATA),
    ((body(datatype="INT64", data=[1, 2**63]), None), ReasonCode.BAD_DATA),
    ((body(datatype="INT32", data=[1, 2.0]), None), ReasonCode.BAD_DATA),
    ((body(datatype="BOOL", data=[1, 0]), None), ReasonCode.BAD_DATA),
    ((body(datatype="BYTES", data=["a", 1]), None), ReasonCode.BAD_DATA),
    ((body(datatype="BYTES", data=["a", "\ud800"]), None), ReasonCode.BAD_DATA),
    ((body(shape=[2, 2], data=[[1, 2], 3]), None), ReasonCode.BAD_DATA),
    ((body(data=[1, 2, 3]), None), ReasonCode.SHAPE_DATA_MISMATCH),
    ((body(data=[]), None), ReasonCode.SHAPE_DATA_MISMATCH),
    ((body(shape=[2, 2], data=[[1, 2], [3]]), None), ReasonCode.SHAPE_DATA_MISMATCH),
    ((body(shape=[1000, 2**20]), None), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(8), b"1234567"), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input(8), b"123456789"), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input(-8), b"12345678"), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input(8.0), b"12345678"), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input(ONE), b"1"), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input("8"), b"12345678"), ReasonCode.BINARY_SIZE_MISMATCH),
    ((json.dumps(raw_input(8)).encode(), None), ReasonCode.BINARY_SIZE_MISMATCH),
    (binary(raw_input(8, data=[1, 2]), b"12345678"), ReasonCode.BAD_DATA),
    (binary(raw_input(7), b"1234567"), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(8, shape=[2**15, 2**15]), b"12345678"), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(2, datatype="BOOL"), b"\x01\x02"), ReasonCode.BAD_DATA),
    (binary(raw_input(4, datatype="BYTES"), b"\0\0\0\0"), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(8, datatype="BYTES"), b"\xff" * 8), ReasonCode.BAD_DATA),
    (binary(raw_input(9, datatype="BYTES"), b"\0" * 9), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(8, datatype="BYTES"), b"\x01\0\0\0aaaa"), ReasonCode.SHAPE_DATA_MISMATCH),
    (binary(raw_input(8, datatype="BYTES", shape=[1000, 1000]), b"\0" * 8), ReasonCode.SHAPE_DATA_MISMATCH),
    ((body(shape=[1025], data=[0] * 1025), None), ReasonCode.TOO_MANY_ROWS),
    (
        (
            json.dumps(
                {
                    "inputs": [
                        raw_input(rows, datatype="INT8", name=f"x{rows}", shape=[rows])["inputs"][0] for rows in (1, 2)
                    ]
                }
            ).encode(),
            None,
        ),
        ReasonCode.ROWS_DIFFER,
    ),
    ((body(), [(f"h{number}", b"") for number in range(65)]), ReasonCode.TOO_MANY_HEADERS),
    ((body(), [("h", b"x" * 16 * 1024)]), ReasonCode.TOO_MANY_HEADERS),
]


@pytest.mark.parametrize(("record", "code"), CASES)
def test_each_malformed_request_has_its_code(record: tuple[bytes | None, Any], code: ReasonCode) -> None:
    """What is wrong is said by a stable code and in words that can be written into a header."""
    error = refused(*record)
    assert error.code is code
    assert error.message.encode()
    assert len(error.message) < 600


def test_every_code_can_be_reached() -> None:
    """A code without a case would be dead or untested; `bad-header` is the headers' own."""
    assert {code for _, code in CASES} == set(ReasonCode) - {ReasonCode.BAD_HEADER}


def test_a_refusal_still_says_which_request_it_was() -> None:
    """Where the id could be read before the mistake, it comes with the refusal, so that its sender gets an answer."""
    for change in ({"shape": [0]}, {"data": [1]}, {"shape": [2000], "data": [0] * 2000}):
        request = json.loads(body(**change)) | {"id": "r9"}
        assert refused(json.dumps(request).encode()).request_id == "r9"


def test_limits_are_the_callers() -> None:
    """A limit raised lets the same request pass, one lowered refuses it."""
    value = body(shape=[2, 1])
    assert records.decode_request(value, limits=Limits(max_rows=2)).rows == 2
    assert refused(value, limits=Limits(max_rows=1)).code is ReasonCode.TOO_MANY_ROWS
    assert refused(value, limits=Limits(max_record_bytes=20)).code is ReasonCode.RECORD_TOO_LARGE
    assert refused(value, limits=Limits(max_json_depth=3)).code is ReasonCode.JSON_TOO_DEEP
    with pytest.raises(ValueError, match="max_rows=0"):
        Limits(max_rows=0)


header_lists = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "inference-header-content-length", "request-id", "x"]),
        st.none()
        | st.binary(max_size=12)
        | st.sampled_from([b"application/json", b"application/octet-stream"])
        | st.integers(min_value=-1, max_value=200).map(lambda number: str(number).encode()),
    ),
    max_size=4,
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(["FP32", "BYTES", "BOOL", "INT8", HUGE, -1, 0, 2**63, 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "id", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def decode_or_refuse(value: bytes | None, headers: Any) -> None:
    """The property: a request, or a refusal that explains itself in words that can be written."""
    try:
        decoded = records.decode_request(value, headers, limits=LIMITS)
    except MalformedRequest as error:
        assert error.message.encode()  # noqa: PT017 - either end is right; this one must explain itself
        return
    assert decoded.rows >= 1
    assert all(len(array) == decoded.rows for array in decoded.inputs.values())


@settings(max_examples=300)
@given(st.none() | st.binary(max_size=300), header_lists)
def test_arbitrary_bytes_are_refused_and_nothing_else(value: bytes | None, headers: Any) -> None:
    """No bytes and no headers raise anything but MalformedRequest."""
    decode_or_refuse(value, headers)


@settings(max_examples=500)
@given(json_values, st.lists(json_values, max_size=2), st.binary(max_size=32), st.booleans())
def test_arbitrary_json_is_refused_and_nothing_else(top: Any, inputs: list[Any], tail: bytes, raw: bool) -> None:
    """JSON of the right words in the wrong places raises nothing else either."""
    for tree in (top, {"inputs": inputs}, {"inputs": top, "id": top}):
        value = json.dumps(tree).encode()
        decode_or_refuse(*(binary(value, tail) if raw else (value, None)))


@settings(max_examples=500)
@given(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), json_values, st.booleans(), st.binary())
def test_one_wrong_field_is_refused_and_nothing_else(field: str, wrong: Any, raw: bool, tail: bytes) -> None:
    """A valid request with anything at all in one field of its input raises nothing else."""
    if raw:
        decode_or_refuse(*binary(raw_input(8, **{field: wrong}), tail))
        decode_or_refuse(*binary(raw_input(wrong), tail))
    else:
        decode_or_refuse(body(**{field: wrong}), None)


@settings(max_examples=300)
@given(st.binary(max_size=200), header_lists, json_values)
def test_arbitrary_results_are_refused_and_nothing_else(value: bytes, headers: Any, tree: Any) -> None:
    """A result that nobody of ours wrote raises MalformedResult and nothing else."""
    named = [*headers, ("request-id", b"r")]
    for text, told in ((value, named), (json.dumps({"outputs": tree, "id": "r"}).encode(), [])):
        try:
            assert records.decode_result(text, told).id
        except MalformedResult as error:
            assert str(error)  # noqa: PT017 - either end is right; this one must explain itself


@pytest.mark.parametrize(
    "record",
    [
        (body(shape=[1000, 2**20]), None),
        binary(raw_input(8, shape=[2**15, 2**15]), b"12345678"),
        binary(raw_input(2**40, shape=[2**19, 2**19]), b"12345678"),
        binary(raw_input(8, datatype="BYTES", shape=[2**30]), b"\0" * 8),
        binary(raw_input(8, datatype="BYTES"), b"\xff\xff\xff\x7f\0\0\0\0"),
        (b"[" * 1_000_000, None),
    ],
)
def test_a_declaration_alone_allocates_nothing(record: tuple[bytes, Any]) -> None:
    """What a small record claims to hold is not made room for: refusing takes less than 16 times the record."""
    refused(*record)
    tracemalloc.start()
    try:
        refused(*record)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(record[0]) + 200_000
