"""The demo's model: a small CNN trained on the spot on scikit-learn's real handwritten digits.

TensorFlow takes seconds and 400 MB to import, so the training runs in a process of its own (`python -m
penstock.demo.train_digits`); its result is kept by what it was made from, and a second demo starts at once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from penstock.demo.errors import TrainingFailed
from penstock.demo.surroundings import environment

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


class Training:
    """The making of the model, in a process of its own, from the cache when the same was made before.

    Args:
        cache: directory for trained models; created.
        seed: of the split, the initial weights and the batches.
    """

    def __init__(self, cache: Path, seed: int = 0) -> None:
        self._target = cache / f"digits-{_key(seed)}"
        self._process: subprocess.Popen[str] | None = None
        self._began_s = time.monotonic()
        if (self._target / "facts.json").is_file():
            return
        cache.mkdir(parents=True, exist_ok=True)
        # Beside the target and moved in place as a whole: a killed training leaves nothing that looks finished.
        self._scratch = Path(tempfile.mkdtemp(prefix=".training-", dir=cache))
        command = [sys.executable, "-m", "penstock.demo.train_digits", str(self._scratch / "made"), str(seed)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(os.environ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def result(self) -> Digits:
        """Wait for the model.

        Raises:
            TrainingFailed: the training ended with an error or took too long.
        """
        if self._process is not None:
            self._await(self._process)
        with np.load(self._target / "held_out.npz", allow_pickle=False) as saved:
            images, labels, expected = saved["images"], saved["labels"], saved["expected"]
        facts = json.loads((self._target / "facts.json").read_text(encoding="utf-8"))
        model = self._target / "models" / "digits"
        return Digits(model, images, labels, expected, facts["accuracy"], trained_now=self._process is not None)

    def stop(self) -> None:
        """End a training that still runs; what it has written goes."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _await(self, process: subprocess.Popen[str]) -> None:
        try:
            _, said = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            cause = f"training the digits model took more than {TIMEOUT_S:g} s"
            raise TrainingFailed(cause, "free the machine's cores and run the demo again") from error
        if process.returncode:
            last = (said.strip().splitlines() or ["no message"])[-1]
            cause = f"training the digits model ended with code {process.returncode} ({last[:300]})"
            raise TrainingFailed(cause, "pip install 'penstock[all]' and run the demo again")
        try:
            (self._scratch / "made").rename(self._target)
        except OSError:
            # Another demo has put its own there meanwhile: the same, by the key.
            if not (self._target / "facts.json").is_file():
                raise
        took_s = round(time.monotonic() - self._began_s, 1)
        log.info("demo.model_trained", extra={"seconds": took_s, "directory": str(self._target)})


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
