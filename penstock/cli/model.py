"""`penstock model`: which version is served, which is compared with, and new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock import model_control, settings
from penstock.cli._options import config_option
from penstock.model_import import ModelUnusable, import_model

if TYPE_CHECKING:
    from inference_workers.serving_control import Control
    from penstock.model_control import Overview
    from penstock.settings import Settings

#: Characters of a digest that people compare.
_DIGEST_SHOWN = 12


@click.group("model")
def command() -> None:
    """Versions of the pipeline's model: list, pin, roll back, compare, import.

    What is said is kept in serving.json in the model's directory; all workers of that directory follow it.
    """


@command.command("ls")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_versions(*, config: Path, as_json: bool) -> None:
    """List the versions, what each is just now, and what the workers on this host say."""
    seen, _ = _seen(config)
    if as_json:
        click.echo(json.dumps(model_control.as_json(seen), indent=1))
        return
    from rich.console import Console  # noqa: PLC0415 - not needed for --json
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    told = model_control.as_json(seen)
    table = Table("version", "is", "MB", "digest", "note", title=f"{seen.model_dir.name} ({seen.model_dir})")
    for version in told["versions"]:
        table.add_row(
            version["version"],
            ", ".join(version["roles"]),
            f"{version['bytes'] / 1e6:.1f}",
            (version["digest"] or "")[:_DIGEST_SHOWN],
            escape(
                version["lacks"]
                or next((w.failed[version["version"]] for w in seen.workers if version["version"] in w.failed), "")
            ),
        )
    console = Console()
    console.print(table)
    for worker in seen.workers:
        note = f"; {worker.problem}" if worker.problem else ""
        console.print(escape(f"{worker.slot} serves {worker.serving}, before it {worker.previous or 'nothing'}{note}"))
        if worker.shadow is not None:
            console.print(escape(f"  {_shadow_line(worker.shadow)}"))
    if not seen.workers:
        console.print("No worker of this model runs on this host.")


@command.command("pin")
@click.argument("version")
@config_option
def pin(*, version: str, config: Path) -> None:
    """Serve VERSION and no other, however new."""
    seen, tree = _seen(config)
    _say(seen, model_control.pin(seen, version), f"Version {version} is pinned; {seen.serving} was served.", tree)


@command.command("rollback")
@config_option
def rollback(*, config: Path) -> None:
    """Pin the version that was served before."""
    seen, tree = _seen(config)
    control = model_control.rollback(seen)
    _say(seen, control, f"Rolled back from version {seen.serving} to {control.pin}, which is pinned now.", tree)


@command.command("unpin")
@config_option
def unpin(*, config: Path) -> None:
    """Serve the newest version again."""
    seen, tree = _seen(config)
    _say(seen, model_control.unpin(seen), "Nothing is pinned: the newest version is served.", tree)


@command.command("shadow")
@click.argument("version")
@click.option("--share", type=float, default=0.1, show_default=True, help="Of the requests, above 0 and at most 1.")
@config_option
def shadow(*, version: str, share: float, config: Path) -> None:
    """Compute a share of the requests with VERSION too; compare, count, deliver nothing of it."""
    seen, tree = _seen(config)
    control = model_control.shadow(seen, version, share)
    _say(seen, control, f"Version {version} is compared with on {share:.4g} of the requests.", tree)


@command.command("unshadow")
@config_option
def unshadow(*, config: Path) -> None:
    """Compare no more."""
    seen, tree = _seen(config)
    _say(seen, model_control.unshadow(seen), "Nothing is compared with.", tree)


@command.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", default=None, help="Write below models/NAME in this directory.")
@click.option("--to", type=click.Path(path_type=Path), default=None, help="Write below this directory.")
@click.option("--version", "number", type=click.IntRange(min=0), default=None, help="The next free one by default.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def import_(*, source: Path, name: str | None, to: Path | None, number: int | None, config: Path, as_json: bool) -> int:
    """Make a version of SOURCE, a Keras 3 .keras file or a SavedModel directory.

    Without --name and --to it becomes a version of the model that the settings name. A .keras file is read in safe
    mode: Python code in it, such as that of a Lambda layer, is refused.
    """
    if name is not None and to is not None:
        raise click.UsageError("give --name or --to, not both")
    if name is not None and Path(name).name != name:
        raise click.UsageError(f"--name {name!r}: must be the name of one folder; --to takes a path")
    model_dir = to or (Path("models") / name if name is not None else settings.load(config).pipeline.model)
    try:
        found = import_model(source, model_dir, number=number)
    except ModelUnusable as error:
        # One line, for scripts that import many.
        click.echo(f"Error: {error.cause}; {error.cure}", err=True)
        return error.exit_code
    if as_json:
        told = {"version": found.version.name, "directory": str(found.version.path), "bytes": found.version.bytes}
        click.echo(
            json.dumps(told | {"digest": found.digest, "inputs": dict(found.inputs), "outputs": dict(found.outputs)})
        )
        return 0
    click.echo(f"Version {found.version.name} of {model_dir.name}: {found.version.path}, {found.version.bytes} bytes.")
    for kind, tensors in (("in", found.inputs), ("out", found.outputs)):
        for tensor, spec in tensors.items():
            click.echo(f"  {kind:>3}  {tensor}  {spec}")
    return 0


def _seen(config: Path) -> tuple[Overview, Settings]:
    tree = settings.load(config)
    return model_control.overview(tree.pipeline.model, tree.state_dir), tree


def _say(seen: Overview, control: Control, sentence: str, tree: Settings) -> None:
    model_control.say(seen, control)
    click.echo(f"{sentence} Workers follow within about {tree.worker.model_poll_s:g} s, loading included if it is new.")


def _shadow_line(facts: dict[str, object]) -> str:
    return (
        f"compares {facts['share']:.4g} with version {facts['version']}: {facts['same']} same, "
        f"{facts['different']} different (largest difference {facts['largest_difference']}, "
        f"{facts['argmax_different']} of {facts['argmax_rows']} rows with another largest element), "
        f"{facts['failed']} failed, {facts['skipped']} skipped"
    )
