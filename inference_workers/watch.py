"""What can be seen of a worker from outside: metrics, liveness, readiness, spans. Off unless the settings say so."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

from inference_workers.endpoint import Endpoint, Page
from inference_workers.metrics import Identity, Seen, WorkerCollector, page_of, registry_of
from inference_workers.probes import Beats, is_ready
from inference_workers.settings import TRACING_OTLP
from streams import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from autoscaler.model import ServiceCurve
    from inference_workers.answers import Answer
    from inference_workers.buffer import RecordBuffer
    from inference_workers.counters import Counters
    from inference_workers.ownership import Ownership
    from inference_workers.ready import ReadyQueue
    from inference_workers.reporting import Life
    from inference_workers.settings import WorkerSettings
    from inference_workers.tracing import BatchTracer

log = logging.getLogger(__name__)


class Watch:
    """Bundles what looks at a worker; the worker only calls `beats`, `serving` and `batch`.

    Args:
        identity: who the worker is.
        settings: what is on, and where.
        state_dir: where the file for the scraper's discovery goes.
        life: the worker's state.
        counters: what it has counted.
        ownership: its partitions.
        buffer: its records in waiting.
        ready: those decoded.
    """

    def __init__(
        self,
        identity: Identity,
        settings: WorkerSettings,
        state_dir: Path,
        *,
        life: Life,
        counters: Counters,
        ownership: Ownership,
        buffer: RecordBuffer,
        ready: ReadyQueue,
    ) -> None:
        self.beats = Beats(settings.stuck_after_s)
        self._identity, self._settings = identity, settings
        self._life, self._counters, self._ownership = life, counters, ownership
        self._buffer, self._ready = buffer, ready
        self._targets_file = state_dir / "scrape" / f"{identity.worker}.json"
        self._model: Callable[[], tuple[str, str] | None] = lambda: None
        self._curve: Callable[[], ServiceCurve | None] = lambda: None
        self._endpoint: Endpoint | None = None
        self._tracer: BatchTracer | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[Watch]:
        """While the block runs, answer scrapes and probes and export spans.

        A port that cannot be had is logged and no more: inference is what the worker is for.

        Raises:
            MissingLibrary: the settings ask for spans and the library is not installed.
        """
        settings, identity = self._settings, self._identity
        if settings.tracing == TRACING_OTLP:
            from inference_workers.tracing import otlp_tracer  # noqa: PLC0415 - optional library

            self._tracer = otlp_tracer(
                pipeline=identity.pipeline,
                worker=identity.worker,
                topic=topics.requests(identity.pipeline),
                group=topics.group(identity.pipeline),
                model=self._model_now,
            )
        if settings.metrics_port is not None:
            self._listen(settings.metrics_host, settings.metrics_port)
        try:
            yield self
        finally:
            if self._endpoint is not None:
                self._endpoint.close()
                with contextlib.suppress(OSError):
                    self._targets_file.unlink(missing_ok=True)
            if self._tracer is not None:
                self._tracer.close()

    @property
    def address(self) -> str | None:
        """Where it listens; `None` = nowhere."""
        return None if self._endpoint is None else self._endpoint.address

    def serving(self, *, model: Callable[[], tuple[str, str]], curve: Callable[[], ServiceCurve | None]) -> None:
        """The model is loaded: its name and version, and the fitted curve, whenever they are asked for."""
        self._model, self._curve = model, curve

    def batch(self, answers: Sequence[Answer]) -> None:
        """A batch was answered. Raises nothing; costs nothing where tracing is off."""
        if self._tracer is not None:
            self._tracer.batch(answers)

    def _listen(self, host: str, port: int) -> None:
        registry = registry_of(WorkerCollector(self._identity, self._look))
        pages = {
            "/metrics": lambda accept: page_of(registry, accept),
            "/livez": lambda _accept: self._livez(),
            "/readyz": lambda _accept: self._readyz(),
        }
        try:
            self._endpoint = Endpoint(host, port, pages)
        except OSError as error:
            told = {"worker": self._identity.worker, "error": f"{host}:{port}: {error.strerror or error}"}
            log.error("worker.endpoint_unavailable", extra=told)  # noqa: TRY400 - the message says it all
            return
        log.info("worker.endpoint", extra={"worker": self._identity.worker, "address": self._endpoint.address})
        labels = {"pipeline": self._identity.pipeline, "worker": self._identity.worker}
        with contextlib.suppress(OSError):
            self._targets_file.parent.mkdir(parents=True, exist_ok=True)
            # Renamed into place: whoever reads it never sees half of it.
            half = self._targets_file.with_suffix(".half")
            half.write_text(json.dumps([{"targets": [self._endpoint.address], "labels": labels}]), encoding="utf-8")
            half.replace(self._targets_file)

    def _model_now(self) -> tuple[str, str] | None:
        return self._model()

    def _look(self) -> Seen:
        life = self._life
        try:
            curve = self._curve()
        except RuntimeError:  # the execute thread met a new batch size while the fit went over them
            curve = None
        return Seen(
            totals=self._counters.totals(),
            state=life.state,
            partitions=len(self._ownership.partitions),
            rebalances=self._ownership.rebalances,
            buffered=len(self._buffer),
            buffer_records=self._settings.buffer_records,
            ready=len(self._ready),
            model=self._model_now(),
            curve=curve,
            boot_s=None if life.ready_at_s is None else life.ready_at_s - life.asked_at_s,
        )

    def _livez(self) -> Page:
        overdue = self.beats.overdue()
        return _json(503 if overdue else 200, {"live": not overdue, "stuck": overdue})

    def _readyz(self) -> Page:
        ready = is_ready(self._life.state)
        facts = {"ready": ready, "state": self._life.state.value, "partitions": len(self._ownership.partitions)}
        return _json(200 if ready else 503, facts)


def _json(status: int, facts: dict[str, Any]) -> Page:
    return Page(status, "application/json", json.dumps(facts).encode() + b"\n")
