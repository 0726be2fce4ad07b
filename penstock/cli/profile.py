"""`penstock profile`: what a model costs on a device."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli._options import StrictCommand
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from autoscaler.model import Objective, ServiceCurve
    from penstock.profile.file import Profile
    from penstock.profile.job import Job


@click.command("profile", cls=StrictCommand)
@click.argument("model", type=click.Path(file_okay=False, path_type=Path))
@click.option("--version", default=None, help="The newest one by default.")
@click.option("--device", "devices", multiple=True, help="cpu (default) or gpu:N; may be given several times.")
@click.option(
    "--threads", multiple=True, type=click.IntRange(1, 512),
    help="Threads inside an operation; 1 by default, may be given several times.",
)  # fmt: skip
@click.option("--xla/--no-xla", default=False, help="Measure each setting compiled by XLA as well.")
@click.option(
    "--emulated", default=None, metavar="A_MS,B_MS,BATCH",
    help="Emulated device beside: holds each batch for A + B*n ms, at most BATCH rows.",
)  # fmt: skip
@click.option(
    "--max-batch", type=click.IntRange(8, 65_536), default=256, show_default=True, help="Largest batch tried."
)
@click.option(
    "--memory-mb",
    type=click.IntRange(64),
    default=None,
    help="Memory of the process; half of the machine's by default.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.5, 3600), default=20.0, show_default=True, help="Of batches, for each setting."
)
@click.option(
    "--open-loop-seconds", type=click.FloatRange(0, 600), default=4.0, show_default=True,
    help="Of requests at Poisson moments, at each of three rates; 0 = none.",
)  # fmt: skip
@click.option(
    "--objective-ms", type=click.FloatRange(0.01), default=1000.0, show_default=True, help="Time for an answer."
)
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.99, show_default=True,
    help="Of the requests that must be answered in it.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of orders and moments.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("profile.json"), show_default=True)
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Directory for profile.html and .png.")
@click.option("--json", "as_json", is_flag=True, help="The profile as JSON on standard output.")
def command(
    *,
    model: Path,
    version: str | None,
    devices: tuple[str, ...],
    threads: tuple[int, ...],
    xla: bool,
    emulated: str | None,
    max_batch: int,
    memory_mb: int | None,
    seconds: float,
    open_loop_seconds: float,
    objective_ms: float,
    share: float,
    seed: int,
    out: Path,
    report: Path | None,
    as_json: bool,
) -> int:
    """Measure the SavedModel in MODEL (models/NAME): seconds a batch, memory, start; fit a + b*n; write profile.json.

    Ends with code 0 when the chosen setting can be trusted, 1 when the machine was too noisy (the file says so too).
    """
    import psutil  # noqa: PLC0415 - not needed for --help

    from autoscaler.model import Objective  # noqa: PLC0415
    from penstock.profile import file  # noqa: PLC0415
    from penstock.profile.job import Job  # noqa: PLC0415
    from penstock.profile.run import check_model  # noqa: PLC0415

    curve = None if emulated is None else _curve(emulated)
    objective = Objective(objective_ms / 1000, share)
    if curve is not None and 2 * curve.seconds(1) > objective.within_s:
        raise InvalidInput(
            f"--objective-ms {objective_ms:g}: one row takes {curve.seconds(1) * 1000:g} ms on the emulated device",
            "allow at least twice that: a request may wait for one batch before its own",
        )
    found = check_model(model, version)
    memory = memory_mb * 2**20 if memory_mb else psutil.virtual_memory().total // 2
    settings: list[tuple[str, int, bool, ServiceCurve | None]] = [
        (device, count, compiled, None)
        for device in devices or ("cpu",)
        for count in threads or (1,)
        for compiled in ((False, True) if xla else (False,))
    ]
    settings += [] if curve is None else [("cpu", 1, False, curve)]
    jobs = [
        Job(
            model=str(model.resolve()), version=found, device=_device(device), threads=count, xla=compiled,
            most_rows=max_batch if held is None else held.max_batch, memory_bytes=memory, seconds=seconds,
            open_loop_s=open_loop_seconds, slowest_s=objective.within_s, seed=seed, emulated=held,
        )
        for device, count, compiled, held in settings
    ]  # fmt: skip
    made = _with_progress(jobs, found, objective)
    file.write(out, made)
    if report is not None:
        from autoscaler.whole_file import write_whole  # noqa: PLC0415
        from penstock.profile.report import page  # noqa: PLC0415 - matplotlib takes a second

        report.mkdir(parents=True, exist_ok=True)
        write_whole(report / "profile.html", page(made, report / "profile.png"))
    if as_json:
        sys.stdout.write(json.dumps(made.as_json(), indent=1) + "\n")
    else:
        _show(made)
    click.echo(f"Profile: {out}" + (f", report: {report / 'profile.html'}" if report else ""), err=True)
    return 1 if made.setting.doubts else 0


def _with_progress(jobs: list[Job], version: str, objective: Objective) -> Profile:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from penstock.profile.run import profile  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=len(jobs))

        def tell(number: int, stage: str, done: float) -> None:
            job = jobs[number]
            name = "emulated" if job.emulated else f"{job.device} x{job.threads}{' XLA' if job.xla else ''}"
            progress.update(task, description=f"{name}: {stage}", completed=number + done)

        return profile(jobs, version=version, objective=objective, tell=tell)


def _show(made: Profile) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from penstock.cli._letters import console  # noqa: PLC0415
    from penstock.profile.report import HEAD, remarks, rows  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, title=f"{made.model} {made.version}", title_justify="left")
    for name in HEAD:
        table.add_column(name.lstrip("#"), justify="right" if name.startswith("#") else "left")
    for row in rows(made):
        table.add_row(*(Text(cell) for cell in row))
    out = console()
    out.print(table)
    for line in remarks(made):
        out.print(Text(line))


def _device(text: str) -> str:
    from autoscaler.model import ServiceCurve  # noqa: PLC0415
    from inference_workers.device import parse_device  # noqa: PLC0415
    from inference_workers.errors import InvalidDevice  # noqa: PLC0415

    try:
        found = parse_device(text, ServiceCurve(0, 1, 1))
    except InvalidDevice as error:
        raise InvalidInput(str(error), "see `penstock profile --help`") from error
    if found.emulated is not None:
        raise InvalidInput("--device emulated", "state its times: --emulated A_MS,B_MS,BATCH")
    return text


def _curve(text: str) -> ServiceCurve:
    from autoscaler.model import ServiceCurve  # noqa: PLC0415

    try:
        a_ms, b_ms, batch = text.split(",")
        return ServiceCurve(float(a_ms) / 1000, float(b_ms) / 1000, int(batch))
    except ValueError as error:
        raise InvalidInput(f"--emulated {text!r}", "give A_MS,B_MS,BATCH, e.g. 20,2,32, none below 0") from error
