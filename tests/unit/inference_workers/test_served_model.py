"""One loaded version, with real TensorFlow: signatures of many kinds, and what is refused at loading."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference_workers import batching, direct_call
from inference_workers.device import Device
from inference_workers.errors import BrokenModel, RejectedInput
from inference_workers.model import ComputeFailed, ServedModel, TensorSpec
from inference_workers.warming import Warming, warm
from streams.records import Encoding, Limits, decode_request, decode_result, encode_request, encode_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.tensorflow

_LIMITS = Limits(max_record_bytes=2**20, max_rows=4096)


def _functions_known() -> int:
    from tensorflow.python.eager import context  # noqa: PLC0415 - what TensorFlow itself counts

    return len(context.context().list_function_names())


@pytest.fixture(scope="session")
def mixed(tf: Any, export: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three inputs (text of any length, numbers, whole numbers) and three outputs, with a table and a variable."""
    root = tmp_path_factory.mktemp("models") / "mixed"
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([b"one", b"two"], [1, 2]), -1)
    bias = tf.Variable(100.0)

    def serve(words: Any, numbers: Any, count: Any) -> dict[str, Any]:
        return {
            "known": table.lookup(words),
            "loud": tf.strings.upper(words, encoding="utf-8"),
            "score": bias + tf.reduce_sum(numbers, 1) + 10.0 * tf.cast(count, tf.float32),
        }

    specs = {
        "words": tf.TensorSpec([None, None], tf.string),
        "numbers": tf.TensorSpec([None, 3], tf.float32),
        "count": tf.TensorSpec([None], tf.int64),
    }
    export(root / "1", serve, specs, table=table, bias=bias)
    return root


def _mixed_request(words: list[list[str]], scale: float) -> dict[str, np.ndarray]:
    rows = len(words)
    array = np.empty((rows, len(words[0])), object)
    array[:] = [[word.encode() for word in row] for row in words]
    return {
        "words": array,
        "numbers": np.full((rows, 3), scale, np.float32),
        "count": np.arange(rows, dtype=np.int64),
    }


def test_the_signature_is_read(mixed: Path) -> None:
    """Names, types and open sizes, in the words of the wire."""
    model = ServedModel(mixed)
    assert (model.name, model.version) == ("mixed", "1")
    assert {name: str(spec) for name, spec in model.inputs.items()} == {
        "words": "BYTES [-1, -1]",
        "numbers": "FP32 [-1, 3]",
        "count": "INT64 [-1]",
    }
    assert model.outputs["known"] == TensorSpec(np.dtype(np.int32), (None,))
    assert model.outputs["score"] == TensorSpec(np.dtype(np.float32), ())


@pytest.mark.parametrize("encoding", list(Encoding))
def test_text_and_numbers_go_in_and_come_out_in_both_encodings(mixed: Path, encoding: Encoding) -> None:
    """From the bytes of requests to the bytes of results, two requests in one padded batch."""
    model = ServedModel(mixed)
    requests = [_mixed_request([["one", "größe"], ["two", ""]], 1.0), _mixed_request([["x", "one"]], 2.0)]
    decoded = []
    for request in requests:
        value, headers = encode_request(request, encoding=encoding)
        decoded.append(model.check(decode_request(value, headers, limits=_LIMITS).inputs))

    outputs = model.run(batching.stack(decoded, 3, 4))

    results = []
    for rows in (slice(0, 2), slice(2, 3)):
        found = {name: array[rows] for name, array in outputs.items()}
        value, headers = encode_result(found, request_id="r", model_name="m", model_version="1", encoding=encoding)
        results.append(decode_result(value, [*headers, ("request-id", b"r"), ("status", b"ok")]).outputs)
    assert results[0]["known"].tolist() == [[1, -1], [2, -1]]
    assert results[0]["loud"].tolist() == [[b"ONE", "GRÖSSE".encode()], [b"TWO", b""]]
    assert results[0]["score"].tolist() == [103.0, 113.0]
    assert results[1]["loud"].tolist() == [[b"X", b"ONE"]]
    assert results[1]["score"].tolist() == [106.0]


def test_a_new_size_of_an_open_dimension_traces_nothing(mixed: Path) -> None:
    """Ten lengths of text and five batch sizes: TensorFlow knows as many functions after as before."""
    model = ServedModel(mixed)
    warm(model, Device(), (1, 2, 4))
    before = _functions_known()
    for length in range(1, 11):
        for rows in (1, 2, 3, 4, 5):
            outputs = model.run(_mixed_request([["one"] * length] * rows, 0.0))
            assert outputs["known"].shape == (rows, length)
    assert _functions_known() == before


def test_an_open_dimension_that_must_not_be_short_is_warmed_long_enough(
    tf: Any, export: Callable[..., Path], tmp_path: Path
) -> None:
    """A window of five needs more than one step: zeros of one step are no reason to call the model broken."""
    weights = tf.ones([5, 1, 1])
    export(
        tmp_path / "windows" / "1",
        lambda x: {"y": tf.reduce_max(tf.nn.conv1d(x, weights, 1, "VALID"), 1)},
        {"x": tf.TensorSpec([None, None, 1], tf.float32)},
    )
    model = ServedModel(tmp_path / "windows")
    assert model.sample(2)["x"].shape == (2, 4, 1)
    assert [rows for rows, _ in warm(model, Device(), (1, 2))] == [1, 2]


