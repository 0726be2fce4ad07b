"""`penstock down`: end the embedded services of a directory."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click resolves it

import click

from penstock.cli._local import directory_option, fail
from penstock.errors import PenstockError


@click.command("down")
@directory_option
def command(*, directory: Path) -> None:
    """Stop the embedded Kafka and Redis; their data stays for the next `penstock up --local`."""
    from penstock.local import services  # noqa: PLC0415 - not needed for --help

    try:
        ran = services.stop(directory)
    except PenstockError as error:
        fail(error)
    click.echo("Stopped." if ran else "Nothing runs here.")
