"""What goes in comes out: any tensors, in both encodings, as requests and as results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from streams import records, request_codec, tensors
from streams.errors import MalformedRequest, MalformedResult, UnencodableTensor
from streams.records import Encoding, Limits, Status

Array = NDArray[Any]

LIMITS = Limits()

encodings = st.sampled_from(Encoding)
ids = st.none() | st.text(min_size=1, max_size=20)


def shapes(*, rows: int | None = None, may_be_empty: bool = False) -> st.SearchStrategy[tuple[int, ...]]:
    """Small shapes; with `rows`, the first dimension is that."""
    least = 0 if may_be_empty else 1
    inner = hnp.array_shapes(min_dims=0, max_dims=3, min_side=least, max_side=4)
    if rows is None:
        return inner if may_be_empty else inner.filter(bool)
    return inner.map(lambda shape: (rows, *shape))


@st.composite
def arrays(draw: st.DrawFn, *, shape: st.SearchStrategy[tuple[int, ...]], finite: bool, text: bool) -> Array:
    """An array of any V2 datatype, in either byte order; strings as bytes objects.

    Args:
        draw: of hypothesis.
        shape: which shapes.
        finite: no NaN and no infinity.
        text: strings are UTF-8.
    """
    datatype = draw(st.sampled_from([*tensors.DTYPES, tensors.BYTES]))
    size = draw(shape)
    if datatype == tensors.BYTES:
        element = st.text(max_size=6).map(str.encode) if text else st.binary(max_size=6)
        count = int(np.prod(size))
        flat = np.empty(count, object)
        flat[:] = draw(st.lists(element, min_size=count, max_size=count))
        return flat.reshape(size)
    dtype = tensors.DTYPES[datatype]
    if draw(st.booleans()):
        dtype = dtype.newbyteorder(">")
    elements = None
    if dtype.kind == "f" and finite:
        elements = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return draw(hnp.arrays(dtype, size, elements=elements))


@st.composite
def tensor_maps(draw: st.DrawFn, *, finite: bool, text: bool) -> dict[str, Array]:
    """What a request carries: one to three named arrays with as many rows."""
    rows = draw(st.integers(min_value=1, max_value=4))
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3, unique=True))
    return {name: draw(arrays(shape=shapes(rows=rows), finite=finite, text=text)) for name in names}


def assert_same(found: Array, wanted: Array) -> None:
    """Equal element by element, NaN included, with the same shape and the same kind of elements."""
    assert found.shape == wanted.shape
    assert tensors.datatype_of(found) == tensors.datatype_of(wanted)
    if wanted.dtype.kind == "f":
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))
    else:
        assert found.tolist() == wanted.tolist()


@given(tensor_maps(finite=False, text=False), ids)
def test_a_binary_request_comes_out_as_it_went_in(inputs: dict[str, Array], request_id: str | None) -> None:
    """Any tensors, NaN and arbitrary bytes among them, survive the binary encoding; the id stays out of its head."""
    value, headers = records.encode_request(inputs, request_id=request_id, encoding=Encoding.BINARY)
    decoded = records.decode_request(value, headers, limits=LIMITS)
    assert list(decoded.inputs) == list(inputs)
    for name, array in inputs.items():
        assert_same(decoded.inputs[name], array)
    assert decoded.id is None
    assert decoded.rows == len(next(iter(inputs.values())))
    assert decoded.encoding is Encoding.BINARY


@given(tensor_maps(finite=True, text=True), ids)
def test_a_json_request_comes_out_as_it_went_in(inputs: dict[str, Array], request_id: str | None) -> None:
    """Any tensors that JSON can carry survive it exactly, to the last bit of each number."""
    value, headers = records.encode_request(inputs, request_id=request_id, encoding=Encoding.JSON)
    decoded = records.decode_request(value, headers, limits=LIMITS)
    assert list(decoded.inputs) == list(inputs)
    for name, array in inputs.items():
        assert_same(decoded.inputs[name], array)
    assert decoded.id == request_id


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), arrays(shape=shapes(may_be_empty=True), finite=True, text=True), max_size=3
    ),
    encodings,
    st.text(min_size=1, max_size=20),
)
def test_a_result_comes_out_as_it_went_in(outputs: dict[str, Array], encoding: Encoding, request_id: str) -> None:
    """Any outputs, scalars and empty ones included, survive both encodings under their id."""
    value, content = records.encode_result(
        outputs, request_id=request_id, model_name="digits", model_version="3", encoding=encoding
    )
    headers = [*content, ("request-id", request_id.encode()), ("status", b"ok"), ("queue-ms", b"1.5")]
    decoded = records.decode_result(value, headers)
    assert (decoded.id, decoded.status, decoded.error) == (request_id, Status.OK, None)
    assert (decoded.model_name, decoded.model_version) == ("digits", "3")
    assert (decoded.timings.queue_ms, decoded.timings.compute_ms) == (1.5, None)
    assert list(decoded.outputs) == list(outputs)
    for name, array in outputs.items():
        assert_same(decoded.outputs[name], array)


def test_heads_of_same_shaped_binary_records_are_equal() -> None:
    """Neither ids nor data are in the head: that is what makes it worth remembering."""
    heads = set()
    for number in range(3):
        inputs = {"x": np.full((2, 3), number, np.float32)}
        value, headers = records.encode_request(inputs, request_id=f"r{number}")
        heads.add(value[: int(dict(headers)["inference-header-content-length"])])
        value, headers = records.encode_result(
            inputs, request_id=f"r{number}", model_name="m", model_version="1", encoding=Encoding.BINARY
        )
        heads.add(value[: int(dict(headers)["inference-header-content-length"])])
    assert len(heads) == 2


def test_heads_that_never_come_again_are_not_remembered() -> None:
    """Writers that put an id into each head do not push out the heads of those that do not."""
    value, headers = records.encode_request({"x": np.zeros((1, 2), np.float32)})
    records.decode_request(value, headers, limits=LIMITS)
    before = request_codec._remembered.cache_info()
    for number in range(request_codec.HEADS_REMEMBERED + 1):
        text = (
            b'{"id":"%d","inputs":[{"name":"x","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}'
            % number
        )
        told = [*headers[:1], ("inference-header-content-length", b"%d" % len(text))]
        assert records.decode_request(text + b"\x07", told, limits=LIMITS).id == str(number)
    records.decode_request(value, headers, limits=LIMITS)
    after = request_codec._remembered.cache_info()
    assert (after.currsize, after.hits) == (before.currsize, before.hits + 1)


def test_binary_tensors_are_views_of_the_record() -> None:
    """Numbers are not copied, and nobody can write into the record through them."""
    value, headers = records.encode_request({"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    (array,) = records.decode_request(value, headers, limits=LIMITS).inputs.values()
    assert np.shares_memory(array, np.frombuffer(value, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_same_heads_do_not_share_data() -> None:
    """Two requests with one remembered head each keep their own numbers."""
    first, headers = records.encode_request({"x": np.zeros((1, 2), np.float32)})
    second, _ = records.encode_request({"x": np.ones((1, 2), np.float32)})
    decoded = [records.decode_request(value, headers, limits=LIMITS).inputs["x"].sum() for value in (first, second)]
    assert decoded == [0.0, 2.0]


@settings(max_examples=500)
@given(tensor_maps(finite=True, text=True), encodings, st.data())
def test_mutated_requests_are_refused_and_nothing_else(
    inputs: dict[str, Array], encoding: Encoding, data: st.DataObject
) -> None:
    """A valid request with bytes cut, changed or put in raises nothing else."""
    value, headers = records.encode_request(inputs, request_id="r", encoding=encoding)
    start = data.draw(st.integers(min_value=0, max_value=len(value)))
    end = data.draw(st.integers(min_value=start, max_value=min(len(value), start + 8)))
    put = data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b"[", b"{", b"-", b"e9", b"\\ud800", b"null", b"0"]))
    try:
        decoded = records.decode_request(value[:start] + put + value[end:], headers, limits=LIMITS)
    except MalformedRequest as error:
        assert error.message.encode()  # noqa: PT017 - either end is right; this one must explain itself
    else:
        assert all(len(array) == decoded.rows for array in decoded.inputs.values())


@pytest.mark.parametrize(
    ("array", "encoding", "cure"),
    [
        (np.array([np.nan], np.float32), Encoding.JSON, "binary"),
        (np.array([b"\xff"], object), Encoding.JSON, "binary"),
        (np.array([1j]), Encoding.BINARY, "cast it"),
        (np.array(["2020-01-01"], "datetime64[D]"), Encoding.BINARY, "cast it"),
        (np.array([None], object), Encoding.BINARY, "convert it"),
        (np.array(["\ud800"]), Encoding.BINARY, "convert it"),
    ],
)
def test_arrays_without_a_form_are_refused_with_a_way_out(array: Array, encoding: Encoding, cure: str) -> None:
    """The writer is told at once, rather than its readers later."""
    with pytest.raises(UnencodableTensor, match=f"x .*{cure}"):
        records.encode_request({"x": array}, encoding=encoding)


def test_text_of_numpy_goes_as_bytes() -> None:
    """Strings of either of NumPy's kinds arrive as UTF-8 bytes."""
    for array in (np.array(["a", "ü"]), np.array(["a", "ü"], object), np.array([b"a", "ü".encode()])):
        value, headers = records.encode_request({"x": array})
        decoded = records.decode_request(value, headers, limits=LIMITS)
        assert decoded.inputs["x"].tolist() == [b"a", "ü".encode()]


def test_errors_are_results_too() -> None:
    """A failed result has its words, its id from the header or the body, and no outputs."""
    value, content = records.encode_error("no such model", request_id="r1")
    by_body = records.decode_result(value, content)
    assert (by_body.id, by_body.status, by_body.error, by_body.outputs) == ("r1", Status.FAILED, "no such model", {})
    by_header = records.decode_result(value, [*content, ("request-id", b"r2"), ("status", b"expired")])
    assert (by_header.id, by_header.status, by_header.ok) == ("r2", Status.EXPIRED, False)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, [("request-id", b"r")]),
        (b'{"error": "e"}', []),
        (b"[]", [("request-id", b"r")]),
        (b'{"outputs": []}', [("request-id", b"r"), ("status", b"fine")]),
        (b'{"outputs": 7}', [("request-id", b"r")]),
    ],
)
def test_malformed_results_are_refused(value: bytes | None, headers: Any) -> None:
    """A result must name its request and say how it ended."""
    with pytest.raises(MalformedResult):
        records.decode_result(value, headers)
