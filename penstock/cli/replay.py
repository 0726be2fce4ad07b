"""`penstock replay`: a recorded tape through the same policy or another one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli._options import Moment, StrictCommand, config_option
from penstock.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.replay.course import Rules, Taped
    from penstock.replay.outcome import Outcome
    from penstock.replay.tape_file import Heading

#: Differences printed; `--json` and the report have more of them.
_SHOWN = 20


@click.command("replay", cls=StrictCommand)
@click.argument("tape", type=click.Path(dir_okay=False, path_type=Path), required=False)
@config_option
@click.option(
    "--bootstrap", metavar="HOST:PORT,...",
    help="Kafka whose telemetry topic is read, instead of the settings'.",
)  # fmt: skip
@click.option(
    "--policy", "rule", metavar="NAME[:PARAMETER=VALUE,...]",
    help="Who decides again; by default the policy of the settings.",
)  # fmt: skip
@click.option("--since", type=Moment(), help="Compare from 2h, 7d ago, or ISO 8601 (UTC) on; from the last claim on.")
@click.option("--until", type=Moment(), help="Compare until this time.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the tape into a file too, to be replayed elsewhere; packed where it ends in .gz.",
)  # fmt: skip
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="replay.json and replay.png go there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON on standard output.")
def command(
    *,
    tape: Path | None,
    config: Path,
    bootstrap: str | None,
    rule: str | None,
    since: int | None,
    until: int | None,
    save: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Decide again what was decided, from the recorded telemetry, and say where it comes out otherwise.

    Of TAPE, a file that --save has written, or without it of the telemetry topic, read without joining any group. By
    the policy and settings that decided live, the decisions are the same, word for word: exit code 0, else 3. By
    another policy it is 0.
    """
    from penstock.replay.course import Course  # noqa: PLC0415 - not needed for --help
    from penstock.replay.outcome import Outcome, words  # noqa: PLC0415

    if tape is not None and (bootstrap is not None or save is not None):
        raise InvalidInput("--bootstrap and --save are about the topic", f"leave them out, or leave {tape} out")
    since_s, until_s = (None if at_ms is None else at_ms / 1000 for at_ms in (since, until))
    pipeline, rules, source = _source(tape, config, bootstrap, rule, since_s)
    with source as (heading, entries):
        course = Course(heading.pipeline, rules, heading.whole_from_s)
        outcome = Outcome(pipeline, rules, since_s=since_s, until_s=until_s, epoch=heading.epoch)
        with _saved(save, heading) as keep, _progress(f"deciding again, {rules.rule}") as at:
            for entry, part in entries:
                keep(entry)
                outcome.add(course.feed(entry))
                at(part)
    if not outcome.decisions:
        raise NotFound(
            f"the tape holds no decision of the pipeline {pipeline} in that time",
            "name another time with --since and --until, or a tape of an autoscaler that has decided",
        )
    told = outcome.as_json(course)
    if report is not None:
        _write(report, outcome, told)
    if as_json:
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        _show(told, words(told))
    return 0 if told["same"] or not told["same_policy"] else 3


def _source(
    tape: Path | None, config: Path, bootstrap: str | None, rule: str | None, since_s: float | None
) -> tuple[str, Rules, Any]:
    """The pipeline, how to decide, and what opens the tape."""
    from autoscaler.policies import registry  # noqa: PLC0415 - not needed for --help
    from penstock import settings  # noqa: PLC0415
    from penstock.replay.course import Rules  # noqa: PLC0415

    tree = settings.load(config)
    chosen = tree.autoscaler.policy if rule is None else rule
    rules = Rules(tree.policy, tree.worker_types, tree.pipeline.objective, chosen)
    try:
        registry.named(chosen, rules.objective, rules.policy)
    except ValueError as error:
        cause, _, cure = str(error).partition(": ")
        raise InvalidInput(f"--policy {chosen}: {cause}", cure or f"use one of {', '.join(registry.NAMES)}") from error
    if tape is None:
        try:
            kafka = tree.kafka if bootstrap is None else dataclasses.replace(tree.kafka, bootstrap_servers=bootstrap)
        except ValueError as error:
            raise InvalidInput(f"--bootstrap {bootstrap}: {error}", "give host:port") from error
        return tree.pipeline.name, rules, _topic(kafka, tree.pipeline.name, rules, since_s)
    return tree.pipeline.name, rules, _file(tape, tree.pipeline.name)


@contextlib.contextmanager
def _topic(
    kafka: Any, pipeline: str, rules: Rules, since_s: float | None
) -> Iterator[tuple[Heading, Iterator[tuple[Taped, float]]]]:
    from penstock.replay.topic import TelemetryTape  # noqa: PLC0415 - not needed for --help

    with TelemetryTape(kafka, pipeline, rules.policy.history_s) as telemetry:
        stretch = telemetry.stretch(since_s)
        yield stretch.heading, telemetry.read(stretch)


@contextlib.contextmanager
def _file(path: Path, pipeline: str) -> Iterator[tuple[Heading, Iterator[tuple[Taped, float]]]]:
    from penstock.replay.tape_file import read_heading, read_records  # noqa: PLC0415 - not needed for --help

    heading = read_heading(path)
    if heading.pipeline != pipeline:
        raise InvalidInput(
            f"{path} is of the pipeline {heading.pipeline!r}, the settings are of {pipeline!r}",
            "name the settings of the tape's pipeline with --config",
        )
    yield heading, read_records(path)


@contextlib.contextmanager
def _saved(path: Path | None, heading: Heading) -> Iterator[Any]:
    from penstock.replay.tape_file import TapeWriter  # noqa: PLC0415 - not needed for --help

    if path is None:
        yield lambda _entry: None
        return
    with TapeWriter(path, heading) as writer:
        yield writer.write


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Any]:
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda part: progress.update(task, completed=part)


def _write(report: Path, outcome: Outcome, told: dict[str, Any]) -> None:
    from autoscaler.whole_file import write_whole  # noqa: PLC0415
    from penstock.replay.figure import draw  # noqa: PLC0415 - matplotlib takes a second
    from penstock.replay.outcome import words  # noqa: PLC0415

    report.mkdir(parents=True, exist_ok=True)
    write_whole(report / "replay.json", json.dumps(told, indent=1) + "\n")
    draw(outcome.points, told, words(told), report / "replay.png")
    click.echo(f"Report: {report / 'replay.png'}", err=True)


def _show(told: dict[str, Any], lines: list[str]) -> None:
    from rich.table import Table  # noqa: PLC0415 - not needed for --json
    from rich.text import Text  # noqa: PLC0415

    from penstock.cli._letters import console  # noqa: PLC0415
    from penstock.replay.outcome import difference_words  # noqa: PLC0415

    people = console()
    for line in lines:
        people.print(Text(line), soft_wrap=True)
    stretches = told["differences"]
    if stretches:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("from (UTC)", "live", "replayed", "reasons"):
            table.add_column(heading)
        for one in stretches[:_SHOWN]:
            table.add_row(*map(Text, difference_words(one)))
        people.print(table)
        more = len(stretches) - _SHOWN + told["more_differences"]
        if more > 0:
            people.print(Text(f"and {more} more stretches; --json has them"))
    for note in told["notes"]:
        people.print(Text(f"Note: {note}."), soft_wrap=True)
