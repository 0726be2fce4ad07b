"""`penstock verify`: faults on purpose, and a ledger of every request."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from penstock.verify.arena import Given
    from penstock.verify.runner import Plan

#: Seeds that are drawn are small enough to be typed.
_MOST_SEED = 9999
_NAMES = (
    "sigkill",
    "zombie",
    "rebalance-storm",
    "broker-restart",
    "broker-sigkill",
    "results-unavailable",
    "redis-gone",
    "clock-step",
)


@click.group("verify")
def command() -> None:
    """Try what Penstock promises: each request answered exactly once, whatever is killed."""


@command.command("delivery")
@click.option(
    "--fault", "faults", type=click.Choice(_NAMES), multiple=True, help="Only this one; may be repeated. [default: all]"
)
@click.option("--runs", type=click.IntRange(1, 1000), default=1, show_default=True, help="Runs of each fault.")
@click.option(
    "--seconds",
    type=click.FloatRange(3, 3600),
    default=4.0,
    show_default=True,
    help="Least length of the load of a run; it goes on until the fault is over.",
)
@click.option("--rate", type=click.FloatRange(8, 5000), default=240.0, show_default=True, help="Requests a second.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Of moments and victims.  [default: drawn]")
@click.option(
    "--bootstrap", default=None, help="host:port of your own cluster.  [default: embedded brokers, thrown away after]"
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Settings file whose cluster, worker settings and copies are tried; topics and workers are of our own.",
)
@click.option("--json", "as_json", is_flag=True, help="A list of rows on standard output.")
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Directory for delivery.json, delivery.md and the workers' logs.",
)
def delivery(
    *,
    faults: Sequence[str],
    runs: int,
    seconds: float,
    rate: float,
    seed: int | None,
    bootstrap: str | None,
    config: Path | None,
    as_json: bool,
    report: Path | None,
) -> int:
    """Run the fault matrix: real workers under load, trouble, and a ledger of every request by a read-committed reader.

    Ends with code 1 when a request was lost, answered twice, out of order, wrong or not at all. Faults that stop
    brokers are tried on embedded brokers only; on a cluster of your own their rows say that they were not run.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help

    from penstock import logs  # noqa: PLC0415
    from penstock.verify.report import clean, legend, markdown  # noqa: PLC0415
    from penstock.verify.runner import Plan  # noqa: PLC0415

    logs.configure("ERROR")
    # Brokers that are away are what is being tried: the client library's complaints would only hide the table.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    plan = Plan(
        faults=tuple(name for name in _NAMES if name in faults or not faults),
        runs=runs,
        seconds=seconds,
        rate=rate,
        seed=random.randint(0, _MOST_SEED) if seed is None else seed,  # noqa: S311 - no secret
    )
    given = _given(bootstrap, config)
    console = Console(stderr=as_json)
    console.print(f"Seed {plan.seed}.", highlight=False)
    with tempfile.TemporaryDirectory(prefix="penstock-verify-logs-") as scratch:
        worker_logs = Path(scratch) if report is None else report / "logs"
        if report is not None:
            shutil.rmtree(worker_logs, ignore_errors=True)
            worker_logs.mkdir(parents=True)
        rows: list[dict[str, Any]] = []
        for found in _rows(plan, given, worker_logs, console):
            rows.append(found)
            if report is not None:
                # After each fault, so that a long run that is broken off leaves what it has found.
                (report / "delivery.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                (report / "delivery.md").write_text(markdown(rows), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        _table(rows, console, dict(legend()))
    return 0 if all(clean(row) for row in rows) else 1


@command.command("render")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def render(*, file: Path) -> int:
    """Write the table of a run's JSON (from --json or --report) as Markdown."""
    from penstock.verify.report import markdown  # noqa: PLC0415 - not needed for --help

    try:
        click.echo(markdown(json.loads(file.read_text(encoding="utf-8"))), nl=False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise click.BadParameter(f"{file} is not the JSON of `penstock verify delivery`: {error!r}") from error
    return 0


def _given(bootstrap: str | None, config: Path | None) -> Given:
    """The user's cluster and settings, if any.

    Raises:
        InvalidSettings: the settings file is unusable.
        click.BadParameter: the address is.
    """
    from penstock import settings  # noqa: PLC0415 - not needed for --help
    from penstock.verify.arena import Given  # noqa: PLC0415
    from streams.kafka import KafkaSettings  # noqa: PLC0415

    if config is None and bootstrap is None:
        return Given()
    try:
        if config is None:
            return Given(kafka=KafkaSettings(bootstrap_servers=bootstrap or ""))
        tree = settings.load(config)
        kafka = tree.kafka if bootstrap is None else dataclasses.replace(tree.kafka, bootstrap_servers=bootstrap)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--bootstrap") from error
    return Given(
        kafka=kafka,
        worker=dataclasses.asdict(tree.worker),
        replication_factor=tree.topics.replication_factor,
        min_in_sync=tree.topics.min_in_sync,
    )


def _rows(plan: Plan, given: Given, worker_logs: Path, console: Console) -> Iterator[dict[str, Any]]:
    """Each fault's row as soon as it is known, with a progress bar meanwhile."""
    from rich.progress import (  # noqa: PLC0415 - not needed for --help
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from penstock.errors import KafkaUnusable  # noqa: PLC0415
    from penstock.verify.arena import Arena  # noqa: PLC0415
    from penstock.verify.report import row  # noqa: PLC0415
    from penstock.verify.runner import run  # noqa: PLC0415
    from penstock.verify.surroundings import machine, versions  # noqa: PLC0415
    from streams.errors import KafkaFailure  # noqa: PLC0415

    surroundings = {"machine": machine(), "versions": versions(embedded=given.kafka is None)}
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {name: progress.add_task(name, total=plan.runs, start=False) for name in plan.faults}
        waiting = iter(tasks.values())
        progress.start_task(next(waiting))

        def advance(fault: str, done: int) -> None:
            progress.update(tasks[fault], completed=done)

        try:
            with Arena(given, worker_logs) as arena:
                for outcome in run(plan, arena, advance=advance):
                    progress.stop_task(tasks[outcome.fault])
                    yield row(outcome, plan, surroundings)
                    if (later := next(waiting, None)) is not None:
                        progress.start_task(later)
        except KafkaFailure as error:
            raise KafkaUnusable(str(error), "check --bootstrap, or the [kafka] section of --config") from error


def _table(rows: list[dict[str, Any]], console: Console, words: dict[str, str]) -> None:
    from rich.table import Table  # noqa: PLC0415 - not needed for --help

    from penstock.verify.report import HEADINGS, cells, clean  # noqa: PLC0415

    table = Table(show_edge=False, pad_edge=False, title_justify="left")
    for number, heading in enumerate(HEADINGS):
        text = number in (0, len(HEADINGS) - 1)
        table.add_column(heading, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
    for found in rows:
        style = "dim" if found["not_run"] else "" if clean(found) else "bold red"
        table.add_row(*cells(found), style=style)
    console.print(table)
    for found in rows:
        console.print(f"[dim]{found['fault']}: {words[found['fault']]}[/]", highlight=False)
