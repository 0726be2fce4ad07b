"""The demo's model: a small CNN trained on the spot on scikit-learn's real handwritten digits.

TensorFlow takes seconds and 400 MB to import, so the training runs in a process of its own (`python -m
penstock.demo.train_digits`); its result is kept by what it was made from, and a second demo starts at once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.demo.errors import TrainingFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

#: The script that trains; its text is part of the cache's key.
TRAINER = Path(__file__).with_name("train_digits.py")

#: Name of the model's one input: FP32 [-1, 8, 8, 1], grey values from 0 to 1.
INPUT = "image"

#: Name of its one output: FP32 [-1, 10].
OUTPUT = "probabilities"

#: Longest training, in seconds: it takes about ten on two cores.
TIMEOUT_S = 300.0

#: Distributions whose version changes the model or the pictures.
MADE_WITH = ("numpy", "scikit-learn", "tensorflow", "tensorflow-cpu")


@dataclass(frozen=True, slots=True)
class Digits:
    """The exported model and the pictures that it has never seen."""

    #: Directory that holds the versions, as TensorFlow Serving lays it out: `<model>/1/saved_model.pb`.
    model: Path
    #: Held-out pictures, FP32 [n, 8, 8, 1].
    images: NDArray[np.float32]
    #: What they show, [n], 0 to 9.
    labels: NDArray[np.int64]
    #: What the exported model itself answers for them, FP32 [n, 10].
    expected: NDArray[np.float32]
    #: Share of the held-out pictures that the model gets right.
    accuracy: float
    #: False = taken from an earlier run.
    trained_now: bool


def ensure_digits(cache: Path, *, seed: int = 0) -> Digits:
    """The trained model, from the cache when the same was trained before.

    Args:
        cache: directory for trained models; created.
        seed: of the split, the initial weights and the batches.

    Raises:
        TrainingFailed: the training ended with an error or took too long.
    """
    target = cache / f"digits-{_key(seed)}"
    trained_now = not (target / "facts.json").is_file()
    if trained_now:
        _train(target, seed)
    with np.load(target / "held_out.npz") as saved:
        images, labels, expected = saved["images"], saved["labels"], saved["expected"]
    facts = json.loads((target / "facts.json").read_text(encoding="utf-8"))
    return Digits(target / "models" / "digits", images, labels, expected, facts["accuracy"], trained_now)


def _train(target: Path, seed: int) -> None:
    """Train beside the target and move the whole in place: a killed training leaves nothing that looks finished."""
    target.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".training-", dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        command = [sys.executable, "-m", "penstock.demo.train_digits", str(made), str(seed)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            cause = f"training the digits model took more than {TIMEOUT_S:g} s"
            raise TrainingFailed(cause, "free the machine's cores and run the demo again") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            cause = f"training the digits model ended with code {done.returncode} ({last[:300]})"
            raise TrainingFailed(cause, "install the extras with `pip install penstock[all]` and run the demo again")
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    log.info("demo.model_trained", extra={"seconds": round(time.monotonic() - started, 1), "directory": str(target)})


def _key(seed: int) -> str:
    """What the model is made from: the script, the libraries and the seed."""
    digest = hashlib.sha256(TRAINER.read_bytes())
    for name in MADE_WITH:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "none"
        digest.update(f"{name}={version}\n".encode())
    digest.update(f"seed={seed}".encode())
    return digest.hexdigest()[:16]
