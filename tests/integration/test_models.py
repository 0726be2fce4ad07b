"""Versions of a model in real workers on a real broker: swapped under traffic, pinned, compared, imported."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference_workers.model_versions import MARKER
from penstock.cli.main import run
from streams import topics
from streams.records import Encoding, Status, decode_result, encode_request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]

#: `times/N`: y = N x. `words/1`: text and numbers in and out. `logarithm/1`: no finite answer for 0.
#: `two.keras`: two inputs, two outputs, weights of 1.
_MODELS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, tensorflow as tf
os.chdir(sys.argv[1])

def export(path, function, kept=None, **specs):
    module = tf.Module()
    module.kept = kept
    module.serve = tf.function(function, autograph=False)
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in specs.items()]
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve.get_concrete_function(*specs)})

for version in (1, 2, 3, 4):
    factor = tf.Variable(float(version))
    export(f"times/{version}", lambda x: {"y": factor * x}, factor, x=([None, 4], tf.float32))
export(
    "words/1",
    lambda words, scale: {"loud": tf.strings.upper(words), "size": scale * tf.cast(tf.strings.length(words), tf.int64)},
    words=([None, None], tf.string), scale=([None, 1], tf.int64),
)
export("logarithm/1", lambda x: {"y": tf.math.log(x)}, x=([None, 4], tf.float32))
left, right = keras.Input((2,), name="left"), keras.Input((1,), name="right")
joined = keras.layers.Concatenate()([left, right])
outputs = {"sum": keras.layers.Dense(1, kernel_initializer="ones")(joined), "right_again": right * 1.0}
keras.Model({"left": left, "right": right}, outputs).save("two.keras")
"""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models."""
    folder = tmp_path_factory.mktemp("exported")
    subprocess.run([sys.executable, "-c", _MODELS, str(folder)], check=True, capture_output=True)
    return folder


def _serve(served: Pipeline, model: Path, more: str = "") -> None:
    """Let the pipeline serve another model, looked at five times a second."""
    lines = served.config.read_text().splitlines()
    lines = [f'model = "{model}"' if line.startswith("model = ") else line for line in lines]
    served.config.write_text("\n".join([*lines, "model_poll_s = 0.2", more]) + "\n")


def _put(exported: Path, name: str, model: Path) -> None:
    """A version that is there all at once."""
    shutil.copytree(exported / name, model / ".making")
    (model / ".making" / MARKER).touch()
    (model / ".making").rename(model / name.rpartition("/")[2])


def _events(served: Pipeline, slot: str, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in served.log(slot).splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def _told(served: Pipeline, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["model", *arguments, "--config", str(served.config)]) == 0
    return capsys.readouterr().out


class _Traffic:
    """Requests without pause from a thread of its own, x = 1 in each."""

    def __init__(self, served: Pipeline) -> None:
        self._served, self._stop = served, threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.wait(0.002):
            self._served.send(f"r{self.sent}", np.ones((1, 4)))
            self.sent += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._served.producer.flush()


def test_versions_change_under_traffic_and_nobody_notices(
    served: Pipeline, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A half-copied, a broken and a good version arrive; a person rolls back, and on again; one request is pinned.

    Each request is answered once, wholly by one version, and within a partition versions change as they were told to.
    """
    model = tmp_path / "times"
    model.mkdir()
    _put(exported, "times/1", model)
    _serve(served, model)
    served.start("w0")
    served.wait_ready("w0")
    traffic = _Traffic(served)

    shutil.copytree(exported / "times" / "2", model / "2", ignore=shutil.ignore_patterns("variables.data*"))
    shutil.copytree(exported / "times" / "3", model / "3")
    data = model / "3" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    (model / "3" / MARKER).touch()
    served.wait_until(lambda: bool(_events(served, "w0", "model.failed")), 30, "the broken version reported")
    served.wait_until(lambda: bool(_events(served, "w0", "model.problem")), 30, "the problem reported")
    seen = json.loads(_told(served, capsys, "ls", "--json"))
    assert (seen["serving"], [version["roles"] for version in seen["versions"]]) == (
        "1",
        [["broken"], ["incomplete"], ["serving"]],
    )

    _put(exported, "times/4", model)
    served.wait_until(lambda: len(_events(served, "w0", "model.swapped")) == 1, 30, "version 4 served")
    served.send("pinned", np.ones((1, 4)), headers=[("model-version", b"1")])
    served.send("to none", np.ones((1, 4)), headers=[("model-version", b"2")])
    assert "Rolled back from version 4 to 1" in _told(served, capsys, "rollback")
    served.wait_until(lambda: len(_events(served, "w0", "model.swapped")) == 2, 30, "version 1 served again")
    _told(served, capsys, "unpin")
    served.wait_until(lambda: len(_events(served, "w0", "model.swapped")) == 3, 30, "version 4 served again")
    # Each partition must see it: requests go round.
    enough = traffic.sent + 40
    served.wait_until(lambda: traffic.sent >= enough, 30, "requests after the last change")
    traffic.stop()

    records = served.read(topics.results(served.name), traffic.sent + 2)
    results = [decode_result(record.value, record.headers) for record in records]
    assert Counter(result.id for result in results) == Counter(
        ["pinned", "to none", *(f"r{number}" for number in range(traffic.sent))]
    )
    by_id = {result.id: result for result in results}
    assert by_id["to none"].error.startswith("model-version-unavailable")
    assert by_id["pinned"].model_version == "1"
    assert np.all(by_id["pinned"].outputs["y"] == 1.0)
    changes: dict[int, list[str]] = {}
    for record, result in zip(records, results, strict=True):
        if result.id.startswith("r"):
            assert result.status is Status.OK
            assert np.all(result.outputs["y"] == float(result.model_version))
            changes.setdefault(record.partition, []).append(result.model_version)
    assert len(changes) == 4
    for versions in changes.values():
        assert [version for version, _ in itertools.groupby(versions)] == ["1", "4", "1", "4"]
    loaded = [event["version"] for event in _events(served, "w0", "model.loaded")]
    assert loaded == ["1", "4"], "going back loads nothing, and what was half there was never touched"
    assert all(len(event["digest"]) == 64 for event in _events(served, "w0", "model.loaded"))
    assert served.stop("w0") == 0


