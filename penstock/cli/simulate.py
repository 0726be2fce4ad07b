"""`penstock simulate`: policies against made-up and recorded loads, in simulated time."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.simulate.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from autoscaler.settings import PolicySettings
    from autoscaler.simulation.scenario import Scenario
    from penstock.simulate.rows import Row
    from penstock.simulate.study import Choice, Watcher

#: Columns of a screen that has room for all figures.
_WIDE = 130


@click.command("simulate")
@click.option(
    "--trace", "traces", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Recorded arrivals (t_seconds,requests; .csv or .csv.gz; a .gaps.csv beside it is honoured).",
)  # fmt: skip
@click.option("--pattern", "names", multiple=True, metavar="NAME", help="A made-up load, or a named window of a trace.")
@click.option("--suite", "suites", multiple=True, metavar="NAME", help="Several at once: reference.")
@click.option("--policy", "policies", multiple=True, metavar="NAME[:PARAMETER=VALUE,...]", help="Who decides.")
@click.option("--scenario", type=click.Path(path_type=Path), metavar="FILE", help="The group, as TOML.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Take [policy] from these settings.")
@click.option("--reserve", type=int, help="Workers that penstock keeps beyond the need, instead of the settings'.")
@click.option("--seed", type=int, help="Of arrivals and boots, instead of the scenario's.")
@click.option("--start", type=float, default=0.0, show_default=True, help="Of the stretch, in trace seconds.")
@click.option("--length", type=float, help="Of the stretch, in trace seconds; of a pattern, in seconds.")
@click.option("--compression", type=float, default=1.0, show_default=True, help="Trace seconds in one second.")
@click.option("--smooth", type=float, help="Seconds over which counts are smoothed where a trace is scaled up.")
@click.option(
    "--folder", "--traces", "folder", type=click.Path(path_type=Path), envvar="PENSTOCK_TRACES", metavar="DIR",
    help="Recorded traces of the named windows; also PENSTOCK_TRACES.",
)  # fmt: skip
@click.option("--no-clairvoyant", is_flag=True, help="Leave out the schedule that knows the load, which takes longest.")
@click.option("--json", "as_json", is_flag=True, help="The runs as JSON on standard output.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Table and pictures go there.")
@click.option("--list", "listed", is_flag=True, help="Names of patterns, windows, suites and policies.")
def command(  # noqa: PLR0917 - click gives them by name
    traces: tuple[Path, ...],
    names: tuple[str, ...],
    suites: tuple[str, ...],
    policies: tuple[str, ...],
    scenario: Path | None,
    config: Path | None,
    reserve: int | None,
    seed: int | None,
    start: float,
    length: float | None,
    compression: float,
    smooth: float | None,
    folder: Path | None,
    no_clairvoyant: bool,
    as_json: bool,
    report: Path | None,
    listed: bool,
) -> int:
    """Run scaling policies on a load and compare cost and late requests, with each other and with what knew the load.

    Cost counts every worker from the order to start it. A request is late when its answer comes after the objective;
    the warm-up counts in nothing.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help

    if listed:
        _list()
        return 0
    if not (traces or names or suites):
        raise BadInput("no load was named", "give --trace FILE, --pattern NAME or --suite NAME; --list shows the names")
    if not policies:
        raise BadInput("no policy was named", "give --policy NAME; --list shows the names")
    if report is not None and report.exists() and not report.is_dir():
        raise BadInput(f"--report {report} is a file", "name a directory")
    group = _scenario(scenario, seed)
    choice = _choice(traces, names, suites, folder, start=start, length=length, compression=compression, smooth=smooth)
    console = Console(stderr=True)
    rows = _run(
        group,
        choice,
        policies,
        settings=_settings(config, reserve),
        search=not no_clairvoyant,
        report=report,
        console=console,
    )
    runs = [one for one in rows if "objective_share" in one]
    if as_json:
        click.echo(json.dumps(runs, indent=1, allow_nan=False))
    else:
        _show(rows, runs)
    return 0


def _scenario(path: Path | None, seed: int | None) -> Scenario:
    from autoscaler.simulation.scenario import Scenario  # noqa: PLC0415 - not needed for --help
    from penstock.simulate.scenario_file import read_scenario  # noqa: PLC0415

    found = Scenario() if path is None else read_scenario(path)
    if seed is None:
        return found
    try:
        return dataclasses.replace(found, seed=seed)
    except ValueError as error:
        raise BadInput(f"--{error}", "give a whole number") from error


def _settings(config: Path | None, reserve: int | None) -> PolicySettings | None:
    from autoscaler.settings import PolicySettings  # noqa: PLC0415 - not needed for --help
    from penstock import settings  # noqa: PLC0415

    found = None if config is None else settings.load(config).policy
    if reserve is None:
        return found
    try:
        return dataclasses.replace(found or PolicySettings(), reserve=reserve)
    except ValueError as error:
        raise BadInput(f"--{error}", "give a whole number") from error


