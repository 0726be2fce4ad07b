"""The live side: embedded broker and Redis, workers with emulated devices, the autoscaler with a policy, the load."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.actuators.launchers import SubprocessLauncher
from autoscaler.actuators.processes import ProcessActuator
from autoscaler.model import ArrivalSample, WorkerReport, WorkerState
from autoscaler.simulation.run import first_fleet
from penstock.demo.children import Autoscaler, Traffic
from penstock.demo.errors import NotReady
from penstock.demo.history import history
from penstock.demo.surroundings import environment
from penstock.demo.traffic import TrafficLog, TrafficPlan
from penstock.demo.watch import Watch
from penstock.fidelity import events
from penstock.fidelity.setting import INPUT, PIPELINE, settings_toml
from penstock.fidelity.sides import Side
from penstock.local.services import LocalServices
from penstock.template_launcher import TemplateLauncher
from streams import telemetry, topics
from streams.kafka.admin import Admin
from streams.kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.fidelity.setting import Setting

#: Longest wait for the first workers, for the autoscaler, and seconds without any result after which the rest is lost.
READY_S, OWNER_S, QUIET_S = 240.0, 120.0, 60.0
#: Seconds between two looks.
LOOK_S = 0.5
#: Seconds by which a look may be late.
_LATE_LOOK_S = 0.2
#: File of the kept tape.
_TAPE = "telemetry.jsonl"
#: An epoch before any claim: the first fleet is nobody's decision.
_NOBODY = -1


def run_live(made: Setting, rule: str, model: Path, *, keep: Path, tell: Callable[[str], None]) -> Side:
    """One live run of a policy. The first fleet is the simulator's, ready before the load begins.

    Args:
        made: The comparison.
        rule: The policy, as `autoscaler.policy` has it.
        model: Directory with a model of y = 2 x.
        keep: Where the logs and the tape of the run are left.
        tell: Is told how far it is.

    Raises:
        PenstockError: something is missing or failed; what was started is stopped all the same.
        KafkaFailure: likewise.
    """
    keep.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-fidelity-")))
        services = stack.enter_context(LocalServices.start(directory, ephemeral=True))
        kafka = KafkaSettings(bootstrap_servers=services.bootstrap)
        with Admin(kafka, PIPELINE) as admin:
            topics.ensure_topics(admin, PIPELINE, topics.TopicSettings(partitions=made.scenario.partitions))
        config = directory / "penstock.toml"
        config.write_text(
            settings_toml(
                made, rule, model=model, bootstrap=services.bootstrap, redis_url_file=services.redis_url_file
            ),
            encoding="utf-8",
        )
        _plan(made, services.bootstrap).save(directory)
        watch = stack.enter_context(contextlib.closing(Watch(kafka, services.redis_url, PIPELINE)))
        stack.callback(_keep, directory, keep, watch)
        actuator = ProcessActuator(PIPELINE, directory / "state", ("{slot}",))
        # The first workers are on nobody's leash until the autoscaler is there.
        stack.callback(actuator.stop_workers)
        traffic = Traffic(directory, keep)
        stack.callback(traffic.stop, 5.0)
        fleet = first_fleet(made.load, made.scenario)
        _first_workers(config, directory / "state", fleet, watch, made.scenario.partitions, keep)
        tell(f"{rule}: {sum(fleet.values())} workers ready, the autoscaler starts")
        autoscaler = Autoscaler(config, directory / "state", keep, PIPELINE)
        stack.callback(autoscaler.stop)
        _await_sample(watch, autoscaler, traffic)
        traffic.go()
        _await_end(made, rule, watch, autoscaler, traffic, tell)
        traffic.result()
        watch.read_rest()
    return kept(made, rule, keep)


def kept(made: Setting, rule: str, keep: Path) -> Side:
    """The side that a live run has left behind.

    Args:
        made: The comparison that it was a part of.
        rule: Its policy.
        keep: Where its logs and its tape are.

    Raises:
        NotReady: there are none, or of another load.
    """
    load = made.load
    try:
        log = TrafficLog.load(keep)
        tape = [telemetry.decode(line) for line in (keep / _TAPE).read_bytes().splitlines()]
    except OSError as error:
        raise NotReady(f"no live run was kept in {keep}: {error.strerror}", "run it there first") from error
    if log.received_at_s.shape != load.arrivals_s.shape:
        raise NotReady(
            f"the live run in {keep} had {log.received_at_s.size} requests, and this load has {load.arrivals_s.size}",
            "give the options that it was run with",
        )
    said = events.read(path.read_text(encoding="utf-8", errors="replace") for path in sorted(keep.glob("*.log")))
    began_s = log.started_at_s
    until_s = began_s + load.length_s
    found = events.lives(said, until_s)
    running, ready = events.counts(found, began_s, load.length_s)
    pauses = events.pauses_s([event for event in said if event.at_s < until_s])
    boots = [life.ready_s - life.asked_s for life in found if life.ready_s is not None and life.asked_s > began_s]
    looks = [record.at_s for record in tape if isinstance(record, ArrivalSample)]
    return Side(
        policy=rule,
        side="live",
        latencies_s=np.nan_to_num(log.received_at_s - began_s - load.arrivals_s, nan=np.inf),
        running=running,
        ready=ready,
        worker_seconds=events.worker_seconds(found, began_s + made.scenario.warm_up_s, until_s),
        changes_s=tuple(change.at_s for change in history(tape, [], began_s, PIPELINE).changes),
        facts={
            "boot_s": _middle(boots),
            "boots": len(boots),
            "pause_s": _middle(pauses),
            "partitions_moved": len(pauses),
            "looked_before_s": round(began_s - looks[0], 6),
            # What the machine did with its time: looks of once a second that were late, requests that were.
            "looks_late": int(np.sum(np.diff(looks) > 1 + _LATE_LOOK_S)),
            "sender_late_p99_ms": log.lateness_p99_ms(load.arrivals_s),
            "unanswered": int(np.isnan(log.received_at_s).sum()),
        },
    )


def _middle(values: list[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None


def _plan(made: Setting, bootstrap: str) -> TrafficPlan:
    load = made.load
    rows = np.random.default_rng(made.scenario.seed).random((load.arrivals_s.size, 4), dtype=np.float32)
    return TrafficPlan(bootstrap, PIPELINE, QUIET_S, load.arrivals_s, rows, INPUT, load.partition_of)


def _first_workers(  # noqa: PLR0917 - used once, above
    config: Path, state_dir: Path, fleet: dict[str, int], watch: Watch, partitions: int, keep: Path
) -> None:
    """Start the first fleet and wait until it owns all partitions evenly."""
    worker = [sys.executable, "-m", "penstock", "worker", "--config", str(config), "--slot", "{slot}"]
    launcher = TemplateLauncher(SubprocessLauncher())
    try:
        launcher.start(keep / "template.log")
        actuator = ProcessActuator(
            PIPELINE, state_dir, [*worker, "--type", "{type}"], launcher=launcher, environ=environment(os.environ)
        )
        actuator.declare(fleet, _NOBODY)
        wanted = sum(fleet.values())
        most = -(-partitions // wanted)
        deadline = time.monotonic() + READY_S
        while True:
            actuator.reconcile()
            watch.read(wait_ms=200)
            newest = {r.worker: r for r in watch.tape if isinstance(r, WorkerReport)}
            owned = [len(r.partitions) for r in newest.values() if r.state is WorkerState.READY]
            if len(owned) == wanted and sum(owned) == partitions and max(owned) <= most:
                return
            if time.monotonic() > deadline:
                raise NotReady(f"{wanted} workers were not ready within {READY_S:g} s", f"read the logs in {keep}")
    finally:
        # The workers go on.
        launcher.close()


def _await_sample(watch: Watch, autoscaler: Autoscaler, traffic: Traffic) -> None:
    """Until the autoscaler looks: what it sees of an idle pipeline the simulated one does not."""
    deadline = time.monotonic() + OWNER_S
    while traffic.newest is None or not any(isinstance(record, ArrivalSample) for record in watch.tape):
        autoscaler.check()
        traffic.check()
        if time.monotonic() > deadline:
            raise NotReady(f"the autoscaler took no sample within {OWNER_S:g} s", f"read {autoscaler.log_path}")
        watch.read(wait_ms=50)


def _await_end(  # noqa: PLR0917 - used once, above
    made: Setting, rule: str, watch: Watch, autoscaler: Autoscaler, traffic: Traffic, tell: Callable[[str], None]
) -> None:
    told = -1
    while traffic.newest is None or traffic.newest.phase != "done":
        autoscaler.check()
        if traffic.process.poll():
            traffic.check()
        watch.read()
        now = traffic.newest
        if now is not None and now.started_at_s is not None and int(now.at_s - now.started_at_s) // 30 > told:
            told = int(now.at_s - now.started_at_s) // 30
            tell(
                f"{rule}: {now.at_s - now.started_at_s:.0f} of {made.load.length_s:.0f} s, {now.sent} sent, "
                f"{now.received} answered, {watch.ready()} workers serve"
            )
        time.sleep(LOOK_S)


def _keep(directory: Path, keep: Path, watch: Watch) -> None:
    """Logs and tape outlive the run: the result is made of them, and they can be looked at."""
    with (keep / _TAPE).open("wb") as tape:
        tape.writelines(telemetry.encode(record) + b"\n" for record in watch.tape)
    traffic = directory / "traffic.npz"
    if traffic.exists():
        (keep / traffic.name).write_bytes(traffic.read_bytes())
    for log in (directory / "state" / "logs").glob("*.log"):
        (keep / log.name).write_bytes(log.read_bytes())
