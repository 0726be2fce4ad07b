"""`penstock backtest`: the forecast against what came."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli._options import StrictCommand
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from autoscaler.forecasting.backtest import Backtest
    from autoscaler.forecasting.settings import ForecastSettings
    from autoscaler.simulation.arrivals import Load


@click.command("backtest", cls=StrictCommand)
@click.option(
    "--trace", type=click.Path(path_type=Path), metavar="FILE",
    help="Recorded arrivals (t_seconds,requests; .csv or .csv.gz; a .gaps.csv beside it is honoured).",
)  # fmt: skip
@click.option("--pattern", metavar="NAME", help="A made-up load, or a named window of a trace, as of simulate.")
@click.option("--horizon", type=float, default=30.0, show_default=True, help="Seconds ahead whose highest rate counts.")
@click.option("--rate", type=float, help="Mean records a second that the load is brought to; a trace keeps its own.")
@click.option("--start", type=float, default=0.0, show_default=True, help="Of the stretch, in trace seconds.")
@click.option("--length", type=float, help="Of the stretch, in trace seconds; of a pattern, in seconds.")
@click.option("--compression", type=float, default=1.0, show_default=True, help="Trace seconds in one second.")
@click.option(
    "--season", type=float, default=86400.0, show_default=True,
    help="Season of the seasonal naive method, in trace seconds.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals.")
@click.option(
    "--folder", "--traces", "folder", type=click.Path(path_type=Path), envvar="PENSTOCK_TRACES", metavar="DIR",
    help="Recorded traces of the named windows; also PENSTOCK_TRACES.",
)  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Table and picture go there.")
@click.option("--json", "as_json", is_flag=True, help="The scores as JSON on standard output.")
def command(
    *,
    trace: Path | None,
    pattern: str | None,
    horizon: float,
    rate: float | None,
    start: float,
    length: float | None,
    compression: float,
    season: float,
    seed: int,
    folder: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Run the forecaster over a load and score it, its methods and simple methods by pinball loss and coverage.

    What is forecast is the highest 5-second rate within the horizon, at the quantiles 0.5, 0.9 and 0.99. Losses are in
    per cent of the mean rate.
    """
    if (trace is None) == (pattern is None):
        raise InvalidInput("one load is needed", "give --trace FILE or --pattern NAME")
    if report is not None and report.exists() and not report.is_dir():
        raise InvalidInput(f"--report {report} is a file", "name a directory")
    _check_window(pattern, start, length, compression)
    settings = _settings(horizon)
    if not season > 0:
        raise InvalidInput(f"--season {season:g}", "give seconds above 0")
    if rate is not None and not 0 < rate < float("inf"):
        raise InvalidInput(f"--rate {rate:g}", "give records a second above 0")
    if trace is not None:
        load = _recorded(trace, start=start, length=length, compression=compression, rate=rate, seed=seed)
    else:
        load = _named(pattern or "", length=length, rate=rate, seed=seed, folder=folder)
    found = _run(load, settings, season / compression)
    told = {
        "load": load.words,
        "horizon_s": settings.judged_s,
        "season_s": season / compression,
        "judged": len(found.at_s),
        "tick_ms_mean": round(1000 * found.tick_mean_s, 3),
        "tick_ms_p99": round(1000 * found.tick_p99_s, 3),
        "scores": [dataclasses.asdict(score) for score in found.scores],
    }
    if report is not None:
        from penstock.backtest.figure import draw  # noqa: PLC0415 - matplotlib takes a second

        report.mkdir(parents=True, exist_ok=True)
        (report / f"backtest-{load.name}.json").write_text(
            json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        picture = report / f"backtest-{load.name}.png"
        draw(found, picture, name=load.name, words=load.words, horizon_s=settings.judged_s)
    if as_json:
        sys.stdout.write(json.dumps(told, indent=1, allow_nan=False) + "\n")
    else:
        _show(load, found, settings)
    return 0


def _check_window(pattern: str | None, start: float, length: float | None, compression: float) -> None:
    """A named window has its own stretch, a made-up load has none: options that would do nothing are refused."""
    from autoscaler.simulation.patterns import PATTERNS  # noqa: PLC0415 - not needed for --help
    from penstock.simulate.windows import WINDOWS  # noqa: PLC0415 - not needed for --help

    if pattern in PATTERNS and (start, compression) != (0.0, 1.0):
        raise InvalidInput(
            f"--pattern {pattern} is made up: it has no start and no compression",
            "leave --start and --compression out, or give a --trace",
        )
    if pattern in WINDOWS and (start, length, compression) != (0.0, None, 1.0):
        raise InvalidInput(
            f"--pattern {pattern} is a window with a start, a length and a compression of its own",
            f"leave --start, --length and --compression out, or give --trace {WINDOWS[pattern].file}",
        )


def _settings(horizon: float) -> ForecastSettings:
    from autoscaler.forecasting.settings import ForecastSettings  # noqa: PLC0415 - not needed for --help

    try:
        return ForecastSettings(judged_s=horizon)
    except ValueError as error:
        raise InvalidInput(f"--horizon {horizon:g}: {error}", "give 5 to 90 seconds") from error


def _recorded(
    trace: Path, *, start: float, length: float | None, compression: float, rate: float | None, seed: int
) -> Load:
    from autoscaler.simulation.arrivals import Stretch  # noqa: PLC0415 - not needed for --help
    from penstock.backtest.load import recorded  # noqa: PLC0415

    try:
        return recorded(trace, Stretch(start, length, compression), mean_per_s=rate, seed=seed)
    except ValueError as error:
        raise InvalidInput(f"--{error}", "see docs/how-to/backtest.md") from error


def _named(name: str, *, length: float | None, rate: float | None, seed: int, folder: Path | None) -> Load:
    from penstock.backtest.load import named  # noqa: PLC0415 - not needed for --help

    try:
        return named(name, length_s=length, mean_per_s=rate, seed=seed, folder=folder)
    except ValueError as error:
        raise InvalidInput(f"--{error}", "see docs/how-to/backtest.md") from error


def _run(load: Load, settings: ForecastSettings, season_s: float) -> Backtest:
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import Progress  # noqa: PLC0415

    from autoscaler.forecasting.backtest import backtest  # noqa: PLC0415
    from penstock.backtest.load import by_second  # noqa: PLC0415

    counts = by_second(load)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"forecasting {load.name}", total=1.0)
        try:
            return backtest(
                counts,
                settings,
                # A season that has not come round has no say.
                season_s=season_s if season_s < counts.size else None,
                clock=time.process_time,
                progress=lambda part: progress.update(task, completed=part),
            )
        except ValueError as error:
            raise InvalidInput(f"{load.name}: {error}", "take a longer stretch") from error


def _show(load: Load, found: Backtest, settings: ForecastSettings) -> None:
    from rich.table import Table  # noqa: PLC0415 - not needed for --help

    from penstock.cli._letters import console  # noqa: PLC0415

    people = console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("method", "loss 0.5", "0.9", "0.99", "sum", "over naive", "cover 0.5", "0.9", "0.99", "share"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for score in found.scores:
        if not score.judged:
            continue
        table.add_row(
            score.name,
            *(f"{loss:.2f}" for loss in score.loss.values()),
            f"{score.total:.2f}",
            "-" if score.over_naive is None else f"{score.over_naive:.2f}",
            *(f"{share:.3f}" for share in score.coverage.values()),
            "" if score.weight is None else f"{score.weight:.2f}",
        )
    people.print(load.words, soft_wrap=True, highlight=False, markup=False)
    people.print(
        f"Highest rate in the next {settings.judged_s:g} s, {len(found.at_s)} forecasts; losses in % of the mean rate; "
        f"a tick that closes a bucket takes {1000 * found.tick_mean_s:.1f} ms (p99 {1000 * found.tick_p99_s:.1f} ms).",
        soft_wrap=True,
        highlight=False,
    )
    people.print(table)
