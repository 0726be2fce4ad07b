"""`penstock analyse`: what a workload is like."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli._options import Moment, StrictCommand, config_option
from penstock.errors import InvalidInput, KafkaUnusable

if TYPE_CHECKING:
    from penstock.analyse.source import History, Records


@click.command("analyse", cls=StrictCommand)
@click.argument("trace", type=click.Path(dir_okay=False, path_type=Path), required=False)
@config_option
@click.option("--since", type=Moment(), help="Of the topic: from 2h, 7d ago, or ISO 8601 (UTC) on; all that is kept.")
@click.option("--until", type=Moment(), help="Of the topic: before this time.")
@click.option("--starts-at", type=Moment(), help="When a trace file began, so that hours are those of the clock.")
@click.option(
    "--bin", "bin_s", type=click.FloatRange(0.001, 3600), default=1.0, show_default=True,
    help="Seconds that single records are counted in.",
)  # fmt: skip
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the topic's records as a CSV file."
)
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for workload.html, .png and .json."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON on standard output.")
def command(
    *,
    trace: Path | None,
    config: Path,
    since: int | None,
    until: int | None,
    starts_at: int | None,
    bin_s: float,
    save: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Rates, peaks, burstiness, seasons, trend, record sizes and key skew.

    Of TRACE (t_seconds,requests; or t_seconds,partition,bytes), or without it of the requests topic of the pipeline in
    --config, read without joining its group.
    """
    from autoscaler.whole_file import write_whole  # noqa: PLC0415
    from penstock.analyse import source  # noqa: PLC0415 - not needed for --help
    from penstock.analyse.analysis import analyse, lines  # noqa: PLC0415

    if trace is not None and (since is not None or until is not None or save is not None):
        raise InvalidInput("--since, --until and --save are about a topic", f"leave them out, or leave {trace} out")
    if trace is not None:
        history = source.from_file(trace, starts_at_s=None if starts_at is None else starts_at / 1000, bin_s=bin_s)
    else:
        history, records = _read_topic(config, since, until, bin_s)
        if save is not None:
            source.save(save, records)
    found = analyse(history)
    told = json.dumps(found.as_json(), indent=1, allow_nan=False)
    if report is not None:
        from penstock.analyse.report import page  # noqa: PLC0415 - matplotlib takes a second

        report.mkdir(parents=True, exist_ok=True)
        write_whole(report / "workload.json", told + "\n")
        write_whole(report / "workload.html", page(found, history, report / "workload.png"))
    if as_json:
        sys.stdout.write(told + "\n")
    else:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        from penstock.cli._letters import console  # noqa: PLC0415

        table = Table(show_header=False, box=None, pad_edge=False, title=f"Workload {found.name}", title_justify="left")
        for name, words in lines(found):
            table.add_row(Text(name), Text(words))
        console().print(table)
    if report is not None:
        click.echo(f"Report: {report / 'workload.html'}", err=True)
    return 0


def _read_topic(config: Path, since: int | None, until: int | None, bin_s: float) -> tuple[History, Records]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    from penstock import settings  # noqa: PLC0415
    from penstock.analyse import source  # noqa: PLC0415
    from streams import topics  # noqa: PLC0415
    from streams.errors import StreamsError  # noqa: PLC0415

    tree = settings.load(config)
    topic = topics.requests(tree.pipeline.name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"reading {topic}", total=None)
            return source.from_topic(
                tree.kafka, topic, since_ms=since, until_ms=until, bin_s=bin_s,
                tell=lambda done, whole: progress.update(task, completed=done, total=whole),
            )  # fmt: skip
    except StreamsError as error:
        raise KafkaUnusable(str(error), "then run `penstock analyse` again") from error
