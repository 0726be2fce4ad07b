"""A load test from start to end: who serves, the ramp, what it says, and what was foretold."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.model import WorkerReport, WorkerState, WorkerType
from autoscaler.simulation.fleet import latencies_s
from penstock.demo.surroundings import environment
from penstock.errors import InvalidInput, PenstockError
from penstock.loadtest.ramp import (
    ARREARS_S,
    Member,
    due_times,
    foretold,
    highest_in_time,
    knee,
    per_request,
    read_steps,
)
from streams import telemetry, topics
from streams.errors import MalformedTelemetry
from streams.kafka import Admin, new_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from autoscaler.model import ServiceCurve
    from penstock.loadtest.ramp import Knee, Step
    from penstock.settings import Settings

#: Longest wait for a report of each worker, in seconds: they come about once a second.
REPORTS_S = 15.0
#: Seconds for which reports are gathered after the first one.
GATHER_S = 2.5
#: Seconds from the word to start to the first request.
LEAD_S = 0.3
#: Most requests of a ramp.
MOST_REQUESTS = 5_000_000
#: Reads the model's signature and writes one input of the right form; TensorFlow takes seconds, so elsewhere.
_SAMPLE = (
    "import sys, pathlib, numpy as np\n"
    "from inference_workers.model import ServedModel, configure_tensorflow\n"
    "configure_tensorflow(1, gpu=None)\n"
    "np.savez(sys.argv[2], **{n: (a.astype('U') if a.dtype == object else a) for n, a in "
    "ServedModel(pathlib.Path(sys.argv[1])).sample(1).items()})\n"
)


class LoadTestFailed(PenstockError):
    """The load could not be sent, or nobody serves the pipeline."""

    exit_code = 69


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test found."""

    members: tuple[Member, ...]
    partitions: int
    #: Rows of each request; rates are of requests.
    rows: int
    steps: tuple[Step, ...]
    knee: Knee | None
    #: By the curves that workers report now, and by those that the settings (or a profile) state, requests a second;
    #: `None` = partitions without an owner.
    foretold_per_s: float | None
    stated_per_s: float | None
    highest_in_time_per_s: float | None
    #: The rate at which the generator gave up; `None` = it did not.
    gave_up_at_per_s: float | None
    #: Of a request besides waiting and service, in seconds: what a plan calls overhead. Median of the first step less
    #: that of the same moments replayed with the workers' curve.
    overhead_s: float
    requests: int
    unanswered: int
    #: 99th percentile of how late the generator itself was, in seconds; it counts as latency.
    late_p99_s: float


@dataclass(frozen=True, slots=True, eq=False)
class TrafficLog:
    """What became of requests."""

    #: The first so many were sent; the arrays are of those.
    sent: int
    #: When each answer could be read, in seconds after the start, (sent,); NaN = never.
    seen_s: NDArray[np.float64]
    #: How late each was handed to the Kafka client, in seconds, (sent,).
    late_s: NDArray[np.float64]
    #: Whether the generator was so late that it ended.
    gave_up: bool


