"""A training from start to end: its process, what it takes of the machine, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from autoscaler.whole_file import write_whole
from penstock.demo.surroundings import environment
from penstock.errors import InvalidInput, PenstockError
from penstock.train import data as pictures
from penstock.train.job import Epoch, Job, Trained
from penstock.train.resources import ResourceWatch, used

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.train.resources import Sample, Used


class TrainingStopped(PenstockError):
    """The training's process ended before its end; what it has is kept."""

    exit_code = 70


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training took and brought."""

    job: Job
    epochs: tuple[Epoch, ...]
    trained: Trained
    #: Of this run; `None` = over before the first look.
    used: Used | None
    samples: tuple[Sample, ...]


def new_job(*, data: Path | None, to: Path, epochs: int, batch: int, seed: int, device: str, restart: bool) -> Job:
    """What is to be done; looks at the data and at what an unfinished training left.

    Raises:
        InvalidInput: the data cannot be trained on, or another training is unfinished there.
    """
    if data is None:
        digest = "digits"
    else:
        pictures.from_file(data, seed)
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
    numbers = [int(path.name) for path in to.glob("*") if path.name.isdecimal()] if to.is_dir() else []
    state = to / ".training"
    job = Job(
        data=None if data is None else str(data.resolve()), data_digest=digest, epochs=epochs, batch=batch, seed=seed,
        device=device, state=str(state), export=str(to / str(max(numbers, default=0) + 1)),
    )  # fmt: skip
    if restart:
        shutil.rmtree(state, ignore_errors=True)
    known = state / "job.json"
    if known.is_file() and json.loads(known.read_text(encoding="utf-8")) != job.identity:
        raise InvalidInput(
            f"{state}: a training with other data, --epochs, --batch or --seed is unfinished there",
            "give the same again to go on with it, or --restart",
        )
    return job


def train(job: Job, tell: Callable[[Epoch], None]) -> Outcome:
    """Train, or go on with what is unfinished.

    Args:
        job: see `new_job`.
        tell: is told each epoch; those of an earlier run first.

    Raises:
        TrainingStopped: the process ended on its own.
    """
    state = Path(job.state)
    write_whole(state / "job.json", json.dumps(job.identity) + "\n")
    history = state / "epochs.jsonl"
    command = [sys.executable, "-m", "penstock.train.child", json.dumps(asdict(job))]
    trained: Trained | None = None
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, env=environment(os.environ)
    ) as process, ResourceWatch(process.pid) as watch:  # fmt: skip
        try:
            for line in process.stdout or ():
                try:
                    told = json.loads(line)
                except ValueError:
                    # Libraries print too.
                    continue
                if "epoch" in told:
                    tell(TypeAdapter(Epoch).validate_python(told["epoch"]))
                elif "trained" in told:
                    trained = TypeAdapter(Trained).validate_python(told["trained"])
        finally:
            if trained is None and process.poll() is None:
                process.kill()
            # Also after Ctrl-C, which `with` would not wait for.
            process.wait()
        if trained is None:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["no message"])[-1]
            raise TrainingStopped(
                f"the training ended with code {process.returncode} ({last[:300]})", "run it again: it goes on"
            )
    epochs = tuple(TypeAdapter(Epoch).validate_json(line) for line in history.read_text(encoding="utf-8").splitlines())
    shutil.rmtree(state, ignore_errors=True)
    return Outcome(job, epochs, trained, used(watch.samples, trained.peak_bytes), tuple(watch.samples))
