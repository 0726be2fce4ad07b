"""The versions in one worker, with real models and the disk: what is loaded, swapped, kept and let go."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from inference_workers import model_set, serving_control
from inference_workers.device import Device
from inference_workers.errors import BrokenModel, ModelNotFound, RejectedInput
from inference_workers.model import ServedModel
from inference_workers.model_set import ModelSet
from inference_workers.model_versions import MARKER, Directory
from inference_workers.serving_control import Control, Shadow
from inference_workers.warming import warm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.tensorflow

_X = {"x": np.ones((1, 4), np.float32)}


@dataclass
class _World:
    """A model directory, and a worker's set of its versions, with a clock moved by hand."""

    root: Path
    times: Callable[[Path, float], Path]
    clock_s: float = 0.0
    loaded: list[str] = field(default_factory=list)

    def put(self, version: int) -> Path:
        """A version that multiplies by its own number, there all at once."""
        path = self.times(self.root / f".making-{version}", float(version))
        (path / MARKER).touch()
        return path.rename(self.root / str(version))

    def put_broken(self, version: int) -> Path:
        """A version whose variables are cut off."""
        data = self.put(version) / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-1])
        return self.root / str(version)

    def load(self, model_dir: Path, version: str) -> ServedModel:
        self.loaded.append(version)
        return ServedModel(model_dir, version)

    def start(self, *, pinned_models: int = 1) -> ModelSet:
        models = ModelSet(
            self.root,
            load=self.load,
            warm=lambda model: warm(model, Device(), (1, 2)),
            pinned_models=pinned_models,
            state_file=self.root.parent / "state.json",
            clock_s=lambda: self.clock_s,
            directory=Directory(self.root),
        )
        models.start()
        return models

    @property
    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root.parent / "state.json").read_text())
        return told


@pytest.fixture
def world(tmp_path: Path, times: Callable[[Path, float], Path]) -> _World:
    """A model directory with version 1."""
    (tmp_path / "model").mkdir()
    found = _World(tmp_path / "model", times)
    found.put(1)
    return found


def _answer(model: ServedModel) -> float:
    return float(model.run(_X)["y"][0, 0])


def _unavailable(models: ModelSet, version: str) -> str:
    with pytest.raises(RejectedInput) as caught:
        models.pinned(version)
    assert caught.value.code == "model-version-unavailable"
    return str(caught.value)


def test_a_new_version_is_warm_before_it_is_offered_and_served_after_the_swap(world: _World) -> None:
    """Until then the old one answers; afterwards it still does, for those who ask for it."""
    models = world.start()
    assert (models.current.version, [rows for rows, _ in models.timings]) == ("1", [1, 2])
    assert not models.swap_if_ready()
    world.put(2)
    models.look()
    assert models.current.version == "1"
    assert models.swap_if_ready()
    assert not models.swap_if_ready()
    assert (models.current.version, _answer(models.current)) == ("2", 2.0)
    assert _answer(models.pinned("1")) == 1.0
    assert world.loaded == ["1", "2"]


def test_only_two_versions_stay_in_memory(world: _World) -> None:
    """The one before the last is let go, by a thread that serves nothing."""
    models = world.start()
    for version in (2, 3):
        world.put(version)
        models.look()
        models.swap_if_ready()
    assert sorted(models.status()["loaded"]) == ["1", "2", "3"]
    models.look()
    assert sorted(models.status()["loaded"]) == ["2", "3"]
    shutil.rmtree(world.root / "2")
    models.look()
    assert sorted(models.status()["loaded"]) == ["3"], "the one before stays only while its folder is there"


def test_many_versions_one_after_the_other_need_the_memory_of_a_few(
    world: _World, export: Callable[..., Path], tf: Any
) -> None:
    """Each has 40 MB of variables: the last five would add 200 MB if they were kept."""
    shutil.rmtree(world.root / "1")

    def put(version: int) -> None:
        kept = tf.Variable(tf.fill([1000, 10_000], float(version)))
        path = export(
            world.root / ".making",
            lambda x: {"y": x * kept[0, 0]},
            {"x": tf.TensorSpec([None, 4], tf.float32)},
            kept=kept,
        )
        (path / MARKER).touch()
        path.rename(world.root / str(version))

    put(1)
    models = world.start()
    sizes = []
    for version in range(2, 10):
        put(version)
        shutil.rmtree(world.root / str(version - 1))
        models.look()
        assert models.swap_if_ready()
        assert _answer(models.current) == version
        models.look()
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    assert sizes[-1] - sizes[2] < 100, sizes