def inputs_of(path: Path | None, model: Path) -> dict[str, NDArray[Any]]:
    """What to ask: arrays by input name with rows first, from a file, or zeros of the model's own signature.

    Raises:
        InvalidInput: the file cannot be read, or its arrays have no or different rows.
        LoadTestFailed: the model does not load.
    """
    if path is not None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path}: {error}", "give an .npz file with an array for each input") from error
    else:
        with tempfile.TemporaryDirectory() as place:
            target = Path(place) / "sample.npz"
            done = subprocess.run(
                [sys.executable, "-c", _SAMPLE, str(model), str(target)], env=environment(os.environ),
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise LoadTestFailed(f"the model {model}: {last[:300]}", "give --input FILE.npz")
            with np.load(target, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
    rows = {len(array) if array.ndim else 0 for array in found.values()}
    if len(rows) != 1 or 0 in rows:
        raise InvalidInput(f"{path}: arrays with {sorted(rows)} rows", "give each input as many rows, at least one")
    return found


def stated_curves(kinds: Sequence[WorkerType]) -> dict[str, ServiceCurve]:
    """Curves by worker type that somebody has stated: the default stands for "not known yet" and foretells nothing."""
    unknown = WorkerType().curve
    return {kind.name: kind.curve for kind in kinds if kind.device == "emulated" or kind.curve != unknown}


def members(tree: Settings) -> tuple[tuple[Member, ...], int]:
    """Who serves the pipeline now, by their own reports; and the partitions of its requests topic.

    Raises:
        LoadTestFailed: nobody does.
        StreamsError: Kafka cannot be reached, or a topic is missing.
    """
    requests = topics.requests(tree.pipeline.name)
    with Admin(tree.kafka, "penstock-loadtest") as admin:
        partitions = admin.partitions(requests) or 0
    found: dict[str, WorkerReport] = {}
    reader = new_reader(tree.kafka, [topics.TELEMETRY], client_id="penstock-loadtest")
    try:
        until_s = time.monotonic() + REPORTS_S
        while time.monotonic() < until_s:
            for record in (one for batch in reader.poll(timeout_ms=200).values() for one in batch):
                with contextlib.suppress(MalformedTelemetry):
                    said = telemetry.decode(record.value)
                    if isinstance(said, WorkerReport) and said.pipeline == tree.pipeline.name:
                        if not found:
                            until_s = min(until_s, time.monotonic() + GATHER_S)
                        found[said.worker] = said
    finally:
        reader.close()
    serving = [said for said in found.values() if said.state is WorkerState.READY and said.partitions]
    if not serving:
        raise LoadTestFailed(
            f"no worker of {tree.pipeline.name} says that it is ready", "start workers, then test again"
        )
    stated = {kind.name: kind.curve for kind in tree.worker_types}
    return tuple(
        Member(
            said.worker, said.curve or stated.get(said.worker_type) or tree.worker_types[0].curve, len(said.partitions)
        )
        for said in sorted(serving, key=lambda said: said.worker)
    ), partitions


def run(
    tree: Settings, config: Path, inputs: Mapping[str, NDArray[Any]], *, rates: tuple[float, ...], step_s: float,
    seed: int, stated: Mapping[str, ServiceCurve], tell: Callable[[str, int, int, int], None], rows: int = 1,
) -> Outcome:  # fmt: skip
    """Send the ramp.

    Args:
        tree: settings of the pipeline.
        config: their file, for the generator.
        inputs: what to ask, see `inputs_of`.
        rates: of the steps, requests a second.
        step_s: seconds a step.
        seed: of the moments.
        stated: curves by worker type that a plan was made with.
        tell: is told the phase, how many were sent, answered, and are to be sent in all.
        rows: of each request.

    Raises:
        LoadTestFailed: nobody serves, or the generator died.
        StreamsError: Kafka cannot be reached.
    """
    _, partitions = members(tree)
    due_s = due_times(rates, step_s, seed)
    log = send(
        config, inputs, due_s, rates=rates, step_s=step_s, rows=rows, most_late_s=ARREARS_S,
        tell=lambda phase, sent, answered: tell(phase, sent, answered, len(due_s)),
    )  # fmt: skip
    sent, seen_s = log.sent, log.seen_s
    # After the ramp each worker knows its curve.
    after = tuple(replace(member, curve=per_request(member.curve, rows)) for member in members(tree)[0])
    steps = read_steps(
        due_s[:sent], seen_s, rates, step_s, tree.pipeline.objective.within_s, late_s=log.late_s, gave_up=log.gave_up
    )
    first = due_s[:sent] < step_s
    replayed = latencies_s(
        due_s[:sent][first], np.arange(sent)[first] % partitions, partitions=partitions, workers=len(after),
        curve=after[0].curve,
    )  # fmt: skip
    named = tuple(
        replace(member, curve=per_request(curve, rows))
        for member in after
        if (curve := next((c for name, c in stated.items() if f"-{name}-" in member.name), None)) is not None
    )
    return Outcome(
        members=after, partitions=partitions, rows=rows, steps=steps, knee=knee(steps, seen_s, step_s),
        foretold_per_s=foretold(after, partitions), stated_per_s=foretold(named, partitions) if named else None,
        highest_in_time_per_s=highest_in_time(steps, tree.pipeline.objective.share),
        gave_up_at_per_s=rates[int(due_s[sent - 1] / step_s)] if log.gave_up else None,
        overhead_s=max(0.0, steps[0].p50_s - float(np.median(replayed))) if steps else 0.0,
        requests=sent, unanswered=int(np.isnan(seen_s).sum()),
        late_p99_s=float(np.quantile(log.late_s, 0.99)) if sent else 0.0,
    )  # fmt: skip


def send(
    config: Path, inputs: Mapping[str, NDArray[Any]], due_s: NDArray[np.float64], *, rates: Sequence[float],
    step_s: float, partition_of: NDArray[np.integer[Any]] | None = None, begins: Callable[[float], None] | None = None,
    rows: int = 1, most_late_s: float = math.inf, tell: Callable[[str, int, int], None],
) -> TrafficLog:  # fmt: skip
    """Send requests at their moments from a process of its own, and note when each answer could be read.

    Args:
        config: settings file of the pipeline.
        inputs: what to ask, see `inputs_of`.
        due_s: when each request is due, in seconds after the start, ascending, (n,).
        rates: of the steps, requests a second: what "hopelessly behind" is measured by.
        step_s: seconds a step.
        partition_of: partition of each request, (n,); round all of them by default.
        begins: is told the start as Unix time, just before it.
        rows: of each request, taken from `inputs` one after the other and over again.
        most_late_s: seconds by which the generator may be late before it gives up.
        tell: is told the phase, how many were sent, and how many answered.

    Raises:
        LoadTestFailed: the generator died.
    """
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        prefix = f"load-{uuid.uuid4().hex[:8]}-"
        words = {
            "config": str(config.resolve()), "rates": tuple(rates), "step_s": step_s, "prefix": prefix, "rows": rows,
            "most_late_s": most_late_s,
        }  # fmt: skip
        (directory / "plan.json").write_text(json.dumps(words), encoding="utf-8")
        arrays_of: dict[str, Any] = {f"input.{name}": array for name, array in inputs.items()}
        if partition_of is not None:
            arrays_of["partition_of"] = partition_of
        np.savez(directory / "plan.npz", due_s=due_s, **arrays_of)
        _traffic(directory, begins or (lambda _: None), tell)
        with np.load(directory / "log.npz", allow_pickle=False) as arrays:
            return TrafficLog(int(arrays["sent"]), arrays["seen_s"], arrays["late_s"], bool(arrays["gave_up"]))


def _traffic(directory: Path, begins: Callable[[float], None], tell: Callable[[str, int, int], None]) -> None:
    command = [sys.executable, "-m", "penstock.loadtest.traffic", str(directory)]
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment(os.environ)
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                if told["phase"] == "ready" and process.stdin is not None:
                    start_s = time.time() + LEAD_S
                    process.stdin.write(f"{start_s}\n")
                    process.stdin.flush()
                    begins(start_s)
                tell(told["phase"], told["sent"], told["received"])
        finally:
            if process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
            # Also after Ctrl-C, which `with` would not wait for.
            process.wait()
        if process.wait() or not (directory / "log.npz").is_file():
            said.seek(0)
            last = (said.read().strip().splitlines() or ["no message"])[-1]
            raise LoadTestFailed(
                f"the load generator ended with code {process.returncode}: {last[:300]}", "see the message"
            )
