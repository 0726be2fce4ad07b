"""What a worker says of itself on `penstock.telemetry`, and the heartbeat file that health checks look at."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.model import WorkerReport, WorkerState
from autoscaler.whole_file import write_whole
from streams import telemetry, topics
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference_workers.counters import Counters
    from inference_workers.curve import CurveFit
    from inference_workers.model_set import ModelSet
    from inference_workers.ownership import Ownership

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Life:
    """Where the worker is in its life; written by its main thread alone."""

    asked_at_s: float
    state: WorkerState = WorkerState.STARTING
    ready_at_s: float | None = None
    host: str = field(default_factory=socket.gethostname)


class Reporter:
    """Builds and sends reports. Telemetry is a courtesy: a report that cannot be sent is dropped, with a log line."""

    def __init__(
        self,
        *,
        pipeline: str,
        slot: str,
        worker_type: str,
        device_label: str,
        models: ModelSet,
        life: Life,
        ownership: Ownership,
        counters: Counters,
        fit: CurveFit,
        producer: Any,
        health_file: Path,
        address: str | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._pipeline, self._slot, self._worker_type = pipeline, slot, worker_type
        self._device_label, self._models = device_label, models
        self._life, self._ownership, self._counters, self._fit = life, ownership, counters, fit
        self._producer, self._health_file, self._now_s = producer, health_file, now_s
        #: `host:port` of the worker's metrics and probes.
        self._address = address

    def report(self) -> WorkerReport:
        """How it stands now; starts the latency counts anew."""
        counted = self._counters.snapshot()
        return WorkerReport(
            pipeline=self._pipeline,
            worker=self._slot,
            worker_type=self._worker_type,
            device=self._device_label,
            at_s=self._now_s(),
            pid=os.getpid(),
            host=self._life.host,
            state=self._life.state,
            asked_at_s=self._life.asked_at_s,
            ready_at_s=self._life.ready_at_s,
            partitions=self._ownership.partitions,
            batches=counted.batches,
            rows=counted.rows,
            ok=counted.by_status[Status.OK],
            failed=counted.by_status[Status.FAILED],
            expired=counted.by_status[Status.EXPIRED],
            busy_s=counted.busy_s,
            curve=self._fit.curve(),
            latency_counts=counted.latency_counts,
            rebalances=self._ownership.rebalances,
            retraces=counted.retraces,
            model_version=self._models.current.version,
            model_problem=self._models.problem,
            shadow=self._models.shadow_counts(),
        )

    def send(self) -> WorkerReport:
        """Report now, touch the heartbeat file, and give what was reported."""
        report = self.report()
        try:
            self._producer.send(topics.TELEMETRY, key=self._pipeline.encode(), value=telemetry.encode(report))
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the work goes on
            log.warning("worker.report_dropped", extra={"error": f"{type(error).__name__}: {error}"[:200]})
        try:
            told = {"state": report.state.value, "pid": report.pid, "endpoint": self._address}
            if report.model_problem is not None:
                told["model"] = report.model_problem
            write_whole(self._health_file, json.dumps(told))
        except OSError as error:
            log.warning("worker.heartbeat_dropped", extra={"error": str(error)})
        return report
