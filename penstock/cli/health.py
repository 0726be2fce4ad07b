"""`penstock health`: for container health checks and people at night."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

#: Seconds without a sign of life after which a process counts as dead: workers and autoscaler write one a second.
STALE_S = 15.0


@click.command("health")
@click.argument("role", type=click.Choice(["worker", "autoscaler"]))
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".penstock/state"),
    show_default=True,
    help="The pipeline's state_dir.",
)
@click.option("--slot", default=None, help="The worker's slot.")
def command(*, role: str, state: Path, slot: str | None) -> int:
    """Exit 0 when the process has given a sign of life within 15 seconds, 1 otherwise."""
    if role == "worker" and slot is None:
        raise click.UsageError("a worker's health needs --slot")
    path = state / "health" / f"{slot if role == 'worker' else 'autoscaler'}.json"
    try:
        age_s = time.time() - path.stat().st_mtime
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        click.echo(f"no sign of life in {path}: {error}", err=True)
        return 1
    click.echo(f"{path.stem}: {told.get('state', 'alive')}, {age_s:.0f} s ago")
    return 0 if age_s < STALE_S else 1
