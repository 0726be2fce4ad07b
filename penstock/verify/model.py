"""The model of a verification: y = 2 x, a real SavedModel, made in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from penstock.verify.errors import CannotVerify

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = """
import sys, tensorflow as tf
class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": 2.0 * x}
module = Doubling()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})
"""
#: It takes five on an idle machine.
_TIMEOUT_S = 300.0


def build(directory: Path) -> Path:
    """Write version 1 of the model; its directory.

    Raises:
        CannotVerify: TensorFlow is not installed, or fails.
    """
    target = directory / "doubling"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(target / "1")],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotVerify(
            f"making the model took longer than {_TIMEOUT_S:g} s", "try again when the machine is less busy"
        ) from error
    if done.returncode:
        raise CannotVerify(
            f"the model could not be made: {done.stderr.strip()[-400:]}", "pip install 'penstock[worker]'"
        )
    return target
