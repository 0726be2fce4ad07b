"""`penstock plan`: how many of what, how many partitions, what it costs, and when it breaks."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli._options import StrictCommand
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from autoscaler.planning.workload import Workload
    from penstock.plan.order import Order

#: Longest record that is planned in steps of five minutes, in seconds; longer ones by the hour.
SHORT_S = 3 * 3600.0
#: Widest bins that are planned from, in seconds: what is sized for is a peak, and a day's mean has none.
WIDEST_S = 3600.0


@click.command("plan", cls=StrictCommand)
@click.argument("trace", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--type", "types", multiple=True, metavar="NAME=PROFILE,price=P[,min=N][,max=N][,boot=S]",
    help="A worker type: profile.json (or A_MS:B_MS:BATCH) and its price an hour; give it again for more.",
)  # fmt: skip
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), default=None,
    help="Settings that worker types, objective and topics are taken from, where no option says them.",
)  # fmt: skip
@click.option("--scale", type=float, default=1.0, show_default=True, help="Times the recorded load, today.")
@click.option("--growth", type=float, default=1.0, show_default=True, help="Growth to plan for, on top.")
@click.option("--objective-ms", type=click.FloatRange(min=0, min_open=True), help="Time for an answer; 1000.")
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Of the requests in time; 0.99."
)
@click.option(
    "--overhead-ms", type=click.FloatRange(0, 60_000), default=30.0, show_default=True,
    help="Of a request besides waiting and service: sending, polling, committing; `penstock loadtest` measures it.",
)  # fmt: skip
@click.option("--period", type=click.FloatRange(60, 86_400), help="Seconds with one fleet; 3600, or 300 below 3 hours.")
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Given; chosen by default.")
@click.option(
    "--head-room", type=click.FloatRange(1, 100), default=2.0, show_default=True,
    help="Partitions are at least so many times the workers of the peak.",
)  # fmt: skip
@click.option("--request-bytes", type=click.FloatRange(0, 1e9), help="Of a request; measured where the trace has them.")
@click.option("--result-bytes", type=click.FloatRange(0, 1e9), help="Of a result.")
@click.option("--retention-hours", type=click.FloatRange(0.01, 1e6), help="Of requests and results; 72.")
@click.option("--copies", type=click.IntRange(1, 100), help="Replication factor; 3.")
@click.option("--brokers", type=click.IntRange(1, 10_000), default=3, show_default=True)
@click.option(
    "--broker-mb-s", type=click.FloatRange(0.001, 1e6), default=125.0, show_default=True,
    help="Network of a broker in one direction, MB/s.",
)  # fmt: skip
@click.option("--broker-disk-gb", type=click.FloatRange(0.001, 1e9), help="Disk of a broker.")
@click.option(
    "--zones", type=click.IntRange(1, 100), default=3, show_default=True, help="That workers are spread over."
)
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME[:PARAMETER=VALUE,...]",
    help="Run against the planned load too, beside the plan; `penstock simulate --list` names them.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of the draws of the load.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("plan.json"), show_default=True)
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for plan.html and plan.png."
)
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on standard output.")
def command(*, trace: Path, out: Path, report: Path | None, as_json: bool, **given: Any) -> int:
    """Plan the capacity for the load in TRACE (t_seconds,requests; or t_seconds,partition,bytes).

    The cheapest fleet by period and type is found by an integer program and then replayed against the trace, request by
    request, by the simulator; it is made larger until it holds there.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from autoscaler.whole_file import write_whole  # noqa: PLC0415
    from penstock.cli._letters import console  # noqa: PLC0415
    from penstock.plan import planner  # noqa: PLC0415
    from penstock.plan.report import answer, as_told, lines, page  # noqa: PLC0415

    order = _order(trace, **given)
    with Console(stderr=True).status("planning") as status:
        plan = planner.make(order, lambda stage: status.update(f"planning: {stage}"))
    text = json.dumps(as_told(order, plan), indent=1, allow_nan=False)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    write_whole(out, text + "\n")
    if report is not None:
        write_whole(report / "plan.html", page(order, plan, report / "plan.png"))
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        screen = console()
        screen.print(Text(answer(order, plan)))
        screen.print()
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, words in lines(order, plan):
            table.add_row(Text(name), Text(words))
        screen.print(table)
    click.echo(f"Plan: {out}" + (f", report: {report / 'plan.html'}" if report else ""), err=True)
    return 0


