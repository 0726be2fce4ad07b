"""The process under measurement: how it is started and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from penstock.bench.candidates import PENSTOCK, Candidate
from penstock.bench.errors import CandidateFailed
from penstock.demo.surroundings import environment
from streams.kafka.settings import LIBRDKAFKA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.bench.kafka_side import Topics

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"
#: Where `make bench` installs the libraries of others.
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
#: Seconds from SIGTERM to SIGKILL: what is measured is over by then.
STOP_S = 8.0
#: Last characters of a log that an error message quotes.
QUOTED = 600


def absent(candidate: Candidate) -> str | None:
    """Why a candidate cannot be run here; `None` = it can."""
    if candidate.program.startswith("peer:") and not (PEERS / candidate.program.removeprefix("peer:")).is_file():
        return "not installed: the programs of the peers are in the source tree; run make bench there"
    if candidate.client == LIBRDKAFKA and find_spec("confluent_kafka") is None:
        return "not installed: pip install 'penstock[librdkafka]'"
    if candidate.foreign and not PEERS_PYTHON.is_file():
        return "not installed: run make bench"
    return None


def worker_toml(topics: Topics, bootstrap: str, model: Path, candidate: Candidate, extra: Mapping[str, str]) -> str:
    """Settings of our worker: the defaults, but for where things are, the delivery, and what was asked for."""
    sections: dict[str, dict[str, str]] = {
        "pipeline": {"name": json.dumps(topics.pipeline), "model": json.dumps(str(model))},
        "kafka": {"bootstrap_servers": json.dumps(bootstrap), "library": json.dumps(candidate.client)},
        "worker": {"delivery": json.dumps(candidate.delivery)},
    }
    for name, value in extra.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    return "".join(
        f"[{section}]\n" + "".join(f"{field} = {value}\n" for field, value in fields.items())
        for section, fields in sections.items()
    )


class Child:
    """One candidate in a session of its own. Its log is in `directory`.

    Args:
        candidate: what to run.
        topics: of this run.
        bootstrap: where Kafka is.
        model: `models/digits`, with version 1 in it.
        directory: of this run; created.
        extra: `section.field` -> TOML value, for our worker.
        told: more for the program's job.
        profile: have our worker's threads sampled into `profile.txt`.
    """

    def __init__(
        self,
        candidate: Candidate,
        *,
        topics: Topics,
        bootstrap: str,
        model: Path,
        directory: Path,
        extra: Mapping[str, str] | None = None,
        told: Mapping[str, Any] | None = None,
        profile: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = candidate.label
        self.log_path = directory / "log.txt"
        slot = f"{topics.pipeline}-cpu-0"
        python = str(PEERS_PYTHON) if candidate.foreign else sys.executable
        if candidate.program == PENSTOCK:
            config = directory / "penstock.toml"
            config.write_text(worker_toml(topics, bootstrap, model, candidate, extra or {}), encoding="utf-8")
            run = ["-m", "penstock.bench.sampled", str(directory / "profile.txt")] if profile else ["-m", "penstock"]
            command = [python, *run, "worker", "--config", str(config), "--slot", slot]
        else:
            job = {
                "bootstrap": bootstrap,
                "requests": topics.requests,
                "results": topics.results,
                "group": f"bench.{topics.pipeline}",
                "slot": slot,
                "model": str(model / "1"),
                "encoding": candidate.encoding,
                "rows": candidate.rows,
                "state": str(directory),
                "variant": candidate.variant,
                **(told or {}),
            }
            kind, _, what = candidate.program.partition(":")
            program = ["-m", what] if kind == "module" else [str(PEERS / what)]
            command = [python, *program, json.dumps(job)]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=_surroundings(foreign=candidate.foreign),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Refuse to go on without it.

        Raises:
            CandidateFailed: it has ended.
        """
        code = self.process.poll()
        if code is not None:
            raise CandidateFailed(f"{self.name} ended with code {code}: {self.said()}", f"read {self.log_path}")

    def said(self) -> str:
        """The end of its log."""
        return self.log_path.read_text(encoding="utf-8", errors="replace").strip()[-QUOTED:]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL, for it and what it started."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _surroundings(*, foreign: bool) -> dict[str, str]:
    given = environment(os.environ)
    given["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Seen by TensorFlow as "no GPU": the rows are to differ by what is around the model, not by the device.
    given["CUDA_VISIBLE_DEVICES"] = "-1"
    if foreign:
        del given["PYTHONPATH"]
    return given
