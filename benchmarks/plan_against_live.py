"""A plan, the simulator and a live run of the same fleet against the same load: 99th percentile and cost side by side.

    python benchmarks/plan_against_live.py --trace conv --traces DIR [--scale 20] [--report DIR] [--json]

Starts an embedded broker, trains the digits model (or takes it from the cache) and measures it on an emulated device as
`penstock profile` does: the real model, each batch held for a stated time, so that a few hundred requests a second need
several workers and two cores can carry them. A short load test tells what a request needs besides waiting and service,
and a worker's start how long it boots. `penstock plan`'s planner then plans for the trace; the periods around its peak
that change the fleet most are run live, shortened, with exactly the arrivals that the simulator is given: workers are
started ahead of each rise and told to stop at each fall, and are paid from when they are asked for until their process
has ended. A shared machine stands still now and then: a thread that only sleeps notes when it woke up late, and `live,
quiet` leaves out what was due around those moments. Exit code 1 where 99th percentile or cost are further apart than
15 %, or where more than a quarter would be left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulated_pipeline import curve_of, prepare, settle

from autoscaler.actuators.launchers import SubprocessLauncher
from autoscaler.model import Objective
from penstock import settings
from penstock.analyse.source import from_file
from penstock.demo.digits import INPUT, Training
from penstock.errors import PenstockError
from penstock.loadtest import run as tests
from penstock.loadtest.ramp import due_times
from penstock.local.paths import cache_directory
from penstock.local.services import LocalServices
from penstock.plan import planner, rehearsal
from penstock.plan.order import REQUEST_BYTES, RESULT_BYTES, Order, worker_type
from penstock.plan.replay import lead_s, steps
from penstock.profile import file
from penstock.profile.job import Job
from penstock.profile.run import check_model, profile
from penstock.template_launcher import TemplateLauncher
from penstock.verify.fleet import Fleet
from penstock.verify.surroundings import machine
from streams.kafka import KafkaSettings
from streams.topics import TopicSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoscaler.model import ServiceCurve
    from penstock.demo.digits import Digits
    from penstock.plan.planner import Plan
    from penstock.plan.rehearsal import Figures, Rehearsal
    from penstock.profile.file import Profile
    from penstock.verify.fleet import Worker

TRACES = {"conv": "azure_llm_2023_conv.csv", "nasa": "nasa_http_1995_jul.csv.gz"}
#: Rates of the short load test, as shares of a worker's capacity, and the length of each.
SHARES, STEP_S = (0.4, 0.6), 12.0
#: Seconds of load before the run that count in nothing: connections and caches of the first fleet are cold.
WARM_S = 10.0
#: Longest wait for all partitions to have an owner, and for workers to end, in seconds.
SETTLED_S, ENDED_S = 60.0, 40.0
#: Seconds between looks at what is due.
LOOK_S = 0.02
#: Seconds that a sleeper is late by when the machine is said to have stood still, and the share of the requests that
#: may be left out for it.
STALL_S, MOST_LEFT_OUT = 0.05, 0.25
TYPE = "emulated"


def main() -> int:
    """Profile, plan, simulate, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", choices=sorted(TRACES), required=True)
    parser.add_argument("--traces", type=Path, required=True, help="directory of the recorded traces")
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--emulated", default="40,10,8", help="A_MS,B_MS,BATCH of the device")
    parser.add_argument("--price", type=float, default=0.05, help="of a worker, an hour")
    parser.add_argument("--objective-ms", type=float, default=300.0)
    parser.add_argument("--periods", type=int, default=12, help="of the plan that are run")
    parser.add_argument("--period-seconds", type=float, default=25.0, help="that each of them lasts live")
    parser.add_argument(
        "--pause", type=float, default=0.5,
        help="seconds that the simulator leaves a moved partition: two heartbeats, docs/explanation/partitions.md",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="directory for profile.json, outcome.json, the picture and logs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-plan-") as place:
            told = _measure(given, Path(place))
    except PenstockError as error:
        _say(f"Error: {error}")
        return error.exit_code
    text = json.dumps(told, indent=1)
    if given.report is not None:
        (given.report / "outcome.json").write_text(text + "\n", encoding="utf-8")
    print(text if given.json else "\n".join(_lines(told)))
    return 0 if told["holds"] else 1


