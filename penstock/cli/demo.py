"""`penstock demo`: the main job end to end on this machine, with a verdict and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli._local import relative

if TYPE_CHECKING:
    from rich.console import Console

    from penstock.demo.outcome import Outcome


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(10, 3600), default=150.0, show_default=True, help="Length of the load."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Replay a recorded trace (t_seconds,requests; .csv or .csv.gz) instead of the generated pattern.",
)
@click.option(
    "--trace-start", type=float, default=0.0, show_default=True, help="Where in the trace to start, in its seconds."
)
@click.option(
    "--time-scale", type=float, help="Trace seconds in one second of the demo; chosen to suit the fleet by default."
)
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-report"),
    show_default=True,
    help="Directory for report.html, report.png and summary.json.",
)
@click.option(
    "--device",
    default="emulated",
    show_default=True,
    help="emulated (real answers, held for a stated time, so that a laptop shows a fleet), cpu or gpu:N.",
)
@click.option(
    "--objective-ms",
    type=click.FloatRange(min=1),
    default=None,
    show_default="2500",
    help="95 % of the requests must be answered within this time.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the arrivals and the training."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this directory",
    help="Data of the run goes to DIRECTORY/.penstock/demo/.",
)
@click.option("--keep", is_flag=True, help="Keep that data and the logs when all went well.")
def command(
    *,
    seconds: float,
    trace: Path | None,
    trace_start: float,
    time_scale: float | None,
    report: Path,
    device: str,
    objective_ms: float | None,
    seed: int,
    directory: Path,
    keep: bool,
) -> int:
    """Run the main job end to end: real Kafka, Redis, TensorFlow workers and autoscaler, checked request by request.

    Ends with code 0 only when nothing was lost or duplicated, the answers are right and enough of them were in time.
    """
    if device not in ("emulated", "cpu") and not device.startswith("gpu:"):
        raise click.BadParameter(f"{device!r}: choose emulated, cpu or gpu:N", param_hint="--device")
    from rich.console import Console  # noqa: PLC0415 - not needed for --help

    from penstock.demo.run import Options, run  # noqa: PLC0415
    from penstock.demo.scenario import OBJECTIVE_MS, scenario  # noqa: PLC0415

    began_s = time.monotonic()
    console = Console()
    made = scenario(
        seconds=seconds,
        device=device,
        objective_ms=OBJECTIVE_MS if objective_ms is None else objective_ms,
        seed=seed,
        trace=trace,
        trace_start_s=trace_start,
        time_scale=time_scale,
    )
    outcome = run(Options(made, report, directory, keep=keep), console)
    _conclude(console, outcome, report)
    console.print(f"Took {time.monotonic() - began_s:.0f} s, {seconds:g} of them load.", highlight=False)
    return 0 if outcome.green else 1


def _conclude(console: Console, outcome: Outcome, report: Path) -> None:
    """The verdict as a table, the figures beside it, and where the report is."""
    from rich.table import Table  # noqa: PLC0415

    audit, cost = outcome.audit, outcome.cost
    colour = "green" if outcome.green else "red"
    table = Table(title=f"Verdict: [bold {colour}]{colour}[/]", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("check", "found", "wanted", ""):
        table.add_column(name)
    for check in outcome.checks:
        table.add_row(check.name, check.found, check.wanted, "[green]ok[/]" if check.ok else "[bold red]no[/]")
    console.print(table)
    percentiles = " / ".join(
        "-" if value is None else f"{value:,.0f}" for value in map(audit.percentile_ms, (50, 90, 99, 100))
    )
    console.print(
        f"{audit.ok:,} ok, {audit.failed:,} failed, {audit.expired:,} expired of {audit.sent:,} sent\n"
        f"Latency p50 / p90 / p99 / max: {percentiles} ms on {outcome.device} workers "
        f"(objective {outcome.objective.within_s * 1000:,.0f} ms for {outcome.objective.share:.0%})\n"
        f"Workers {cost.workers_min} to {cost.workers_max}, {cost.scale_ups} scale-ups, "
        f"{cost.scale_downs} scale-downs\n"
        f"{cost.worker_seconds:,.0f} worker-seconds; the smallest fixed fleet that meets the objective "
        f"({cost.fixed_workers} workers, in hindsight) takes {cost.fixed_worker_seconds:,.0f}\n"
        f"Workers: {outcome.device_words}\n"
        f"Report: {relative(report / 'report.html')}",
        highlight=False,
        soft_wrap=True,
    )
