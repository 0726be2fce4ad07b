"""`penstock autoscaler`: one autoscaler process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from autoscaler.actuators.launchers import SubprocessLauncher
from penstock import autoscaler_process, logs, settings
from penstock.cli._options import config_option, log_level_option
from penstock.template_launcher import TemplateLauncher

if TYPE_CHECKING:
    from pathlib import Path


@click.command("autoscaler")
@config_option
@click.option(
    "--actuator",
    type=click.Choice(["processes", "advisory"]),
    default="processes",
    show_default=True,
    help="processes: workers of this host; advisory: change nothing, say what would be done.",
)
@click.option("--stop-workers-on-exit", is_flag=True, help="Drain the workers too when this process is told to stop.")
@log_level_option
def command(*, config: Path, actuator: str, stop_workers_on_exit: bool, log_level: str) -> int:
    """Decide how many workers the pipeline needs, and see to it, until SIGTERM. Workers go on when this ends."""
    logs.configure(log_level)
    tree = settings.load(config)
    # `python -m` and not the script: the template forks what it can run as a module.
    worker_argv = (
        *(sys.executable, "-m", "penstock", "worker"),
        *("--config", str(config.resolve()), "--slot", "{slot}", "--type", "{type}", "--log-level", log_level),
    )
    process = autoscaler_process.AutoscalerProcessSettings(
        pipeline=tree.pipeline.name,
        kafka=tree.kafka,
        worker_argv=worker_argv,
        state_dir=str(tree.state_dir),
        redis_url=tree.redis.resolved_url(),
        objective=tree.pipeline.objective,
        worker_types=tree.worker_types,
        policy=tree.policy,
        topics=tree.topics,
        actuator="advisory" if actuator == "advisory" else "processes",
        processes=tree.actuator,
        stop_workers_on_exit=stop_workers_on_exit,
        endpoint=tree.autoscaler,
    )
    if actuator == "advisory":
        autoscaler_process.run(process)
        return 0
    launcher = TemplateLauncher(SubprocessLauncher())
    launcher.start(tree.state_dir / "logs" / "template.log")
    try:
        autoscaler_process.run(process, launcher)
    finally:
        launcher.close()
    return 0
