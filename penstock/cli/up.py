"""`penstock up --local`: a real Kafka and a real Redis on this machine."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - click resolves it

import click

from penstock.cli._local import directory_option, fail, relative
from penstock.errors import PenstockError

_PORT = click.IntRange(1, 65_535)


@click.command("up")
@click.option("--local", is_flag=True, help="Start Kafka and Redis here (no Docker, no Java, no root).")
@click.option("--kafka-port", type=_PORT, help="Loopback port for Kafka; a free one by default.")
@click.option("--redis-port", type=_PORT, help="Loopback port for Redis; a free one by default.")
@directory_option
def command(*, local: bool, kafka_port: int | None, redis_port: int | None, directory: Path) -> None:
    """Start the services that a pipeline needs; they run until `penstock down`."""
    if not local:
        raise click.UsageError(
            "only the embedded services can be started: use `penstock up --local`, "
            "or name your own Kafka and Redis in penstock.toml"
        )
    from rich.console import Console  # noqa: PLC0415 - not needed for --help

    from penstock.local.progress import Bar  # noqa: PLC0415
    from penstock.local.services import LocalServices  # noqa: PLC0415

    began_s = time.monotonic()
    try:
        with Bar(Console(stderr=True)) as bar:
            services = LocalServices.start(directory, progress=bar, kafka_port=kafka_port, redis_port=redis_port)
    except PenstockError as error:
        fail(error)
    click.echo(
        f"Kafka  {services.bootstrap}\n"
        f"Redis  {services.redacted_redis_url}  (password in {relative(services.redis_url_file)}, mode 0600)\n"
        f"Ready after {time.monotonic() - began_s:.1f} s; data in {relative(services.directory / '.penstock')}; "
        "stop with `penstock down`.\n\n"
        "For penstock.toml:\n\n"
        f'[kafka]\nbootstrap_servers = "{services.bootstrap}"\n\n'
        f'[redis]\nurl_file = "{services.redis_url_file}"'
    )
