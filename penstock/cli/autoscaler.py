"""`penstock autoscaler`: one autoscaler process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from autoscaler.actuators.launchers import SubprocessLauncher
from autoscaler.policies import registry
from penstock import autoscaler_preflight, autoscaler_process, logs, settings
from penstock.cli._options import config_option, log_level_option
from penstock.errors import InvalidSettings
from penstock.template_launcher import TemplateLauncher
from streams.errors import KafkaFailure

log = logging.getLogger(__name__)

#: Exit code where only a person can help, as `worker` has it.
_MISCONFIGURED = 64


@click.command("autoscaler")
@config_option
@click.option(
    "--actuator",
    type=click.Choice(["processes", "advisory"]),
    default="processes",
    show_default=True,
    help="processes: workers of this host; advisory: change nothing, say what would be done.",
)
@click.option(
    "--worker-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Settings for the workers it starts, so that they log in to Kafka as another user; --config by default.",
)
@click.option("--stop-workers-on-exit", is_flag=True, help="Drain the workers too when this process is told to stop.")
@log_level_option
def command(
    *, config: Path, worker_config: Path | None, actuator: str, stop_workers_on_exit: bool, log_level: str
) -> int:
    """Decide how many workers the pipeline needs, and see to it, until SIGTERM. Workers go on when this ends."""
    logs.configure(log_level)
    tree = settings.load(config)
    # `python -m` and not the script: the template forks what it can run as a module.
    worker_argv = (
        *(sys.executable, "-m", "penstock", "worker"),
        *(
            "--config",
            str((worker_config or config).resolve()),
            "--slot",
            "{slot}",
            "--type",
            "{type}",
            "--log-level",
            log_level,
        ),
    )
    _check_policy(tree)
    process = autoscaler_process.AutoscalerProcessSettings(
        pipeline=tree.pipeline.name,
        kafka=tree.kafka,
        worker_argv=worker_argv,
        state_dir=str(tree.state_dir),
        redis_url=tree.redis.resolved_url(),
        objective=tree.pipeline.objective,
        worker_types=tree.worker_types,
        policy=tree.policy,
        rule=tree.autoscaler.policy,
        shadows=tree.autoscaler.shadow,
        topics=tree.topics,
        actuator="advisory" if actuator == "advisory" else "processes",
        processes=tree.actuator,
        stop_workers_on_exit=stop_workers_on_exit,
        endpoint=tree.autoscaler,
    )
    try:
        autoscaler_preflight.check(process)
    except KafkaFailure as error:
        log.error("autoscaler.failed", extra={"pipeline": tree.pipeline.name, "error": str(error)})  # noqa: TRY400 - the message says it all
        return _MISCONFIGURED
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


def _check_policy(tree: settings.Settings) -> None:
    scaler = tree.autoscaler
    for field, rule in (("policy", scaler.policy), *(("shadow", one) for one in scaler.shadow)):
        try:
            registry.named(rule, tree.pipeline.objective, tree.policy)
        except ValueError as error:
            cause, _, cure = str(error).partition(": ")
            raise InvalidSettings(f"autoscaler.{field}={rule!r}: {cause}", cure) from error
