"""`penstock acls`: what each role needs to be permitted in Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock import settings
from penstock.cli._options import config_option
from penstock.errors import KafkaUnusable
from streams.acls import Grant, Role, kafka_acls, of_role
from streams.errors import StreamsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Columns of the table where no terminal sets them.
_PIPE_WIDTH = 200


@click.command("acls")
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Who is to be permitted.")
@click.option("--principal", default=None, help="Kafka's name of the user, e.g. User:worker; User:ROLE by default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "kafka-acls"]),
    default="text",
    show_default=True,
    help="A table for people, or the lines for Kafka's own tool.",
)
@click.option("--reply-topic", multiple=True, help="A results topic besides the pipeline's own (reply-to).")
@click.option("--group", multiple=True, help="For clients: a group in which results are shared.")
@click.option("--advisory", is_flag=True, help="For the autoscaler: it starts no workers.")
@click.option("--apply", "apply_now", is_flag=True, help="Grant them now, as the user of the settings.")
def command(
    *,
    config: Path,
    role: str,
    principal: str | None,
    form: str,
    reply_topic: Sequence[str],
    group: Sequence[str],
    advisory: bool,
    apply_now: bool,
) -> int:
    """Print the least permissions that a role needs in a cluster that denies by default, or grant them."""
    tree = settings.load(config)
    who = principal or f"User:{role}"
    if ":" not in who:
        raise click.UsageError(f"--principal {who!r}: write it as Kafka does, e.g. User:{who}")
    grants = of_role(
        Role(role),
        tree.pipeline.name,
        exactly_once=tree.worker.delivery == "exactly-once",
        manages_workers=not advisory,
        reply_topics=reply_topic,
        groups=group,
        bulk=tree.topics.bulk,
    )
    if apply_now:
        _apply(tree, grants, who)
    if form == "kafka-acls":
        click.echo(kafka_acls(grants, who, ",".join(tree.kafka.servers)), nl=False)
    else:
        _show(grants, who)
    return 0


def _apply(tree: settings.Settings, grants: Sequence[Grant], who: str) -> None:
    from streams.kafka.grants import GrantsAdmin  # noqa: PLC0415 - printing needs no Kafka client

    try:
        with GrantsAdmin(tree.kafka, "penstock-acls") as admin:
            admin.grant(grants, who)
    except StreamsError as error:
        raise KafkaUnusable(str(error), "name a user in kafka.client who may change permissions") from error
    click.echo(f"Granted to {who}:")


def _show(grants: Sequence[Grant], who: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("resource", title=f"Permissions of {who}", title_justify="left")
    # A name that is cut grants nothing.
    table.add_column("name", no_wrap=True, min_width=max(len(grant.name) for grant in grants))
    for title in ("pattern", "operation", "for"):
        table.add_column(title)
    for grant in grants:
        # Not markup, whatever brackets are in a name.
        name = Text(grant.name)
        table.add_row(grant.resource.value, name, grant.pattern.value, grant.operation.value, grant.why)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    console.print(table)