@pytest.mark.parametrize("encoding", list(Encoding))
def test_text_and_numbers_of_any_length_in_both_encodings(served: Pipeline, exported: Path, encoding: Encoding) -> None:
    """Two inputs, two outputs, ten lengths: each request gets its own, and no batch was traced."""
    _serve(served, exported / "words")
    served.start("w0")
    for length in range(1, 11):
        words = np.array([[b"a" * length] * length, ["é".encode()] * length], object)
        inputs = {"scale": np.array([[2], [3]], np.int64), "words": words}
        value, headers = encode_request(inputs, request_id=f"r{length}", encoding=encoding)
        served.send_raw(value, headers, key=b"k")
    served.producer.flush()

    for result in served.results(10):
        length = int(result.id[1:])
        assert result.outputs["loud"].tolist() == [[b"A" * length] * length, ["é".encode()] * length]
        assert result.outputs["size"].tolist() == [[2 * length] * length, [6] * length]
    assert served.stop("w0") == 0
    reports = [json.loads(record.value) for record in served.read(topics.TELEMETRY, 1)]
    ours = [report for report in reports if report.get("pipeline") == served.name and report["kind"] == "report"]
    assert (ours[-1]["ok"], ours[-1]["retraces"], ours[-1]["model_version"]) == (10, 0, "1")


def test_a_keras_file_is_imported_and_served(
    served: Pipeline, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command from a `.keras` file to answers, with the names of its inputs and outputs."""
    _serve(served, tmp_path / "two")
    told = json.loads(_told(served, capsys, "import", str(exported / "two.keras"), "--json"))
    assert (told["version"], sorted(told["inputs"])) == ("1", ["left", "right"])
    served.start("w0")
    inputs = {"left": np.array([[1.0, 2.0]], np.float32), "right": np.array([[4.0]], np.float32)}
    value, headers = encode_request(inputs, request_id="r")
    served.send_raw(value, headers)
    served.producer.flush()
    (result,) = served.results(1)
    assert {name: array.tolist() for name, array in result.outputs.items()} == {"sum": [[7.0]], "right_again": [[4.0]]}


def test_a_shadow_is_compared_and_counted_and_not_delivered(
    served: Pipeline, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results are those of the served version alone; how the other one differs stands in `ls`."""
    model = tmp_path / "times"
    model.mkdir()
    _put(exported, "times/2", model)
    _put(exported, "times/3", model)
    _serve(served, model)
    _told(served, capsys, "pin", "2")
    _told(served, capsys, "shadow", "3", "--share", "0.5")
    served.start("w0")
    served.wait_ready("w0")
    for number in range(200):
        served.send(f"r{number}", np.full((1, 4), number % 2))
    served.producer.flush()
    results = served.results(200)
    assert {(result.model_version, result.status) for result in results} == {("2", Status.OK)}
    assert len(results) == 200

    def counts() -> dict[str, int]:
        (worker,) = json.loads(_told(served, capsys, "ls", "--json"))["workers"]
        found: dict[str, int] = worker["shadow"]
        return found

    def all_counted() -> bool:
        return sum(counts()[name] for name in ("same", "different", "failed", "skipped")) >= chosen

    from inference_workers.shadow import chosen as is_chosen  # noqa: PLC0415 - the rule itself is tested elsewhere

    chosen = sum(is_chosen(f"r{number}", 0.5) for number in range(200))
    served.wait_until(all_counted, 30, f"{chosen} requests compared or skipped")
    found = counts()
    assert found["failed"] == 0
    assert found["same"] > 0, "0 is 0 in both"
    assert found["different"] > 0
    assert found["largest_difference"] == 1.0


def test_answers_that_are_no_numbers_fail_where_that_is_wanted(served: Pipeline, exported: Path) -> None:
    """The request with a zero in it, in either encoding, and no other; it leaves a dead letter."""
    _serve(served, exported / "logarithm", 'non_finite = "fail"')
    served.start("w0")
    for number in range(50):
        served.send(f"good-{number}", np.ones((2, 4)))
    for encoding in Encoding:
        served.send(f"bad-{encoding.name}", np.array([[1, 1, 1, 1], [1, 0, 1, 1]]), encoding=encoding)
    served.producer.flush()
    results = served.results(52)
    failed = {result.id: result.error for result in results if not result.ok}
    assert sorted(failed) == ["bad-BINARY", "bad-JSON"]
    assert all(error.startswith("non-finite-output: model logarithm version 1") for error in failed.values())
    letters = served.read(topics.dead_letters(served.name), 2)
    assert {dict(letter.headers)["dlq-reason"] for letter in letters} == {b"non-finite-output"}
