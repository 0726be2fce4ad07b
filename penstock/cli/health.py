"""`penstock health`: for container health checks and people at night."""

from __future__ import annotations

import http.client
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
@click.option(
    "--probe",
    type=click.Choice(["livez", "readyz"]),
    help="Ask the process itself over its port (worker.metrics_port): does it make progress, is it ready?",
)
def command(*, role: str, state: Path, slot: str | None, probe: str | None) -> int:
    """Exit 0 when the process has given a sign of life within 15 seconds, 1 otherwise; with --probe, as it answers."""
    if role == "worker" and slot is None:
        raise click.UsageError("a worker's health needs --slot")
    path = state / "health" / f"{slot if role == 'worker' else 'autoscaler'}.json"
    try:
        age_s = time.time() - path.stat().st_mtime
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        click.echo(f"no sign of life in {path}: {error}", err=True)
        return 1
    if probe is not None:
        return _ask(path.stem, told.get("endpoint"), probe)
    model = f"; model: {told['model']}" if "model" in told else ""
    click.echo(f"{path.stem}: {told.get('state', 'alive')}, {age_s:.0f} s ago{model}")
    return 0 if age_s < STALE_S else 1


def _ask(name: str, address: str | None, probe: str) -> int:
    if address is None:
        click.echo(f"{name} has no port to be asked on: set worker.metrics_port and start it again", err=True)
        return 1
    # What listens on all addresses is here on loopback.
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1"}.get(host, host.strip("[]")), int(port), timeout=5)  # noqa: S104 - compared, not bound
    try:
        connection.request("GET", f"/{probe}")
        answer = connection.getresponse()
        body = answer.read(65536).decode(errors="replace").strip()
    except OSError as error:
        click.echo(f"{name} does not answer at {address}: {error}", err=True)
        return 1
    finally:
        connection.close()
    click.echo(f"{name}: {body}")
    return 0 if answer.status == http.client.OK else 1
