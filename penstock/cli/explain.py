"""`penstock explain`: why the fleet is as it is."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - click resolves it
from typing import TYPE_CHECKING

import click

from penstock.cli._options import Moment, StrictCommand, config_option
from penstock.errors import InvalidSettings, NotFound, RedisUnusable

if TYPE_CHECKING:
    from autoscaler.redis_fields import Fields


@click.command("explain", cls=StrictCommand)
@click.option("--at", "at_ms", type=Moment(), help="The last decision until then: 2h, 7d ago, or ISO 8601 (UTC).")
@click.option(
    "--shadow",
    metavar="POLICY",
    help="What this policy of autoscaler.shadow would have done, beside the one in charge.",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(*, at_ms: int | None, shadow: str | None, config: Path, as_json: bool) -> int:
    """Tell a decision in words: inputs, forecast, plan, what bound it, and the runner-up with its price.

    The newest one, or the last one until --at, as it stands in Redis; the last hours are kept. With --shadow that of a
    policy that is asked and not obeyed, and how the two stand side by side.
    """
    from penstock import explaining  # noqa: PLC0415 - not needed for --help

    pipeline, fields = _read(config, None if at_ms is None else at_ms / 1000, shadow)
    try:
        told = explaining.explanation(fields)
    except ValueError as error:
        raise NotFound(str(error), f"look at it: XREVRANGE penstock:{pipeline}:decisions + - COUNT 1") from error
    lines = explaining.words(told)
    if as_json:
        click.echo(json.dumps({**told, "words": dict(lines)}, indent=1))
        return 0
    from rich.console import Console  # noqa: PLC0415 - not needed for --json
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    for name, sentence in lines:
        table.add_row(f"[bold]{name}[/bold]", escape(sentence))
    console = Console()
    console.print(escape(pipeline), style="bold", highlight=False)
    console.print(table, highlight=False)
    return 0


def _read(config: Path, until_s: float | None, shadow: str | None) -> tuple[str, Fields]:
    from autoscaler.errors import StoreUnavailable  # noqa: PLC0415 - not needed for --help
    from autoscaler.redis_decisions import DecisionLog  # noqa: PLC0415
    from penstock import settings  # noqa: PLC0415
    from penstock.explaining import moment  # noqa: PLC0415

    tree = settings.load(config)
    pipeline, url = tree.pipeline.name, tree.redis.resolved_url()
    if url is None:
        raise InvalidSettings(
            f"{config} names no Redis, where decisions are kept", "set redis.url or redis.url_file there"
        )
    try:
        log = DecisionLog(url, pipeline, shadow)
    except ValueError as error:
        raise InvalidSettings(str(error), "correct redis.url in the settings") from error
    try:
        found = log.newest(until_s)
        failed = log.failure()
        if failed is not None:
            click.echo(f"The shadow {shadow} was given up: {failed}", err=True)
        if found is not None:
            return pipeline, found
        oldest = log.oldest()
    except StoreUnavailable as error:
        raise RedisUnusable(str(error), "start it, or name another one in the settings") from error
    finally:
        log.close()
    if oldest is None and shadow is not None:
        named = ", ".join(tree.autoscaler.shadow) or "none"
        raise NotFound(
            f"the shadow {shadow} of {pipeline} has no decisions in Redis",
            f"name one of autoscaler.shadow as it stands there (now: {named}), or wait until it has decided",
        )
    if oldest is None:
        raise NotFound(
            f"pipeline {pipeline} has no decisions in Redis", "start `penstock autoscaler` and wait a second"
        )
    raise NotFound(
        f"no decision of {pipeline} is kept until {moment(until_s or 0.0)}",
        f"the oldest is of {moment(float(oldest.get('at_s', 'nan')))}; ask for a later time",
    )
