"""Each setting measured by a process of its own, one after another, and what follows from it."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from autoscaler.planning.service_fit import best_batch, fit_where_it_holds
from inference_workers.errors import ModelNotFound
from inference_workers.model_versions import newest_version
from penstock.bench.machine import machine, versions
from penstock.demo.surroundings import environment
from penstock.errors import InvalidInput, PenstockError
from penstock.profile.file import Profile, Setting
from penstock.profile.job import Measured
from penstock.profile.noise import doubts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from autoscaler.model import Objective
    from penstock.profile.job import Job


#: Seconds without a word from a measuring process after which it is given up: TensorFlow's import, or XLA for one large
#: batch, takes a minute on a machine that is busy. On top of what was asked to be measured, which may be one step.
SILENT_S = 180.0
#: Seconds that a process may take to end when it has told its result.
END_S = 30.0


class MeasuringFailed(PenstockError):
    """No setting could be measured."""

    exit_code = 70


def check_model(model: Path, version: str | None) -> str:
    """The version that is to be measured.

    Raises:
        InvalidInput: there is no such model or version.
    """
    try:
        found = newest_version(model).name if version is None else version
    except ModelNotFound as error:
        raise InvalidInput(str(error), "name a folder with versions in it, e.g. models/digits") from error
    if not (model / found / "saved_model.pb").is_file():
        raise InvalidInput(f"{model / found}: no saved_model.pb", "name a version that is there")
    return found


def profile(
    jobs: Sequence[Job], *, version: str, objective: Objective, tell: Callable[[int, str, float], None]
) -> Profile:
    """Measure all settings.

    Args:
        jobs: the settings, all of one model.
        version: its version.
        objective: what the best batch is chosen for.
        tell: is told the number of the setting, what is being done, and which part (0 to 1) of it is done.

    Raises:
        MeasuringFailed: not one of them could be measured.
        InvalidInput: even the fastest setting needs longer for one row than the objective allows.
    """
    settings, failed = [], []
    for number, job in enumerate(jobs):
        try:
            measured = _measure(job, functools.partial(tell, number))
        except MeasuringFailed as error:
            failed.append(error.cause)
            continue
        settings.append(_concluded(measured, objective))
    if not settings:
        raise MeasuringFailed("; ".join(failed), "mend what is named, or choose other settings")
    rates = [setting.best.rate_per_s if setting.best else 0.0 for setting in settings]
    if max(rates) <= 0:
        fastest = min(setting.fit.seconds(1) for setting in settings)
        raise InvalidInput(
            f"objective within {objective.within_s * 1000:g} ms: one row alone takes {fastest * 1000:.3g} ms, and a "
            "request may wait for one batch before its own",
            "allow more time",
        )
    return Profile(
        model=jobs[0].model,
        version=version,
        made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        machine={**machine(), **{f"{name} version": text for name, text in versions().items()}},
        objective=objective,
        settings=tuple(settings),
        chosen=rates.index(max(rates)),
        failed=tuple(failed),
    )


def _concluded(measured: Measured, objective: Objective) -> Setting:
    found = fit_where_it_holds(measured.sizes)
    cap = measured.job.emulated.max_batch if measured.job.emulated is not None else None
    sizes = [size.rows for size in measured.sizes if not size.held_out and (cap is None or size.rows <= cap)]
    told = list(doubts(measured.noise, os.cpu_count() or 1))
    if not found.holds:
        off = "not checked" if found.worst_held_out is None else f"off by {found.worst_held_out:.0%}"
        told.append(f"a + b*n does not foretell batch sizes it has not seen: {off}")
    return Setting(measured, found, best_batch(found, sizes, objective), tuple(told))


def _measure(job: Job, tell: Callable[[str, float], None]) -> Measured:
    command = [sys.executable, "-m", "penstock.profile.child", json.dumps(asdict(job))]
    given = environment(os.environ) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if job.xla:
        # Compiles for the CPU too, which TensorFlow leaves out unless asked.
        given["TF_XLA_FLAGS"] = "--tf_xla_cpu_global_jit"
    silent_s = SILENT_S + 3 * max(job.seconds, job.open_loop_s)
    what = f"{job.device}, {job.threads} threads{', XLA' if job.xla else ''}"
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, env=given
        ) as process:
            try:
                result = _follow(process, tell, silent_s)
            except queue.Empty:
                raise MeasuringFailed(
                    f"{what}: no sign of life for {silent_s:g} s, ended",
                    "free the machine's cores, or ask for less --seconds",
                ) from None
            finally:
                if process.poll() is None:
                    process.kill()
                # Also after Ctrl-C, which `with` would not wait for.
                process.wait()
        if result is None:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["no message"])[-1]
            raise MeasuringFailed(f"{what}: ended with code {process.returncode} ({last[:300]})", "see the message")
    return result


def _follow(process: subprocess.Popen[str], tell: Callable[[str, float], None], silent_s: float) -> Measured | None:
    """What the process found; `None` = it ended without a result.

    Raises:
        queue.Empty: it said nothing for `silent_s`.
    """
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        # Who gives up closes the pipe.
        with contextlib.suppress(ValueError):
            for line in process.stdout or ():
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="profile-lines", daemon=True).start()
    while (line := lines.get(timeout=silent_s)) is not None:
        try:
            told = json.loads(line)
        except ValueError:
            # Libraries print too.
            continue
        if "result" in told:
            found: Measured = TypeAdapter(Measured).validate_python(told["result"])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            return found
        tell(told["stage"], told["done"])
    return None
