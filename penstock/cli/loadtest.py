"""`penstock loadtest`: a ramp against the running pipeline, up to where it breaks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli._options import StrictCommand, config_option
from penstock.errors import InvalidInput, KafkaUnusable

if TYPE_CHECKING:
    from autoscaler.model import ServiceCurve
    from penstock.loadtest.run import Outcome
    from penstock.settings import Settings


@click.command("loadtest", cls=StrictCommand)
@config_option
@click.option("--from", "first", type=click.FloatRange(0.1, 1e6), required=True, help="First rate, requests a second.")
@click.option("--to", "last", type=click.FloatRange(0.1, 1e6), required=True, help="Last rate.")
@click.option("--steps", type=click.IntRange(2, 100), default=8, show_default=True, help="Rates, each a factor above.")
@click.option("--seconds", type=click.FloatRange(4, 3600), default=15.0, show_default=True, help="Of each step.")
@click.option("--rows", type=click.IntRange(1, 65536), default=1, show_default=True, help="Of each request.")
@click.option(
    "--input", "inputs", type=click.Path(dir_okay=False, path_type=Path),
    help=".npz with an array for each input, rows first; zeros of the model's signature by default.",
)  # fmt: skip
@click.option(
    "--plan", type=click.Path(dir_okay=False, path_type=Path), help="plan.json whose curves foretell the knee."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments.")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for loadtest.html, .png, .json."
)
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON on standard output.")
def command(
    *,
    config: Path,
    first: float,
    last: float,
    steps: int,
    seconds: float,
    rows: int,
    inputs: Path | None,
    plan: Path | None,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> int:
    """Send a ramp of Poisson load to the pipeline in --config and find its knee.

    Open loop: a request is sent at its moment whatever became of those before, and waits from then. THE PIPELINE
    ANSWERS THESE REQUESTS LIKE ALL OTHERS: use one that may be loaded until it breaks. The ramp ends once it is
    hopelessly behind.
    """
    from autoscaler.whole_file import write_whole  # noqa: PLC0415
    from penstock import settings  # noqa: PLC0415 - not needed for --help
    from penstock.cli._letters import console  # noqa: PLC0415
    from penstock.loadtest import run  # noqa: PLC0415
    from penstock.loadtest.report import HEAD, as_told, page, verdict  # noqa: PLC0415
    from penstock.loadtest.report import rows as steps_of  # noqa: PLC0415

    if last <= first:
        raise InvalidInput(f"--from {first:g} --to {last:g}", "the last rate must be above the first")
    if (first + last) / 2 * steps * seconds > run.MOST_REQUESTS:
        raise InvalidInput(f"--to {last:g} in {steps} steps of {seconds:g} s", "ask for fewer requests")
    tree = settings.load(config)
    stated = run.stated_curves(tree.worker_types) if plan is None else _curves(plan)
    asked = run.inputs_of(inputs, tree.pipeline.model)
    found = _with_progress(tree, config, asked, stated, (first, last, steps, seconds, seed), rows=rows)
    text = json.dumps(as_told(found), indent=1)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        write_whole(report / "loadtest.json", text + "\n")
        write_whole(report / "loadtest.html", page(found, tree.pipeline.objective, report / "loadtest.png"))
    if as_json:
        sys.stdout.write(text + "\n")
        return 0
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in HEAD:
        table.add_column(name.lstrip("#"), justify="right")
    for row in steps_of(found):
        table.add_row(*(Text(cell) for cell in row))
    screen = console()
    screen.print(table)
    for line in verdict(found, tree.pipeline.objective):
        screen.print(Text(line))
    return 0


def _with_progress(
    tree: Settings, config: Path, asked: dict[str, Any], stated: dict[str, ServiceCurve],
    ramp: tuple[float, float, int, float, int], *, rows: int,
) -> Outcome:  # fmt: skip
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from penstock.loadtest import run  # noqa: PLC0415
    from penstock.loadtest.ramp import rates_of  # noqa: PLC0415
    from streams.errors import StreamsError  # noqa: PLC0415

    first, last, steps, seconds, seed = ramp
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def tell(phase: str, sent: int, received: int, whole: int) -> None:
            words = f"{phase}: {sent:,} sent, {sent - received:,} unanswered"
            progress.update(task, description=words, completed=sent, total=whole)

        try:
            return run.run(
                tree, config, asked, rates=rates_of(first, last, steps), step_s=seconds, seed=seed, stated=stated,
                tell=tell, rows=rows,
            )  # fmt: skip
        except StreamsError as error:
            raise KafkaUnusable(str(error), "then run `penstock loadtest` again") from error


def _curves(plan: Path) -> dict[str, ServiceCurve]:
    from autoscaler.model import ServiceCurve  # noqa: PLC0415

    try:
        told = json.loads(plan.read_text(encoding="utf-8"))
        return {kind["name"]: ServiceCurve(**kind["curve"]) for kind in told["types"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidInput(f"the plan {plan}: {error}", "make it by `penstock plan`") from error
