"""`penstock model`: what a person says about versions, and versions made of Keras files and SavedModels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from inference_workers import serving_control
from inference_workers.model_versions import MARKER
from inference_workers.serving_control import Control, Shadow
from penstock.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MESSAGE = b"\x08\x05"

#: Files of many kinds, made in a process of its own: this one must not know the custom class.
_KERAS_FILES = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
os.chdir(sys.argv[1])
layers = keras.layers
keras.Sequential([layers.Input((4,), name="x"), layers.Dense(2, kernel_initializer="ones")]).save("good.keras")
left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
joined = layers.Concatenate()([left, right])
two = {"sum": layers.Dense(1)(joined), "classes": layers.Dense(3, activation="softmax")(joined)}
keras.Model({"left": left, "right": right}, two).save("two.keras")
keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * 2)]).save("lambda.keras")
class Mine(layers.Layer):
    def call(self, x):
        return x * 2
keras.Sequential([layers.Input((4,)), Mine()]).save("custom.keras")
whole = open("good.keras", "rb").read()
open("cut.keras", "wb").write(whole[: len(whole) // 2])
open("junk.keras", "wb").write(b"junk")
open("model.h5", "wb").write(b"junk")
"""


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `.keras` files, good and bad."""
    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([sys.executable, "-c", _KERAS_FILES, str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a pipeline whose model has versions 1, 2 and 10, and half of 11."""
    for version in ("1", "2", "10"):
        (tmp_path / "models" / "digits" / version).mkdir(parents=True)
        (tmp_path / "models" / "digits" / version / "saved_model.pb").write_bytes(_MESSAGE)
        (tmp_path / "models" / "digits" / version / MARKER).touch()
    (tmp_path / "models" / "digits" / "11").mkdir()
    path = tmp_path / "penstock.toml"
    path.write_text('[pipeline]\nname = "digits"\nmodel = "models/digits"\n')
    return path