def _measure(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    curve = curve_of(given.emulated)
    objective = Objective(given.objective_ms / 1000, 0.99)
    report = given.report or place
    report.mkdir(parents=True, exist_ok=True)
    # A worker's log says when it is ready: an earlier run's would say so at once.
    shutil.rmtree(report / "logs", ignore_errors=True)
    with Training(cache_directory({}, Path.home()) / "models") as training:
        digits = training.result()
    _say("profiling the digits model on the emulated device")
    found = _profiled(digits, curve, objective, given.seed)
    file.write(report / "profile.json", found)
    with LocalServices.start(place / "broker", ephemeral=True) as services:
        launcher = TemplateLauncher(SubprocessLauncher())
        launcher.start(report / "logs" / "template.log")
        try:
            shared: dict[str, Any] = {
                "kafka": KafkaSettings(bootstrap_servers=services.bootstrap), "digits": digits, "curve": curve,
                "objective": objective, "launcher": launcher, "logs": report / "logs",
            }  # fmt: skip
            first = _Pipeline("calibration", place, partitions=8, **shared)
            boot_s, overhead_s = _calibrated(first)
            _say(f"a worker boots in {boot_s:.2f} s; besides waiting and service {overhead_s * 1000:.1f} ms; planning")
            order = _order(given, report / "profile.json", objective, boot_s=boot_s, overhead_s=overhead_s)
            plan = planner.make(order, lambda _: None)
            run = rehearsal.rehearse(order, plan, periods=given.periods, period_s=given.period_seconds)
            foretold = rehearsal.foretold(run, plan, pause_s=given.pause)
            _say(f"{run.window.length_s:.0f} s live with {[sum(fleet.values()) for fleet in run.fleets]} workers")
            second = _Pipeline("live", place, partitions=plan.partitions, **shared)
            log, spans, stalls = _live(second, run, lead_s(boot_s, given.pause))
        finally:
            launcher.close()
    cost = given.price / 3600 * rehearsal.paid_s(spans, run.window.length_s)
    kept = rehearsal.quiet(run.load.arrivals_s, stalls)
    whole = rehearsal.measured(run, log.seen_s, cost)
    figures = (*foretold, rehearsal.measured(run, log.seen_s, cost, name="live, quiet", counted=kept))
    told = _told(given, found, plan, run, figures=(*figures, whole), log=log)
    left_out = 1 - float(kept.mean())
    told |= {"stalls": stalls, "left_out": left_out}
    told["holds"] = rehearsal.holds(figures) and left_out <= MOST_LEFT_OUT
    if given.report is not None:
        _picture(run, log, figures, stalls, given.report / "plan-against-live.png")
    return told


def _profiled(digits: Digits, curve: ServiceCurve, objective: Objective, seed: int) -> Profile:
    """The digits model on a device that holds each batch for the stated time: measured and fitted."""
    version = check_model(digits.model, None)
    job = Job(
        model=str(digits.model), version=version, device="cpu", threads=1, xla=False, most_rows=curve.max_batch,
        memory_bytes=2**33, seconds=15.0, open_loop_s=0.0, slowest_s=objective.within_s, seed=seed, emulated=curve,
    )  # fmt: skip
    return profile([job], version=version, objective=objective, tell=lambda *_: None)


class _Pipeline:
    """One pipeline with its topics, settings and workers."""

    def __init__(
        self, name: str, place: Path, *, launcher: TemplateLauncher, logs: Path, digits: Digits, **prepared: Any
    ) -> None:
        self.name, self.asked = name, {INPUT: digits.images}
        self.config = prepare(place, name, digits=digits, worker_type=TYPE, **prepared)
        self.tree = settings.load(self.config, {})
        self.fleet = Fleet(self.config, launcher, logs / name)

    def start(self, number: int) -> Worker:
        """Start the worker of that number."""
        return self.fleet.start(f"{self.name}-{TYPE}-{number}")


def _calibrated(pipeline: _Pipeline) -> tuple[float, float]:
    """Seconds that a worker boots, and that a request needs besides waiting and service."""
    # The first one finds cold caches: the second tells.
    try:
        for number in range(2):
            worker = pipeline.start(number)
            boot_s = pipeline.fleet.wait_ready(worker) - worker.asked_at_s
        pipeline.fleet.stop(pipeline.fleet.workers[0])
        settle(pipeline.tree, 1, SETTLED_S)
        tree = pipeline.tree
        kind = tree.worker_types[0]
        found = tests.run(
            tree, pipeline.config, pipeline.asked, rates=[share * kind.curve.capacity_per_s for share in SHARES],
            step_s=STEP_S, seed=1, stated={kind.name: kind.curve}, tell=lambda *_: None,
        )  # fmt: skip
    finally:
        pipeline.fleet.end()
    return boot_s, found.overhead_s


def _order(
    given: argparse.Namespace, profile_path: Path, objective: Objective, *, boot_s: float, overhead_s: float
) -> Order:
    trace = given.traces / TRACES[given.trace]
    history = from_file(trace)
    load = history.workload
    return Order(
        history=history, trace=trace,
        types=(worker_type(f"{TYPE}={profile_path},price={given.price},boot={boot_s:.3f}"),),
        objective=objective, scale=given.scale, growth=1.0, overhead_s=overhead_s,
        period_s=3600.0 if len(load.counts) * load.width_s >= 3 * 3600 else 300.0,
        partitions=None, head_room=2.0, topics=TopicSettings(replication_factor=3, min_in_sync=2),
        request_bytes=REQUEST_BYTES, result_bytes=RESULT_BYTES, bytes_known=False, brokers=3, broker_bytes_per_s=125e6,
        disk_bytes=None, zones=3, seed=given.seed,
    )  # fmt: skip


class _Following(threading.Thread):
    """Starts and stops workers as the schedule says, and notes when each process has ended."""

    def __init__(self, pipeline: _Pipeline, run: Rehearsal, lead: float) -> None:
        super().__init__(name="following", daemon=True)
        self._pipeline = pipeline
        self._due = steps(run.fleets, run.window.periods_s, {TYPE: lead})
        self._workers: list[Worker] = [pipeline.start(number) for number in range(run.fleets[0][TYPE])]
        self._leaving: list[Worker] = []
        #: When each was asked for and had ended, by the monotonic clock.
        self._spans: list[tuple[float, float]] = []
        self._over = threading.Event()
        #: From when to when the machine stood still, by the monotonic clock.
        self._stalls: list[tuple[float, float]] = []
        self.begins_at_s = time.monotonic()

    def begin(self, unix_s: float) -> None:
        """Start; second 0 is at that Unix time."""
        self.begins_at_s = time.monotonic() + unix_s - time.time()
        self.start()

    def run(self) -> None:
        """Until `end`."""
        while not self._over.is_set():
            now_s = time.monotonic()
            while self._due and now_s >= self.begins_at_s + self._due[0][0]:
                self._declare(self._due.pop(0)[1][TYPE])
            for worker in [one for one in self._leaving if not one.alive()]:
                self._leaving.remove(worker)
                self._spans.append((worker.asked_at_s, now_s))
                self._pipeline.fleet.exit_code(worker)
            lies_down_s = time.monotonic()
            self._over.wait(LOOK_S)
            late_s = time.monotonic() - lies_down_s - LOOK_S
            if late_s > STALL_S:
                self._stalls.append((lies_down_s, lies_down_s + LOOK_S + late_s))

    def end(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Stop; from when to when each worker was paid, and the machine stood still, in seconds after the start."""
        self._over.set()
        self.join()
        now_s = time.monotonic()
        whole = [*self._spans, *((worker.asked_at_s, now_s) for worker in (*self._workers, *self._leaving))]
        paid, stood = (
            [(from_s - self.begins_at_s, to_s - self.begins_at_s) for from_s, to_s in spans]
            for spans in (whole, self._stalls)
        )
        return paid, stood

    def _declare(self, count: int) -> None:
        while len(self._workers) < count:
            self._workers.append(self._pipeline.start(len(self._workers)))
        while len(self._workers) > count:
            worker = self._workers.pop()
            self._pipeline.fleet.stop(worker)
            self._leaving.append(worker)


def _live(
    pipeline: _Pipeline, run: Rehearsal, lead: float
) -> tuple[tests.TrafficLog, list[tuple[float, float]], list[tuple[float, float]]]:
    """The generator's log, from when to when each worker was paid, and from when to when the machine stood still."""
    try:
        following = _Following(pipeline, run, lead)
        for worker in pipeline.fleet.workers:
            pipeline.fleet.wait_ready(worker)
        settle(pipeline.tree, len(pipeline.fleet.workers), SETTLED_S)
        tests.send(
            pipeline.config, pipeline.asked, due_times([run.window.mean_per_s], WARM_S, 1),
            rates=[run.window.mean_per_s], step_s=WARM_S, tell=lambda *_: None,
        )  # fmt: skip
        log = tests.send(
            pipeline.config, pipeline.asked, run.load.arrivals_s, rates=[run.window.mean_per_s],
            step_s=run.window.length_s, partition_of=run.load.partition_of, begins=following.begin,
            tell=_teller(len(run.load.arrivals_s)),
        )  # fmt: skip
        return log, *following.end()
    finally:
        pipeline.fleet.end()


def _teller(whole: int) -> Callable[[str, int, int], None]:
    told = 0

    def tell(phase: str, sent: int, received: int) -> None:
        nonlocal told
        if sent * 10 // whole > told:
            told = sent * 10 // whole
            _say(f"{phase}: {sent:,} of {whole:,} sent, {sent - received:,} unanswered")

    return tell


def _told(
    given: argparse.Namespace, found: Profile, plan: Plan, run: Rehearsal, *, figures: Sequence[Figures],
    log: tests.TrafficLog,
) -> dict[str, Any]:  # fmt: skip
    import numpy as np  # noqa: PLC0415 - only here

    curve, order = found.curve, run.order
    return {
        "trace": TRACES[given.trace], "scale": given.scale, "price_per_hour": given.price,
        "profile": {"a_ms": curve.a_s * 1e3, "b_ms": curve.b_s * 1e3, "max_batch": curve.max_batch},
        "objective_ms": order.objective.within_s * 1e3, "boot_s": order.types[0].boot_s,
        "overhead_ms": order.overhead_s * 1e3, "partitions": plan.partitions, "compression": run.compression,
        "live_s": run.window.length_s, "requests": len(run.load.arrivals_s),
        "unanswered": int(np.isnan(log.seen_s).sum()), "workers": [fleet[TYPE] for fleet in run.fleets],
        "generator_late_p99_ms": float(np.quantile(log.late_s, 0.99) * 1e3),
        "plan": {
            "words": plan.best.name, "cost_per_month": plan.best.cost_per_month,
            "p99_ms": plan.checked.ideal.p99_s * 1e3, "window_s": plan.checked.window.length_s,
        },
        "figures": [dataclasses.asdict(one) for one in figures],
        "ratios": [{"of": name, "p99": p99, "cost": cost} for name, p99, cost in rehearsal.ratios(figures)],
        "machine": machine(),
    }  # fmt: skip


def _lines(told: dict[str, Any]) -> list[str]:
    plan, shape = told["plan"], told["profile"]
    head = (
        f"{told['trace']} x {told['scale']:g}: digits on an emulated device, measured {shape['a_ms']:.2f} ms + "
        f"{shape['b_ms']:.3f} ms a row, at most {shape['max_batch']} rows; 0.99 within {told['objective_ms']:g} ms\n"
        f"plan: {plan['words']}, {plan['cost_per_month']:.2f} a month on {told['partitions']} partitions, "
        f"99th percentile {plan['p99_ms']:.0f} ms over {plan['window_s'] / 60:.0f} recorded minutes\n"
        f"run: {told['requests']:,} requests in {told['live_s']:.0f} s, {told['compression']:.3g} recorded seconds in "
        f"one; workers by period {told['workers']}; boot {told['boot_s']:.2f} s, overhead {told['overhead_ms']:.1f} "
        f"ms, {told['unanswered']} unanswered, generator late {told['generator_late_p99_ms']:.1f} ms (99th percentile)"
    )
    figures = [
        f"{one['name']:<22}{one['p50_s'] * 1e3:>9.0f}{one['p99_s'] * 1e3:>9.0f}{one['attainment']:>9.2%}"
        f"{one['cost']:>10.5f}"
        for one in told["figures"]
    ]
    shares = [f"{one['of']:<22}{'':>9}{one['p99']:>9.3f}{'':>9}{one['cost']:>10.3f}" for one in told["ratios"]]
    stood_s = sum(to_s - from_s for from_s, to_s in told["stalls"])
    noise = (
        f"The machine stood still {len(told['stalls'])} times, {stood_s:.1f} s in all: {told['left_out']:.1%} of the "
        "requests are left out of the quiet figures."
    )
    last = f"Predicted within 15 % of both: {'yes' if told['holds'] else 'no'}. {told['machine']}"
    return [head, f"{'':<22}{'p50 ms':>9}{'p99 ms':>9}{'in time':>9}{'cost':>10}", *figures, *shares, noise, last]


def _picture(
    run: Rehearsal, log: tests.TrafficLog, figures: Sequence[Figures], stalls: list[tuple[float, float]], path: Path
) -> None:
    import numpy as np  # noqa: PLC0415 - only here

    from penstock.page import BAD, COLOURS, INK, MUTED, draw, dress  # noqa: PLC0415 - matplotlib takes a second

    due_s, length_s = run.load.arrivals_s, run.window.length_s
    width_s = max(1.0, length_s / 80)
    edges = np.arange(0.0, length_s + width_s, width_s)

    def paint(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.3])
        upper.stairs(np.histogram(due_s, edges)[0] / width_s, edges, color=COLOURS[0], label="requests a second")
        many = upper.twinx()
        at = np.arange(len(run.fleets) + 1) * run.order.period_s
        counts = [fleet[TYPE] for fleet in run.fleets]
        many.step(at, [*counts, counts[-1]], where="post", color=INK, linewidth=1.6, label="workers, right")
        upper.set_ylim(0, None)
        many.set_ylim(0, max(counts) + 1)
        many.yaxis.get_major_locator().set_params(integer=True)
        handles = [pair for axis in (upper, many) for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
        upper.legend(
            *zip(*handles, strict=True), frameon=False, labelcolor=INK, fontsize=8.5, ncols=2, loc="lower right",
            bbox_to_anchor=(1, 1),
        )  # fmt: skip
        many.spines[:].set_visible(False)
        dress(upper, "Load and planned fleet")
        waits_ms = (log.seen_s - due_s[: log.sent]) * 1e3
        lower.plot(due_s[: log.sent], waits_ms, ".", color=COLOURS[0], markersize=1.2, alpha=0.5)
        for one, colour, style in zip(figures, (COLOURS[2], MUTED, INK), ("-", "--", ":"), strict=True):
            lower.axhline(one.p99_s * 1e3, color=colour, linestyle=style, label=f"99th percentile {one.name}")
        lower.axhline(
            run.order.objective.within_s * 1e3, color=BAD, linewidth=1, linestyle=(0, (4, 3)), label="objective"
        )
        for begin_s, end_s in stalls:
            lower.axvspan(begin_s, end_s, color=MUTED, alpha=0.35, linewidth=0)
        lower.set_xlim(0, length_s)
        lower.set_ylim(0, 1.15 * lower.get_ylim()[1])
        lower.legend(frameon=False, labelcolor=INK, fontsize=8.5, ncols=4, loc="upper left")
        dress(lower, "Milliseconds from due to readable answer, live; grey: the machine stood still", x="seconds")

    draw(paint, 11, 5.0, path)


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