def _order(
    trace: Path,
    *,
    types: tuple[str, ...],
    config: Path | None,
    scale: float,
    growth: float,
    objective_ms: float | None,
    share: float | None,
    overhead_ms: float,
    period: float | None,
    partitions: int | None,
    head_room: float,
    request_bytes: float | None,
    result_bytes: float | None,
    retention_hours: float | None,
    copies: int | None,
    brokers: int,
    broker_mb_s: float,
    broker_disk_gb: float | None,
    zones: int,
    policies: tuple[str, ...],
    seed: int,
) -> Order:
    """The question, from options, settings and the trace.

    Raises:
        InvalidInput: one of them cannot be.
    """
    from dataclasses import replace  # noqa: PLC0415

    from autoscaler.model import Objective  # noqa: PLC0415
    from penstock import settings  # noqa: PLC0415
    from penstock.analyse.source import from_file  # noqa: PLC0415
    from penstock.plan.order import REQUEST_BYTES, RESULT_BYTES, Order, noted_type  # noqa: PLC0415
    from streams.topics import TopicSettings  # noqa: PLC0415

    tree = None if config is None else settings.load(config)
    read = [noted_type(text) for text in types]
    kinds = tuple(kind for kind, _ in read) or (tree.worker_types if tree else ())
    if not kinds:
        raise InvalidInput("no worker type", "give --type NAME=profile.json,price=0.05, or --config with worker types")
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise InvalidInput(f"worker types {', '.join(names)}", "give each a name of its own")
    objective = tree.pipeline.objective if tree else Objective()
    objective = Objective(
        objective.within_s if objective_ms is None else objective_ms / 1000, objective.share if share is None else share
    )
    topics = tree.topics if tree else TopicSettings(replication_factor=3, min_in_sync=2)
    topics = replace(
        topics,
        retention_hours=retention_hours or topics.retention_hours,
        replication_factor=copies or topics.replication_factor,
        min_in_sync=min(topics.min_in_sync, copies or topics.replication_factor),
    )
    history = from_file(trace)
    load = history.workload
    measured = None if history.sizes is None else float(history.sizes.mean())
    period_s, rounded = _whole_bins(trace, load, period)
    return Order(
        history=history, trace=trace, types=kinds, objective=objective, scale=scale, growth=growth,
        overhead_s=overhead_ms / 1000,
        period_s=period_s, partitions=partitions, head_room=head_room, topics=topics,
        request_bytes=request_bytes if request_bytes is not None else measured or REQUEST_BYTES,
        result_bytes=RESULT_BYTES if result_bytes is None else result_bytes,
        bytes_known=result_bytes is not None and (request_bytes is not None or measured is not None),
        brokers=brokers, broker_bytes_per_s=broker_mb_s * 1e6,
        disk_bytes=None if broker_disk_gb is None else broker_disk_gb * 1e9, zones=zones, seed=seed, policies=policies,
        notes=(*history.notes, *rounded, *(note for _, notes in read for note in notes)),
    )  # fmt: skip


def _whole_bins(trace: Path, load: Workload, period: float | None) -> tuple[float, tuple[str, ...]]:
    """Seconds with one fleet, a multiple of the trace's bins; and a word on it where that is not what was asked.

    Raises:
        InvalidInput: the bins are so wide that nothing is known of the peak.
    """
    if load.width_s > WIDEST_S:
        raise InvalidInput(f"{trace}: bins of {load.width_s:g} s hide the peak", f"count in {WIDEST_S:g} s or less")
    wanted_s = period or (3600.0 if len(load.counts) * load.width_s >= SHORT_S else 300.0)
    period_s = max(1, math.ceil(wanted_s / load.width_s - 1e-6)) * load.width_s
    if abs(period_s - wanted_s) <= 1e-3:  # noqa: PLR2004 - rounding
        return period_s, ()
    words = (
        f"periods of {period_s:g} s instead of {wanted_s:g} s: whole bins of the trace, which are {load.width_s:g} s"
    )
    return period_s, (words,)
