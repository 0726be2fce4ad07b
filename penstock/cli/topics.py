"""`penstock topics`: create or check a pipeline's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock import settings
from penstock.cli._options import config_option
from penstock.errors import KafkaUnusable
from streams import topics
from streams.errors import StreamsError
from streams.kafka import Admin

if TYPE_CHECKING:
    from pathlib import Path


@click.command("topics")
@config_option
def command(*, config: Path) -> int:
    """Create the pipeline's topics where they are missing, and say how those that exist differ from the settings."""
    tree = settings.load(config)
    try:
        with Admin(tree.kafka, "penstock-topics") as admin:
            differences = topics.ensure_topics(admin, tree.pipeline.name, tree.topics)
    except StreamsError as error:
        raise KafkaUnusable(str(error), "then run `penstock topics` again") from error
    for sentence in differences:
        click.echo(f"Note: {sentence}")
    click.echo(f"Topics of {tree.pipeline.name} are there.")
    return 0