@pytest.fixture
def penstock(config: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `penstock model ...` here; returns exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["model", *arguments, "--config", str(config)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def _control(config: Path) -> Control:
    return serving_control.read(config.parent / "models" / "digits")


def _worker(
    config: Path, *, pid: int, serving: str, previous: str | None, failed: dict[str, str] | None = None
) -> None:
    path = config.parent / ".penstock" / "state" / "models" / f"w{serving}{previous}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"model": "digits", "pid": pid, "serving": serving, "previous": previous, "loaded": {serving: "ab" * 32}}
    path.write_text(json.dumps(told | {"failed": failed or {}, "problem": None, "shadow": None}))


def test_versions_are_listed_with_what_they_are(penstock: Callable[..., tuple[int, str, str]], config: Path) -> None:
    """For people and for programs."""
    serving_control.write(config.parent / "models" / "digits", Control(pin="2", shadow=Shadow("10", 0.25)))
    code, out, _ = penstock("ls")
    assert code == 0
    assert "No worker of this model runs on this host" in out
    told = json.loads(penstock("ls", "--json")[1])
    assert {version["version"]: version["roles"] for version in told["versions"]} == {
        "11": ["incomplete"],
        "10": ["shadow"],
        "2": ["serving", "pinned"],
        "1": ["before"],
    }
    assert told["versions"][0]["lacks"] == "has no saved_model.pb"
    assert told["shadow"] == {"version": "10", "share": 0.25}


def test_pin_unpin_and_rollback_without_workers(penstock: Callable[..., tuple[int, str, str]], config: Path) -> None:
    """What was served before is remembered with the pin; without any memory it is the next one below."""
    assert penstock("rollback")[0] == 0
    assert _control(config) == Control(pin="2", previous="10")
    assert penstock("rollback")[0] == 0, "back again"
    assert _control(config) == Control(pin="10", previous="2")
    assert penstock("pin", "1")[0] == 0
    assert _control(config) == Control(pin="1", previous="10")
    assert penstock("unpin")[0] == 0
    assert _control(config) == Control(previous="10")


def test_rollback_goes_where_the_workers_were(penstock: Callable[..., tuple[int, str, str]], config: Path) -> None:
    """Version 2 was never served: it did not load. A dead worker's word counts for nothing."""
    _worker(config, pid=os.getpid(), serving="10", previous="1", failed={"2": "does not load"})
    _worker(config, pid=2**22 + 1, serving="10", previous="2")
    assert [worker["serving"] for worker in json.loads(penstock("ls", "--json")[1])["workers"]] == ["10"]
    code, out, _ = penstock("rollback")
    assert (code, _control(config)) == (0, Control(pin="1", previous="10"))
    assert "Rolled back from version 10 to 1" in out
    code, _, err = penstock("pin", "2")
    assert code == 2
    assert "w101 could not load it: does not load" in err


def test_a_shadow_is_ordered_and_called_off(penstock: Callable[..., tuple[int, str, str]], config: Path) -> None:
    """With its share; the pin is left alone."""
    penstock("pin", "1")
    assert penstock("shadow", "2", "--share", "0.5")[0] == 0
    assert _control(config) == Control(pin="1", previous="10", shadow=Shadow("2", 0.5))
    assert penstock("unshadow")[0] == 0
    assert _control(config) == Control(pin="1", previous="10")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pin", "7"), "version 7 is not in"),
        (("pin", "11"), "version 11 is not whole: has no saved_model.pb"),
        (("shadow", "10"), "version 10 is the one that is served"),
        (("shadow", "2", "--share", "1.5"), "shadow.share=1.5: must be above 0 and at most 1"),
    ],
)
def test_what_cannot_be_said_is_refused(
    penstock: Callable[..., tuple[int, str, str]], config: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Exit code 2, cause and cure, and nothing written."""
    code, _, err = penstock(*arguments)
    assert code == 2
    assert told in err
    assert not (config.parent / "models" / "digits" / "serving.json").exists()


def test_a_control_file_nobody_understands_is_named(
    penstock: Callable[..., tuple[int, str, str]], config: Path
) -> None:
    """It is not overwritten unread."""
    (config.parent / "models" / "digits" / "serving.json").write_text('{"pin": 3}')
    code, _, err = penstock("pin", "1")
    assert code == 2
    assert "serving.json: pin='3': must be a version's number in quotes" in err
    assert (config.parent / "models" / "digits" / "serving.json").read_text() == '{"pin": 3}'


# --- import


@pytest.mark.tensorflow
def test_a_keras_file_becomes_the_next_version_and_a_savedmodel_the_one_after(
    penstock: Callable[..., tuple[int, str, str]], config: Path, keras_files: Path
) -> None:
    """Whole, marked, described in the words of the wire; nothing else remains in the directory."""
    models = config.parent / "models" / "digits"
    code, out, _ = penstock("import", str(keras_files / "good.keras"))
    assert code == 0
    assert "Version 12 of digits" in out
    assert "in  x  FP32 [-1, 4]" in out
    assert "out  output_0  FP32 [-1, 2]" in out
    assert (models / "12" / MARKER).exists()
    code, out, _ = penstock("import", str(models / "12"), "--version", "40", "--json")
    assert code == 0
    assert json.loads(out)["inputs"] == {"x": "FP32 [-1, 4]"}
    assert sorted(path.name for path in models.iterdir()) == ["1", "10", "11", "12", "2", "40"]
    assert (models / "40").stat().st_mode & 0o055 == 0o055, "workers run under other users"


@pytest.mark.tensorflow
def test_several_inputs_and_outputs_keep_their_names(
    penstock: Callable[..., tuple[int, str, str]], keras_files: Path, tmp_path: Path
) -> None:
    """Written below another directory, which is made."""
    code, out, _ = penstock("import", str(keras_files / "two.keras"), "--to", str(tmp_path / "a" / "b"), "--json")
    assert code == 0
    told = json.loads(out)
    assert told["version"] == "1"
    assert told["inputs"] == {"left": "FP32 [-1, 4]", "right": "FP32 [-1, 2]"}
    assert told["outputs"] == {"sum": "FP32 [-1, 1]", "classes": "FP32 [-1, 3]"}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lambda.keras", "holds Python code (a Lambda layer), which safe mode refuses"),
        ("custom.keras", "needs the custom class 'Mine', which is not in the file"),
        ("cut.keras", "cannot be read: it is cut off, or no Keras 3 file"),
        ("junk.keras", "cannot be read: it is cut off, or no Keras 3 file"),
        ("model.h5", "is neither a .keras file nor a SavedModel directory"),
        ("nothing.keras", "is not there"),
        ("", "has no saved_model.pb"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(
    penstock: Callable[..., tuple[int, str, str]], keras_files: Path, tmp_path: Path, name: str, told: str
) -> None:
    """Exit code 2; not even the directory that would have been made."""
    code, out, err = penstock("import", str(keras_files / name), "--to", str(tmp_path / "new" / "model"))
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_version_that_is_there_is_never_replaced(penstock: Callable[..., tuple[int, str, str]], config: Path) -> None:
    """Results name versions: two contents under one number could not be told apart."""
    models = config.parent / "models" / "digits"
    code, _, err = penstock("import", str(models / "1"), "--version", "10")
    assert code == 2
    assert "10 is there already" in err


def test_a_savedmodel_that_does_not_load_is_not_imported(
    penstock: Callable[..., tuple[int, str, str]], config: Path
) -> None:
    """It is tried before it gets its place."""
    models = config.parent / "models" / "digits"
    shutil.rmtree(models / "11")
    code, _, err = penstock("import", str(models / "1"))
    assert code == 2
    assert f"{models / '1'} cannot be served: the model at {models / '1'} does not load" in err
    assert sorted(path.name for path in models.iterdir()) == ["1", "10", "2"]