def _choice(
    traces: tuple[Path, ...],
    names: tuple[str, ...],
    suites: tuple[str, ...],
    folder: Path | None,
    *,
    start: float,
    length: float | None,
    compression: float,
    smooth: float | None,
) -> Choice:
    from autoscaler.simulation.arrivals import Stretch  # noqa: PLC0415 - not needed for --help
    from penstock.simulate.study import Choice  # noqa: PLC0415

    try:
        stretch = Stretch(start, length, compression)
        stretch = stretch if smooth is None else dataclasses.replace(stretch, smooth_s=smooth)
    except ValueError as error:
        raise BadInput(f"--{error}", "see docs/how-to/simulate.md") from error
    return Choice(traces, names, suites, folder, stretch, length)


def _run(
    scenario: Scenario,
    choice: Choice,
    policies: Sequence[str],
    *,
    settings: PolicySettings | None,
    search: bool,
    report: Path | None,
    console: Console,
) -> list[Row]:
    """All rows, those of the bounds behind each load's runs; pictures are drawn on the way."""
    from penstock.simulate.rows import bound_rows  # noqa: PLC0415 - not needed for --help
    from penstock.simulate.study import study  # noqa: PLC0415

    rows: list[Row] = []
    words: list[str] = []
    last: list[Row] = []
    with _progress(console) as watcher:
        for done in study(
            scenario, choice, policies, settings=settings, search=search, pictures=report is not None, watcher=watcher
        ):
            if not words or words[-1] != done.run.load.words:
                rows += last
                words.append(done.run.load.words)
            rows.append(done.row)
            last = bound_rows(done.run.load, done.bounds)
            if report is not None:
                from penstock.simulate.figure import draw  # noqa: PLC0415 - only a report needs it

                watcher.begin(f"{done.run.load.name}: drawing")
                report.mkdir(parents=True, exist_ok=True)
                draw(done, report / f"{_file_name(done.run.load.name)}-{_file_name(done.run.policy)}.png")
    rows += last
    if report is not None:
        _write(rows, words, report)
    return rows


def _write(rows: list[Row], words: list[str], report: Path) -> None:
    from penstock.simulate.frontier import draw  # noqa: PLC0415 - only a report needs it
    from penstock.simulate.rows import markdown  # noqa: PLC0415

    runs = [one for one in rows if "objective_share" in one]
    (report / "runs.json").write_text(json.dumps(runs, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (report / "report.md").write_text(markdown(rows, words), encoding="utf-8")
    draw(rows, report / "frontier.png")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in text)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Watcher]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - not for --help

    class _Bar:
        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._task: Any = None

        def begin(self, what: str) -> None:
            if self._task is None:
                self._task = self._progress.add_task(what, total=1.0)
            else:
                self._progress.reset(self._task, description=what, total=1.0)

        def at(self, part: float) -> None:
            self._progress.update(self._task, completed=min(1.0, part))

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


def _show(rows: Sequence[Row], runs: Sequence[Row]) -> None:
    from rich.box import SIMPLE  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.table import Table  # noqa: PLC0415

    from penstock.simulate.rows import COLUMNS, FEW, TEXT, cells, summary, summary_cells, unmet  # noqa: PLC0415

    console = Console()
    shown = [place for place, (heading, _, _) in enumerate(COLUMNS) if console.width >= _WIDE or heading in FEW]
    table = Table(show_edge=False, pad_edge=False, box=SIMPLE)
    for place in shown:
        text = place < TEXT
        table.add_column(COLUMNS[place][0], justify="left" if text else "right", no_wrap=True, overflow="ellipsis")
    for one in rows:
        allowed = 1 - one.get("objective_share", 0.0)
        style = "dim" if one not in runs else "red" if one["violation"] > allowed else ""
        written = cells(one)
        table.add_row(*(written[place] for place in shown), style=style)
    console.print(table)
    if len({one["trace"] for one in runs}) > 1:
        over = Table(show_edge=False, pad_edge=False, box=SIMPLE, title="Over all loads", title_justify="left")
        for heading in ("policy", "loads", "cost / clairvoyant", "late % mean", "worst", "within"):
            over.add_column(heading, justify="left" if heading == "policy" else "right")
        for one in summary(runs):
            over.add_row(*summary_cells(one))
        console.print()
        console.print(over)
    for sentence in filter(None, map(unmet, runs)):
        console.print(sentence, highlight=False)
    for words in dict.fromkeys(one["load"] for one in runs):
        console.print(f"[dim]{words}[/]", highlight=False)


def _list() -> None:
    from autoscaler.policies import registry  # noqa: PLC0415 - not needed for --help
    from autoscaler.simulation.patterns import PATTERNS  # noqa: PLC0415
    from penstock.simulate.windows import SUITES, WINDOWS  # noqa: PLC0415

    click.echo("patterns")
    for pattern in PATTERNS.values():
        click.echo(f"  {pattern.name:<12} {pattern.words}")
    click.echo("windows of recorded traces")
    for one in WINDOWS.values():
        click.echo(f"  {one.name:<12} {one.file}")
    click.echo("suites")
    for name, members in SUITES.items():
        click.echo(f"  {name:<12} {', '.join(members)}")
    click.echo("policies")
    for name in registry.NAMES:
        known = ", ".join(f"{key}={value}" for key, value in registry.parameters_of(name).items())
        click.echo(f"  {name:<12} {known}")
    click.echo(f"  {'clairvoyant':<12} the schedule that knew the load")
