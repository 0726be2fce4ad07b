"""`penstock up --local`: a real Kafka and a real Redis on this machine."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - click resolves it
from typing import TYPE_CHECKING

import click

from penstock.cli._local import directory_option, fail, relative
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.local.services import LocalServices

_PORT = click.IntRange(1, 65_535)


@click.command("up")
@click.option("--local", is_flag=True, help="Start Kafka and Redis here (no Docker, no Java, no root).")
@click.option("--secure", is_flag=True, help="Kafka with TLS, users and permissions, to try out what they take.")
@click.option("--kafka-port", type=_PORT, help="Loopback port for Kafka; a free one by default.")
@click.option("--redis-port", type=_PORT, help="Loopback port for Redis; a free one by default.")
@directory_option
def command(*, local: bool, secure: bool, kafka_port: int | None, redis_port: int | None, directory: Path) -> None:
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
            services = LocalServices.start(
                directory, progress=bar, kafka_port=kafka_port, redis_port=redis_port, secure=secure
            )
    except PenstockError as error:
        fail(error)
    click.echo(
        f"Kafka  {services.bootstrap}\n"
        f"Redis  {services.redacted_redis_url}  (password in {relative(services.redis_url_file)}, mode 0600)\n"
        f"Ready after {time.monotonic() - began_s:.1f} s; data in {relative(services.directory / '.penstock')}; "
        "stop with `penstock down`.\n\n"
        "For penstock.toml:\n\n"
        f'[kafka]\nbootstrap_servers = "{services.bootstrap}"\n{_credentials(services)}\n'
        f'[redis]\nurl_file = "{services.redis_url_file}"'
    )


def _credentials(services: LocalServices) -> str:
    """The lines that a secured broker's clients need, for its administrator; nothing for one without locks."""
    if services.security is None:
        return ""
    from penstock.local.security import ADMIN, client_settings  # noqa: PLC0415

    lines = [f'{name} = "{value}"' for name, value in client_settings(services.security, ADMIN, "scram").items()]
    return "\n".join(
        (
            "\n[kafka.client]",
            *lines,
            f"# client, worker, autoscaler and operator have files of the same names in {services.security.directory};",
            "# what they may do is up to `penstock acls --role ROLE --apply`. With certificates instead of passwords:",
            f"# {services.mutual_bootstrap}. Redis has an ACL user and a password, and no TLS.",
            "",
        )
    )
