"""`penstock status`: what runs in a directory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - click resolves it

import click

from penstock.cli._local import directory_option, fail, relative
from penstock.errors import PenstockError

#: Exit code when not both services run and answer (as `systemctl status` has it), so that scripts can ask.
_NOT_RUNNING = 3


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@directory_option
def command(*, as_json: bool, directory: Path) -> None:
    """Show the embedded Kafka and Redis; exit code 0 when both run, 3 when not."""
    from penstock.local import services  # noqa: PLC0415 - not needed for --help

    try:
        seen = services.status(directory)
    except PenstockError as error:
        fail(error)
    if as_json:
        click.echo(json.dumps(asdict(seen) | {"running": seen.running}, default=str, indent=1))
    else:
        for name, service in (("Kafka", seen.kafka), ("Redis", seen.redis)):
            where = f"  {service.address}  pid {service.pid}" if service.pid else ""
            click.echo(f"{name}  {service.health}{where}")
        if seen.redis.pid and seen.redis_url_file:
            click.echo(f"Redis URL with its password: in {relative(seen.redis_url_file)}")
    raise SystemExit(0 if seen.running else _NOT_RUNNING)
