"""A benchmark from start to end: broker, model, every candidate in turn and again, and everything stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.bench.ground import Ground
from penstock.bench.machine import machine, peer_versions, versions
from penstock.bench.options import LOW_RATE, Options
from penstock.bench.rounds import Rounds
from penstock.demo.digits import Training
from penstock.local.paths import cache_directory
from penstock.local.progress import Bar
from penstock.local.services import LocalServices, status
from streams.kafka import Admin, KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from penstock.bench.rows import Row

__all__ = ["LOW_RATE", "Options", "Outcome", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

    rows: list[Row]
    machine: Mapping[str, str]
    #: What is wrong with our own rows: a wrong, lost or doubled answer.
    problems: tuple[str, ...]


def run(options: Options, console: Console) -> Outcome:
    """Measure.

    Raises:
        PenstockError: something that every row needs is missing or failed; what was started is stopped all the same.
    """
    root = options.directory.expanduser().resolve() / ".penstock" / "bench"
    root.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    before = machine()
    keep = options.keep
    try:
        with contextlib.ExitStack() as stack:
            models = cache_directory(os.environ, Path.home()) / "models"
            with Training(models) as training, Bar(console) as bar:
                services = stack.enter_context(LocalServices.start(directory, progress=bar, ephemeral=True, lean=False))
                digits = training.result()
            broker = status(directory).kafka.pid
            admin = stack.enter_context(Admin(KafkaSettings(bootstrap_servers=services.bootstrap), "bench"))
            rounds = Rounds(Ground(options, directory, digits, services.bootstrap, broker or 0, admin), console)
            rounds.measure()
        keep = keep or rounds.failed
    except BaseException:
        keep = True
        raise
    finally:
        if keep:
            console.print(f"Logs of this run: {directory}", soft_wrap=True, highlight=False, markup=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    known = {**peer_versions(), **versions()}
    foreign = {**versions(), **peer_versions()}
    rows = [
        row
        for one in rounds.measured.values()
        for row in one.rows(foreign if one.candidate.foreign else known, LOW_RATE)
    ]
    return Outcome(rows, before, tuple(rounds.problems))