def test_a_version_on_its_way_is_not_loaded(world: _World) -> None:
    """Copied without its last file, looked at again and again; with it, it is served."""
    models = world.start()
    whole = world.times(world.root.parent / "elsewhere", 2.0)
    last = "variables/variables.data-00000-of-00001"
    shutil.copytree(whole, world.root / "2", ignore=shutil.ignore_patterns("variables.data*"))
    for _ in range(3):
        models.look()
        assert not models.swap_if_ready()
    shutil.copy(whole / last, world.root / "2" / last)
    models.look()
    assert not models.swap_if_ready(), "it may still be growing"
    (world.root / "2" / MARKER).touch()
    models.look()
    assert models.swap_if_ready()
    assert world.loaded == ["1", "2"]


def test_a_broken_version_changes_nothing_and_is_not_tried_again_until_it_changes(
    world: _World, caplog: pytest.LogCaptureFixture
) -> None:
    """Reported once, in the log and in the state; mended in place it is served."""
    models = world.start()
    caplog.set_level(logging.INFO)
    path = world.put_broken(2)
    for _ in range(3):
        models.look()
        assert not models.swap_if_ready()
    assert world.loaded == ["1", "2"]
    assert "does not load" in str(models.problem)
    assert "does not load" in world.state["failed"]["2"]
    assert [record.message for record in caplog.records].count("model.failed") == 1
    assert [record.message for record in caplog.records].count("model.problem") <= 2
    shutil.rmtree(path)
    world.put(2)
    models.look()
    assert models.swap_if_ready()
    models.look()
    assert (models.current.version, models.problem) == ("2", None)
    assert world.state["failed"] == {}


def test_a_version_that_loads_and_does_not_warm_changes_nothing(
    world: _World, export: Callable[..., Path], tf: Any
) -> None:
    """Its signature fits, its computation fails on every input."""
    models = world.start()

    def serve(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_greater(x, 1e9, message="never")]):
            return {"y": tf.identity(x)}

    export(world.root / "2", serve, {"x": tf.TensorSpec([None, 4], tf.float32)})
    (world.root / "2" / MARKER).touch()
    models.look()
    assert not models.swap_if_ready()
    assert "fails on zeros of its own signature" in str(models.problem)


def test_a_broken_release_keeps_no_worker_from_starting(world: _World) -> None:
    """It starts with the version below, and says why."""
    world.put_broken(2)
    models = world.start()
    assert models.current.version == "1"
    assert "does not load" in str(models.problem)


def test_a_worker_with_nothing_that_loads_does_not_start(world: _World) -> None:
    """The error is that of the newest version."""
    shutil.rmtree(world.root / "1")
    world.put_broken(1)
    world.put_broken(2)
    with pytest.raises(BrokenModel, match="model/2 does not load"):
        world.start()


def test_pin_and_unpin_lead_back_and_forth(world: _World) -> None:
    """While a version is pinned a newer one changes nothing; afterwards it is served."""
    world.put(2)
    models = world.start()
    serving_control.write(world.root, Control(pin="1"))
    models.look()
    assert models.swap_if_ready()
    world.put(3)
    models.look()
    assert not models.swap_if_ready()
    assert models.current.version == "1"
    serving_control.write(world.root, Control())
    models.look()
    assert models.swap_if_ready()
    assert models.current.version == "3"


def test_a_pin_to_nothing_keeps_what_is_served_and_stops_a_start(world: _World) -> None:
    """Whoever pinned wants that version and no other: a worker that has none yet does not guess."""
    models = world.start()
    serving_control.write(world.root, Control(pin="7"))
    models.look()
    assert not models.swap_if_ready()
    assert "version 7 is pinned, and is not there" in str(models.problem)
    with pytest.raises(ModelNotFound, match="version 7 is pinned"):
        world.start()


def test_a_control_file_nobody_can_read_changes_nothing(world: _World) -> None:
    """The pin of before holds on, also over a restart of the same slot."""
    world.put(2)
    serving_control.write(world.root, Control(pin="1"))
    models = world.start()
    (world.root / "serving.json").write_text("{")
    models.look()
    assert not models.swap_if_ready()
    assert "serving.json" in str(models.problem)
    assert world.state["serving"] == "1"
    again = world.start()
    assert again.current.version == "1"
    assert "serving.json" in str(again.problem)


