"""Throughput over workers on a live pipeline: measured, and fitted to a line, Amdahl's law and the USL.

    python benchmarks/scaling_law.py [--emulated 40,10,8] [--workers 1 2 3 4 6 8] [--seconds 10] [--report DIR]
    python benchmarks/scaling_law.py --config penstock.toml ...

By itself it starts an embedded broker and serves the digits model on an emulated device of A ms + B ms a row, at most N
rows (so that each worker can have one), on 24 partitions. With `--config` it uses that pipeline, whose topics must be
there, and the first worker type of it. It starts the workers and ends them. For each count a ramp around the stated
capacity finds the knee, as `penstock loadtest` does. Counts that divide the partitions evenly scale; the others show
the steps of ceil(P / n).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from emulated_pipeline import curve_of, prepare, settle

from autoscaler.actuators.launchers import SubprocessLauncher
from autoscaler.planning.scaling_law import fit
from penstock import settings
from penstock.demo.digits import Training
from penstock.errors import PenstockError
from penstock.loadtest import run as tests
from penstock.loadtest.ramp import rates_of
from penstock.local.paths import cache_directory
from penstock.local.services import LocalServices
from penstock.page import COLOURS, INK, MUTED, draw, dress
from penstock.template_launcher import TemplateLauncher
from penstock.verify.fleet import STOP_S, Fleet
from streams.errors import StreamsError
from streams.kafka import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.loadtest.ramp import Knee
    from penstock.settings import Settings

#: The pipeline of its own: partitions that 1, 2, 3, 4, 6 and 8 workers share evenly.
PIPELINE, PARTITIONS = "scaling-law", 24
#: The ramp, as shares of the stated capacity, and its steps.
LOW, HIGH, STEPS = 0.8, 1.3, 4
#: Longest wait for the workers to own all partitions, in seconds.
READY_S = 240.0


def main() -> int:
    """Measure, fit, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--emulated", default="40,10,8", help="A,B,N: ms a batch, ms a row, most rows")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            found = _measure(given, given.config or stack.enter_context(_own_pipeline(given.emulated)))
    except PenstockError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    except (StreamsError, ValueError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    _tell(found, given.report)
    return 0


@contextlib.contextmanager
def _own_pipeline(emulated: str) -> Iterator[Path]:
    """The settings of a pipeline of the digits model, on a broker that ends with it."""
    curve = curve_of(emulated)
    with tempfile.TemporaryDirectory(prefix="penstock-scaling-law-") as place, contextlib.ExitStack() as stack:
        training = stack.enter_context(Training(cache_directory({}, Path.home()) / "models"))
        services = stack.enter_context(LocalServices.start(Path(place) / "broker", ephemeral=True))
        yield prepare(
            Path(place), PIPELINE, kafka=KafkaSettings(bootstrap_servers=services.bootstrap),
            digits=training.result(), curve=curve, partitions=PARTITIONS, worker_type="cpu",
        )  # fmt: skip


def _measure(given: argparse.Namespace, config: Path) -> list[tuple[int, float, Knee]]:
    """Workers, stated capacity in records/s, and the knee, for each count that has one."""
    tree = settings.load(config)
    asked = tests.inputs_of(None, tree.pipeline.model)
    launcher = TemplateLauncher(SubprocessLauncher())
    # A pipeline of our own takes its state directory with it, and the logs are wanted most after a failure.
    logs = (given.report or tree.state_dir) / "scaling-law"
    launcher.start(logs / "template.log")
    fleet = Fleet(config.resolve(), launcher, logs)
    kind = tree.worker_types[0]
    found: list[tuple[int, float, Knee]] = []
    try:
        for count in sorted(given.workers):
            while len(fleet.workers) < count:
                fleet.start(f"{tree.pipeline.name}-{kind.name}-{len(fleet.workers)}")
            settle(tree, count, READY_S)
            stated = _stated(tree, count)
            outcome = tests.run(
                tree, config, asked, rates=rates_of(LOW * stated, HIGH * stated, STEPS), step_s=given.seconds,
                seed=count, stated={kind.name: kind.curve}, tell=lambda *_: None,
            )  # fmt: skip
            if outcome.knee is None:
                print(f"{count} workers: no knee up to {HIGH * stated:.1f}/s", flush=True)
                continue
            knee = outcome.knee
            found.append((count, stated, knee))
            print(
                f"{count} workers: {knee.per_s:.1f}/s [{knee.low:.1f}, {knee.high:.1f}], stated {stated:.1f} "
                f"({knee.per_s / stated - 1:+.1%})",
                flush=True,
            )
    finally:
        # They drain: with `--config` the topics stay.
        leaving = fleet.workers
        for worker in leaving:
            fleet.stop(worker)
        for worker in leaving:
            fleet.wait_ended(worker, STOP_S)
        launcher.close()
    return found


def _stated(tree: Settings, count: int) -> float:
    """Capacity by the settings: the busiest worker decides."""
    partitions = tests.members(tree)[1]
    return tree.worker_types[0].curve.capacity_per_s * partitions / -(-partitions // count)


def _tell(found: list[tuple[int, float, Knee]], report: Path | None) -> None:
    counts = [count for count, _, _ in found]
    if len(set(counts)) < 3:  # noqa: PLR2004 - a line has one form
        print("Three counts of workers or more are needed for a fit.")
        return
    rates = [knee.per_s for _, _, knee in found]
    laws = fit(counts, rates, [(knee.high - knee.low) / 4 for _, _, knee in found])
    for law in laws:
        peak = "" if law.best_workers is None else f", most at {law.best_workers:.0f} workers"
        print(
            f"{law.name}: {law.gamma:.1f}/s a worker, sigma {law.sigma:.4f}, kappa {law.kappa:.6f}, "
            f"AICc {law.aicc:.1f}, worst {law.worst:.1%}{peak}"
        )
    top = max(counts)
    if all(np.isfinite(law.aicc) for law in laws):
        print(f"Best by AICc: {laws[0].name}; by it {top} workers do {laws[0].efficiency(top):.1%} of {top} times one.")
    else:
        print("Too few counts of workers for AICc to choose between all three laws: six are needed.")
    if report is None:
        return
    report.mkdir(parents=True, exist_ok=True)
    points = [
        {"workers": count, "stated_per_s": stated, "knee_per_s": knee.per_s, "low": knee.low, "high": knee.high}
        for count, stated, knee in found
    ]
    told = {"points": points, "laws": [{name: getattr(law, name) for name in law.__slots__} for law in laws]}
    (report / "scaling-law.json").write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        many = np.linspace(1, top * 1.25, 100)
        for law, colour in zip(laws, COLOURS, strict=False):
            axis.plot(many, [law.throughput(n) for n in many], color=colour, linewidth=1.2, label=law.name)
        around = [[k.per_s - k.low for _, _, k in found], [k.high - k.per_s for _, _, k in found]]
        axis.errorbar(counts, rates, yerr=around, fmt="o", color=INK, capsize=3, markersize=4, label="measured, 95 %")
        axis.plot(counts, [stated for _, stated, _ in found], linestyle="", marker="x", color=MUTED, label="stated")
        axis.set_xlim(0, None)
        axis.set_ylim(0, None)
        axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
        dress(axis, "Records a second at the knee", x="workers")

    draw(paint, 8, 4.2, report / "scaling-law.png")


if __name__ == "__main__":
    sys.exit(main())
