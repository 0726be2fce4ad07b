"""`penstock worker`: one worker process."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import click

from inference_workers.errors import WorkerError
from inference_workers.worker import WorkerSpec, run
from penstock import logs, settings
from penstock.cli._options import config_option, log_level_option
from streams.errors import AuthenticationFailed, Fenced, KafkaFailure, NotAuthorized, TopicMissing
from streams.kafka.settings import LIBRDKAFKA

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


@click.command("worker")
@config_option
@click.option("--slot", required=True, help="Stable name, e.g. digits-cpu-0: group instance id and transactional id.")
@click.option("--type", "type_name", default=None, help="Worker type in the settings; the first one by default.")
@click.option("--device", default=None, help="cpu, gpu:N or emulated; the type's by default.")
@log_level_option
def command(*, config: Path, slot: str, type_name: str | None, device: str | None, log_level: str) -> int:
    """Serve the pipeline's model until SIGTERM, then finish the batch, commit and leave the group."""
    logs.configure(log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tree = settings.load(config)
    worker_type = tree.worker_types[0] if type_name is None else tree.worker_type(type_name)
    spec = WorkerSpec(
        pipeline=tree.pipeline.name,
        model_dir=tree.pipeline.model,
        slot=slot,
        worker_type=worker_type,
        device=device or worker_type.device,
        kafka=tree.kafka,
        settings=tree.worker,
        state_dir=tree.state_dir,
        asked_at_s=float(os.environ.get("PENSTOCK_ASKED_AT_S") or time.time()),
        max_result_bytes=tree.topics.max_record_bytes,
        objective_s=tree.pipeline.objective.within_s,
    )
    if tree.kafka.library == LIBRDKAFKA and len(tree.worker_types) > 1:
        log.warning(
            "worker.even_shares",
            extra={
                "worker": slot,
                "why": "kafka.library=librdkafka takes no assignor of ours: each worker gets as many partitions as any "
                "other, whatever it can do, so the slowest type decides the latency; use kafka-python for mixed fleets",
            },
        )
    try:
        run(spec, stop)
    except WorkerError as error:
        log.error("worker.failed", extra={"worker": slot, "error": str(error)})  # noqa: TRY400 - the message says it all
        return error.exit_code
    except KafkaFailure as error:
        log.error("worker.failed", extra={"worker": slot, "error": str(error)})  # noqa: TRY400 - the message says it all
        return _exit_code(error)
    return 0


def _exit_code(error: KafkaFailure) -> int:
    if isinstance(error, Fenced):
        return 73
    return 64 if isinstance(error, (AuthenticationFailed, NotAuthorized, TopicMissing)) else 69