def test_removing_a_version_takes_it_out_of_service(world: _World) -> None:
    """As with TensorFlow Serving; with nothing left, the last one is served from memory."""
    world.put(2)
    models = world.start()
    shutil.rmtree(world.root / "2")
    models.look()
    assert models.swap_if_ready()
    assert models.current.version == "1"
    shutil.rmtree(world.root / "1")
    models.look()
    assert not models.swap_if_ready()
    assert "served from memory" in str(models.problem)
    assert _answer(models.current) == 1.0


def test_a_request_pinned_to_a_version_on_disk_gets_it(world: _World) -> None:
    """Loaded once, kept while it is asked for, let go a minute after."""
    world.put(2)
    world.put(3)
    models = world.start()
    assert models.pinned("3") is models.current
    assert _answer(models.pinned("1")) == 1.0
    assert _answer(models.pinned("1")) == 1.0
    world.clock_s += model_set.PIN_REST_S - 1
    models.pinned("1")
    world.clock_s += model_set.PIN_REST_S - 1
    models.look()
    assert sorted(models.status()["loaded"]) == ["1", "3"]
    assert world.loaded == ["3", "1"]
    world.clock_s += 2
    models.look()
    assert sorted(models.status()["loaded"]) == ["3"]


def test_pins_load_no_more_than_is_allowed(world: _World) -> None:
    """The next one waits until the last has rested; a worker that allows none serves what it has."""
    world.put(2)
    world.put(3)
    models = world.start(pinned_models=1)
    models.pinned("1")
    assert "worker.pinned_models=1 are held for pinned requests already (1)" in _unavailable(models, "2")
    world.clock_s += model_set.PIN_REST_S + 1
    assert _answer(models.pinned("2")) == 2.0
    assert "worker.pinned_models=0" in _unavailable(world.start(pinned_models=0), "1")


def test_a_pin_to_what_cannot_be_had_fails_clearly(world: _World) -> None:
    """Not there, not whole, not loading: each is said, and a broken one is loaded once."""
    world.put_broken(5)
    (world.root / "6").mkdir()
    models = world.start()
    assert "this worker serves 1: there are 6, 5, 1" in _unavailable(models, "9")
    assert "version 6 is not whole" in _unavailable(models, "6")
    assert "does not load" in _unavailable(models, "5")
    assert "does not load" in _unavailable(models, "5")
    assert world.loaded.count("5") == 1


def test_a_version_pinned_by_requests_may_come_to_be_served(world: _World) -> None:
    """It is loaded once, and no longer counts as held for pins."""
    world.put(2)
    models = world.start()
    models.pinned("1")
    serving_control.write(world.root, Control(pin="1"))
    models.look()
    assert models.swap_if_ready()
    world.clock_s += model_set.PIN_REST_S + 1
    models.look()
    assert sorted(models.status()["loaded"]) == ["1", "2"]
    assert world.loaded == ["2", "1"]


def test_the_shadow_is_loaded_beside_and_let_go(world: _World) -> None:
    """Its share can be changed without loading it again."""
    world.put(2)
    serving_control.write(world.root, Control(pin="1", shadow=Shadow("2", 0.5)))
    models = world.start()
    assert models.shadow is not None
    assert (models.shadow.model.version, models.shadow.share, models.current.version) == ("2", 0.5, "1")
    serving_control.write(world.root, Control(pin="1", shadow=Shadow("2", 0.1)))
    models.look()
    assert models.shadow.share == 0.1
    assert world.loaded.count("2") == 1
    assert world.state["shadow"]["version"] == "2"
    serving_control.write(world.root, Control(pin="2", shadow=Shadow("2", 0.1)))
    models.look()
    models.swap_if_ready()
    models.look()
    assert models.shadow is None
    assert "is compared with nothing" in str(models.problem)
    serving_control.write(world.root, Control(pin="2", shadow=Shadow("9", 0.1)))
    models.look()
    assert "version 9 cannot be compared with: it is not there" in str(models.problem)


def test_a_swap_in_the_middle_of_traffic_mixes_nothing(world: _World) -> None:
    """One thread answers, another loads ten versions: answers never go back, and each is wholly of one version."""
    models = world.start()
    stop = threading.Event()
    answers: list[tuple[str, float]] = []
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            while not stop.is_set():
                models.swap_if_ready()
                model = models.current
                answers.append((model.version, _answer(model)))
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    for version in range(2, 8):
        world.put(version)
        models.look()
    stop.set()
    thread.join()
    assert not failures
    assert all(float(version) == value for version, value in answers)
    versions = [int(version) for version, _ in answers]
    assert versions == sorted(versions)
    assert set(versions) >= {1, 6}
