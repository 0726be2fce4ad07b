"""`penstock bench`: our data plane beside the alternatives, measured in one run on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.bench.errors import UnknownRow

if TYPE_CHECKING:
    from penstock.bench.run import Outcome


@click.group("bench")
def command() -> None:
    """Measure on this machine what Penstock costs, beside what else there is."""


@command.command("data-plane")
@click.option(
    "--rows", multiple=True, metavar="NAME[:PART]...",
    help="Only these rows, e.g. penstock or penstock:exactly-once:binary:1:kafka-python; may be given several times.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.5, 600), default=4.0, show_default=True,
    help="Least length of a throughput window.",
)  # fmt: skip
@click.option(
    "--records", type=click.IntRange(200), default=20_000, show_default=True,
    help="Fewest results in a throughput window of one-row requests.",
)  # fmt: skip
@click.option(
    "--open-loop-seconds", type=click.FloatRange(1, 600), default=15.0, show_default=True,
    help="Length of a latency run.",
)  # fmt: skip
@click.option(
    "--warm-seconds", type=click.FloatRange(0, 600), default=45.0, show_default=True,
    help="For so long each of three clients keeps the broker busy before anything counts.",
)  # fmt: skip
@click.option("--repeat", type=click.IntRange(1, 50), default=3, show_default=True, help="Rounds; the median is shown.")
@click.option("--quick", is_flag=True, help="One short round, to see that everything runs; the figures are rough.")
@click.option("--no-latency", is_flag=True, help="Throughput and processor time only.")
@click.option("--no-shares", is_flag=True, help="No latency at 25, 50 and 75 % of our own saturation.")
@click.option(
    "--set", "worker", multiple=True, metavar="SECTION.FIELD=VALUE",
    help="A setting of our worker, as TOML, e.g. worker.max_batch=128.",
)  # fmt: skip
@click.option("--profile", is_flag=True, help="Sample where our worker's threads spend their time; needs --report.")
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON on standard output.")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for rows, table and picture."
)
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="this directory",
    help="Data of the run goes to DIRECTORY/.penstock/bench/.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the logs of the run.")
def data_plane(
    *,
    rows: tuple[str, ...],
    seconds: float,
    records: int,
    open_loop_seconds: float,
    warm_seconds: float,
    repeat: int,
    quick: bool,
    no_latency: bool,
    no_shares: bool,
    worker: tuple[str, ...],
    profile: bool,
    as_json: bool,
    report: Path | None,
    directory: Path,
    keep: bool,
) -> int:
    """Throughput, processor time and latency of the limits, of our worker and of the alternatives.

    Ends with code 0 when every answer of our own was right and came exactly once; the ratios are shown, not enforced.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help

    from penstock.bench import candidates  # noqa: PLC0415
    from penstock.bench.run import Options, run  # noqa: PLC0415

    if profile and report is None:
        raise click.UsageError("--profile writes into a report: give --report DIR too")
    try:
        chosen = candidates.select(rows)
    except UnknownRow as error:
        raise click.BadParameter(f"{error.cause}; {error.cure}", param_hint="--rows") from error
    settings = dict(_setting(text) for text in worker)
    if quick:
        records, seconds, open_loop_seconds, repeat = min(records, 2000), min(seconds, 1.0), 3.0, 1
        warm_seconds = 0.0
    options = Options(
        chosen,
        records=records,
        seconds=seconds,
        open_loop_s=open_loop_seconds,
        repeat=repeat,
        directory=directory,
        warm_s=warm_seconds,
        latencies=not no_latency,
        shares=not no_shares and not quick,
        worker=settings,
        profiles=report if profile else None,
        keep=keep,
    )
    outcome = run(options, Console(stderr=True))
    _show(outcome, as_json=as_json, report=report, how=_how(options, quick=quick))
    return 1 if outcome.problems else 0


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise click.BadParameter(f"{text!r}: give SECTION.FIELD=VALUE, e.g. worker.max_batch=128", param_hint="--set")
    return name.strip(), value.strip()


def _how(options: object, *, quick: bool) -> str:
    from penstock.bench.run import Options  # noqa: PLC0415

    if not isinstance(options, Options):
        return ""
    sets = "".join(f" {name}={value}" for name, value in options.worker.items())
    return (
        f"{'QUICK RUN, ROUGH FIGURES. ' if quick else ''}Medians of {options.repeat} rounds (lowest-highest in "
        f"brackets); throughput windows of at least {options.records:,} records (fewer for 32 rows) and "
        f"{options.seconds:g} s; "
        f"open loop {options.open_loop_s:g} s; one embedded broker on the same cores, with the flags of Kafka's own "
        f"scripts, warmed for {options.warm_s:g} s by each of three clients."
        + (f" Our worker with{sets}." if sets else "")
        + (" Sampled for a profile: figures of ours are worse than without." if options.profiles else "")
    )


def _show(outcome: Outcome, *, as_json: bool, report: Path | None, how: str) -> None:
    from rich.console import Console  # noqa: PLC0415

    from penstock.bench import table  # noqa: PLC0415
    from penstock.bench.figure import write_figure  # noqa: PLC0415
    from penstock.bench.ratios import ratios  # noqa: PLC0415
    from penstock.bench.run import LOW_RATE  # noqa: PLC0415

    found = ratios(outcome.rows, LOW_RATE)
    told = [row.as_json() for row in outcome.rows]
    people = Console(stderr=True) if as_json else Console()
    if not people.is_terminal:
        people = Console(stderr=as_json, width=220)
    people.print()
    people.print(table.table(outcome.rows))
    people.print()
    people.print(table.ratio_table(found))
    for line in (*table.notes(outcome.rows), how):
        people.print(line, soft_wrap=True, highlight=False, markup=False)
    people.print(", ".join(f"{name} {value}" for name, value in outcome.machine.items()), soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        whole = {"rows": told, "ratios": [one.as_json() for one in found], "machine": dict(outcome.machine), "how": how}
        (report / "data-plane.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        page = table.markdown(outcome.rows, found, outcome.machine, how)
        (report / "data-plane.md").write_text(page, encoding="utf-8")
        where = ", ".join(f"{name} {value}" for name, value in outcome.machine.items())
        write_figure(outcome.rows, report / "data-plane.png", f"{where}. {how}")
        people.print(f"Report: {report / 'data-plane.md'}", soft_wrap=True, highlight=False)
