"""`penstock train`: a model trained on the spot, and what that took."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli._options import StrictCommand

if TYPE_CHECKING:
    from penstock.train.job import Epoch


@click.group("train")
def command() -> None:
    """Train an example model under resource watch, ready to be served."""


@command.command("digits", cls=StrictCommand)
@click.option(
    "--data", type=click.Path(dir_okay=False, path_type=Path),
    help=".npz with images (n, height, width[, channels]) and labels (n,); handwritten digits by default.",
)  # fmt: skip
@click.option(
    "--to", type=click.Path(file_okay=False, path_type=Path), default=Path("models/digits"), show_default=True,
    help="The model's directory; the next free version is made in it.",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(1, 10_000), default=25, show_default=True, help="Passes over the pictures."
)
@click.option("--batch", type=click.IntRange(1, 65_536), default=64, show_default=True, help="Pictures a step.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--restart", is_flag=True, help="Forget an unfinished training instead of going on with it.")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for training.html, .png, .json."
)
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON on standard output.")
def digits(
    *,
    data: Path | None,
    to: Path,
    epochs: int,
    batch: int,
    seed: int,
    device: str,
    restart: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    """Train a small CNN, export it as the next version in --to, and tell what that took.

    Killed or stopped, the same command goes on after the last whole epoch.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from autoscaler.whole_file import write_whole  # noqa: PLC0415
    from penstock.cli._letters import console  # noqa: PLC0415
    from penstock.train.report import as_told, lines, page  # noqa: PLC0415
    from penstock.train.run import new_job, train  # noqa: PLC0415

    job = new_job(data=data, to=to, epochs=epochs, batch=batch, seed=seed, device=device, restart=restart)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=epochs)

        def tell(epoch: Epoch) -> None:
            words = f"held out {epoch.held_accuracy:.2%}, {epoch.records_per_s:,.0f} pictures/s"
            progress.update(task, description=words, completed=epoch.number)

        found = train(job, tell)
    text = json.dumps(as_told(found), indent=1)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        write_whole(report / "training.json", text + "\n")
        write_whole(report / "training.html", page(found, report / "training.png"))
    if as_json:
        sys.stdout.write(text + "\n")
        return 0
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, words in lines(found):
        table.add_row(Text(name), Text(words))
    console().print(table)
    return 0
