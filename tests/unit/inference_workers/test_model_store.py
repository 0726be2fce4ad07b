"""What is held in memory of versions, and let go."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from inference_workers.errors import BrokenModel
from inference_workers.model_store import ModelStore
from inference_workers.model_versions import Version

if TYPE_CHECKING:
    from pathlib import Path


class Graph:
    """Refers to itself, as TensorFlow's do."""

    def __init__(self) -> None:
        self.me = self


def test_a_version_that_does_not_warm_is_let_go(tmp_path: Path) -> None:
    """Its weights would stay beside those that are served, and the next version might find no room."""
    loaded: list[weakref.ref[Graph]] = []

    def load(_root: Path, _name: str) -> Any:
        graph = Graph()
        loaded.append(weakref.ref(graph))
        return graph

    def warm(model: Any) -> Any:
        raise BrokenModel(f"{type(model).__name__} does not warm")

    store = ModelStore(tmp_path, load=load, warm=warm)
    version = Version(2, tmp_path / "2", (), None, marked=True, settling=False, changed_at_s=0.0)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(BrokenModel) as caught:
            store.load(version)
        del caught
        assert loaded[0]() is not None, "nothing else would free it"
        store.release(keep=())
        assert loaded[0]() is None
    finally:
        gc.enable()
    assert store.failed[2].reason == "Graph does not warm"
