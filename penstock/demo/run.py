"""The demo from start to end: model, services, autoscaler, load, verdict, report; and everything stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.demo.children import Autoscaler, Traffic
from penstock.demo.contents import read_contents
from penstock.demo.digits import Training
from penstock.demo.errors import NotReady
from penstock.demo.report import write_report
from penstock.demo.scenario import PARTITIONS, PIPELINE, settings_toml
from penstock.demo.settle import settle
from penstock.demo.traffic import TrafficPlan
from penstock.demo.view import View, known
from penstock.demo.watch import Watch
from penstock.local.paths import cache_directory
from penstock.local.progress import Bar
from penstock.local.services import LocalServices
from streams import telemetry, topics
from streams.kafka.admin import Admin
from streams.kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rich.console import Console

    from penstock.demo.digits import Digits
    from penstock.demo.outcome import Outcome
    from penstock.demo.scenario import Scenario

#: Longest wait for the first worker, in seconds: it imports TensorFlow and loads the model on a busy machine.
FIRST_WORKER_S = 180.0

#: Seconds between two moments of the live view.
MOMENT_S = 0.5

#: Seconds after the last request without any result, after which the rest counts as lost: longer than a killed worker's
#: session and transaction time-outs together.
QUIET_S = 45.0


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of one demo."""

    scenario: Scenario
    #: Where `report.html`, `report.png` and `summary.json` go.
    report: Path
    #: Data of the run goes to `<directory>/.penstock/demo/`.
    directory: Path
    #: Whether that data stays.
    keep: bool = False


def run(options: Options, console: Console) -> Outcome:
    """Run the demo.

    Raises:
        PenstockError: something is missing or failed; everything that was started is stopped all the same, and the logs
            stay.
        KafkaFailure: likewise.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; likewise.
    """
    root = options.directory.expanduser().resolve() / ".penstock" / "demo"
    root.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    failed = False
    try:
        with _interruptible():
            return _run(options, directory, console)
    except Exception:
        failed = True
        raise
    finally:
        if options.keep or failed:
            _say(console, f"Settings and logs of this run: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _run(options: Options, directory: Path, console: Console) -> Outcome:
    made = options.scenario
    _say(console, f"Load: {made.arrivals.description}; {len(made.arrivals.times_s):,} requests")
    with contextlib.ExitStack() as stack:
        digits, services = _prepare(stack, made, directory, console)
        kafka = KafkaSettings(bootstrap_servers=services.bootstrap)
        with Admin(kafka, "demo") as admin:
            topics.ensure_topics(admin, PIPELINE, topics.TopicSettings(partitions=PARTITIONS))
        config = directory / "penstock.toml"
        config.write_text(
            settings_toml(
                made, model=digits.model, bootstrap=services.bootstrap, redis_url_file=services.redis_url_file
            ),
            encoding="utf-8",
        )
        pictures = np.random.default_rng(made.seed).integers(0, len(digits.labels), len(made.arrivals.times_s))
        _plan(made, digits, pictures, services.bootstrap).save(directory)

        began_s = time.monotonic()
        logs = directory / "logs"
        watch = stack.enter_context(contextlib.closing(Watch(kafka, services.redis_url, PIPELINE)))
        autoscaler = Autoscaler(config, directory / "state", logs)
        stack.callback(_stop, autoscaler, console)
        traffic = Traffic(directory, logs)
        stack.callback(traffic.stop, 5.0)
        _await_first_worker(watch, autoscaler, traffic)
        _say(console, f"Autoscaler up, first {made.worker_type.device} worker ready", began_s)

        _load(made, watch, autoscaler, traffic, console)
        log = traffic.result()
        watch.read_rest()
        _keep_tape(watch, directory)
        outcome = settle(
            made,
            digits,
            pictures=pictures,
            traffic=log,
            contents=read_contents(kafka, PIPELINE),
            tape=watch.tape,
            decisions=watch.decisions(),
        )
        write_report(outcome, options.report)
    return outcome


def _prepare(
    stack: contextlib.ExitStack, made: Scenario, directory: Path, console: Console
) -> tuple[Digits, LocalServices]:
    """Train the model while the services start: the one keeps a core busy, the other mostly waits."""
    began_s = time.monotonic()
    models = cache_directory(os.environ, Path.home()) / "models"
    with Training(models, made.seed) as training, Bar(console) as bar:
        services = stack.enter_context(LocalServices.start(directory, progress=bar, ephemeral=True))
        _say(console, f"Kafka at {services.bootstrap} and Redis up", began_s)
        digits = training.result()
    how = "trained on the real digits" if digits.trained_now else "taken from the cache"
    _say(console, f"Digits CNN {how}: {digits.accuracy:.4f} of {len(digits.labels)} held-out pictures right", began_s)
    return digits, services


def _plan(made: Scenario, digits: Digits, pictures: NDArray[np.int64], bootstrap: str) -> TrafficPlan:
    return TrafficPlan(bootstrap, PIPELINE, QUIET_S, made.arrivals.times_s, digits.images[pictures])


def _await_first_worker(watch: Watch, autoscaler: Autoscaler, traffic: Traffic) -> None:
    deadline_s = time.monotonic() + FIRST_WORKER_S
    while not watch.ready() or traffic.newest is None:
        autoscaler.check()
        traffic.check()
        if time.monotonic() > deadline_s:
            cause = f"no worker was ready within {FIRST_WORKER_S:g} s"
            raise NotReady(cause, f"read {autoscaler.log_path} and the workers' logs beside the run's state")
        watch.read(wait_ms=200)


def _load(made: Scenario, watch: Watch, autoscaler: Autoscaler, traffic: Traffic, console: Console) -> None:
    """Show the load until the last result is in."""
    arrivals = made.arrivals
    what = "generated arrivals" if arrivals.kind == "generated" else f"trace {arrivals.facts.get('trace')}"
    view = View(
        console,
        objective_ms=made.objective.within_s * 1000,
        device=made.worker_type.device,
        title=f"Penstock demo: {what}, {arrivals.duration_s:g} s",
        clock=time.monotonic,
    )
    traffic.go()
    with view:
        while traffic.newest is None or traffic.newest.phase != "done":
            autoscaler.check()
            if traffic.process.poll():
                traffic.check()
            view.show(watch.moment(traffic.newest, arrivals.duration_s))
            time.sleep(MOMENT_S)


def _keep_tape(watch: Watch, directory: Path) -> None:
    """The autoscaler's input, to be decided again or looked at; it stays with `--keep` and after a failure."""
    with (directory / "telemetry.jsonl").open("wb") as tape:
        tape.writelines(telemetry.encode(record) + b"\n" for record in watch.tape)


def _stop(autoscaler: Autoscaler, console: Console) -> None:
    began_s = time.monotonic()
    autoscaler.stop()
    _say(console, "Workers drained, autoscaler stopped", began_s)


def _say(console: Console, words: str, began_s: float | None = None) -> None:
    took = "" if began_s is None else f" ({known(time.monotonic() - began_s, '.1f')} s)"
    console.print(f"{words}{took}", soft_wrap=True, highlight=False, markup=False)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through every `finally`."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
