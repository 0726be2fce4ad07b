"""Real models, exported on the spot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow, told to be quiet before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow  # noqa: PLC0415, ICN001 - seconds of import, for tests of models only

    return tensorflow


@pytest.fixture(scope="session")
def export(tf: Any) -> Callable[..., Path]:
    """Exports a function of tensors as a version, with what it keeps in variables and tables."""

    def write(path: Path, function: Any, specs: dict[str, Any], **kept: Any) -> Path:
        module = tf.Module()
        for name, value in kept.items():
            setattr(module, name, value)
        module.serve = tf.function(function, autograph=False)
        signature = module.serve.get_concrete_function(
            *[tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
        )
        tf.saved_model.save(module, str(path), signatures={"serving_default": signature})
        return path

    return write


@pytest.fixture(scope="session")
def times(tf: Any, export: Callable[..., Path]) -> Callable[[Path, float], Path]:
    """Exports y = factor * x over four columns: which version answered can be seen from the answer."""

    def write(path: Path, factor: float) -> Path:
        kept = tf.Variable(factor)
        return export(path, lambda x: {"y": kept * x}, {"x": tf.TensorSpec([None, 4], tf.float32)}, kept=kept)

    return write
