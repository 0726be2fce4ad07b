"""What the commands about the embedded services share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from penstock.errors import PenstockError

directory_option = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this directory",
    help="Whose services: their data lies in DIRECTORY/.penstock/.",
)


def fail(error: PenstockError) -> NoReturn:
    """Say cause and cure on standard error and end with the error's exit code."""
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.cause}", err=True)
    click.echo(f"{click.style('Do:', bold=True)} {error.cure}", err=True)
    raise SystemExit(error.exit_code) from error


def relative(path: Path) -> str:
    """A path as short as it can be written from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