def test_the_first_version_shows_how_large_batches_may_be(mixed: Path) -> None:
    """A model that takes no time is worth the largest there is; later versions keep the sizes; what is told is done."""
    model = ServedModel(mixed)
    warming = Warming(Device(), None, 60.0)
    with pytest.raises(RuntimeError, match="warmed"):
        _ = warming.sizes
    timings = warming(model)
    assert [rows for rows, _ in timings] == list(warming.sizes) == [2**n for n in range(10)]
    assert all(seconds > 0 for _, seconds in timings)
    assert [rows for rows, _ in warming(model)] == list(warming.sizes)
    told = Warming(Device(), 12, 1e-9)
    assert [rows for rows, _ in told(model)] == list(told.sizes) == [1, 2, 4, 8, 12]


def test_the_direct_call_is_taken_and_answers_as_the_public_one(mixed: Path) -> None:
    """With inputs and outputs in no particular order of names or types."""
    model = ServedModel(mixed)
    assert model._call.__qualname__.startswith("_direct"), "this TensorFlow takes the direct call"
    inputs = _mixed_request([["one", "two"], ["a", "b"]], 3.0)
    tensors = {name: model._tf.constant(array) for name, array in inputs.items()}
    expected, found = model._function(**tensors), model._call(tensors)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor.numpy(), found[name].numpy())


def test_where_the_direct_call_is_not_to_be_had_the_public_one_is_taken(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a TensorFlow that has other things in its place."""

    def absent(*_: Any) -> None:
        raise AttributeError("function_type")

    monkeypatch.setattr(direct_call, "_direct", absent)
    model = ServedModel(mixed)
    assert model.run(_mixed_request([["one"]], 1.0))["score"].tolist() == [103.0]


def test_an_error_of_the_model_is_told_from_one_of_ours(tf: Any, export: Callable[..., Path], tmp_path: Path) -> None:
    """The direct call raises what the public one raises, with the model's own words in it."""

    def serve(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 10.0, message="too large")]):
            return {"y": tf.identity(x)}

    export(tmp_path / "picky" / "1", serve, {"x": tf.TensorSpec([None], tf.float32)})
    model = ServedModel(tmp_path / "picky")
    assert model.run({"x": np.array([1.0], np.float32)})["y"].tolist() == [1.0]
    with pytest.raises(ComputeFailed, match="too large") as caught:
        model.run({"x": np.array([1.0, 11.0], np.float32)})
    assert not caught.value.out_of_memory


def test_inputs_that_do_not_fit_are_refused_by_name(mixed: Path) -> None:
    """Names, types and shapes."""
    model, good = ServedModel(mixed), _mixed_request([["a"]], 1.0)
    for change, code in (
        ({"more": good["count"]}, "unexpected-inputs"),
        ({"count": good["count"].astype(np.float32)}, "wrong-datatype"),
        ({"words": good["count"]}, "wrong-datatype"),
        ({"numbers": np.zeros((1, 4), np.float32)}, "wrong-shape"),
    ):
        with pytest.raises(RejectedInput) as caught:
            model.check({**good, **change})
        assert caught.value.code == code
    assert model.check({**good, "count": good["count"].astype(np.int32)})["count"].dtype == np.int64


def _refused(tmp_path: Path, told: str) -> None:
    with pytest.raises(BrokenModel, match=told):
        ServedModel(tmp_path / "m", "1")


def test_a_signature_that_cannot_be_served_is_refused_at_loading(
    tf: Any, export: Callable[..., Path], tmp_path: Path
) -> None:
    """Before a single request fails for it: fixed rows, unknown dimensions, types without a form on the wire."""
    for spec, told in (
        (tf.TensorSpec([8, 4], tf.float32), r"has shape \[8, 4\]: its first dimension is rows .* \[None, 4\]"),
        (tf.TensorSpec(None, tf.float32), "no known number of dimensions"),
        (tf.TensorSpec([None], tf.complex64), "complex64, which no request can carry"),
        (tf.TensorSpec([None], tf.bfloat16), "bfloat16"),
    ):
        export(tmp_path / "m" / "1", lambda x: {"y": tf.identity(x)}, {"x": spec})
        _refused(tmp_path, told)
        shutil.rmtree(tmp_path / "m")


def test_other_broken_versions_are_refused_at_loading(
    times: Callable[[Path, float], Path], tf: Any, tmp_path: Path
) -> None:
    """No signature, a file cut off, variables of another model."""
    tf.saved_model.save(tf.Module(), str(tmp_path / "m" / "1"))
    _refused(tmp_path, r"no signature 'serving_default' \(it has none\)")
    times(tmp_path / "m" / "2", 2.0)
    data = tmp_path / "m" / "2" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(BrokenModel, match="does not load"):
        ServedModel(tmp_path / "m", "2")
    (tmp_path / "m" / "2" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(BrokenModel, match="does not load"):
        ServedModel(tmp_path / "m", "2")


def test_a_model_that_xla_compiles_is_known(tf: Any, export: Callable[..., Path], tmp_path: Path) -> None:
    """It compiles each shape anew, so a new one counts as a retrace."""
    inner = tf.function(lambda x: x * 2.0, jit_compile=True, autograph=False)
    export(tmp_path / "xla" / "1", lambda x: {"y": inner(x)}, {"x": tf.TensorSpec([None, None], tf.float32)})
    assert ServedModel(tmp_path / "xla").compiles_by_shape
    export(tmp_path / "plain" / "1", lambda x: {"y": x * 2.0}, {"x": tf.TensorSpec([None, None], tf.float32)})
    assert not ServedModel(tmp_path / "plain").compiles_by_shape
