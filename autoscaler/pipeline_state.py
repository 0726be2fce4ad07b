"""What is known of one pipeline: the tape of samples, reports and claims, folded into an observation.

No I/O and no clock in it: the same tape gives the same observations.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from typing import TYPE_CHECKING

from autoscaler import latency
from autoscaler.errors import WrongPipeline
from autoscaler.model import (
    ArrivalSample,
    Claim,
    Control,
    FleetStatus,
    Observation,
    ServiceCurve,
    TelemetryRecord,
    TypeStatus,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.progress import ProgressTracker
from autoscaler.rates import ArrivalTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.settings import PolicySettings

#: Starts remembered by type: enough for an upper figure, few enough to follow a change of machine.
_STARTS = 16
#: Workers remembered; a pipeline has at most as many as partitions, and dead ones are forgotten with the history.
_WORKERS = 4096
#: An actuation delay beyond this many seconds is a clock that jumped, not a start.
_LONGEST_START_S = 3600.0


class PipelineState:
    """Folds the input tape of one pipeline. Bounded memory.

    Args:
        pipeline: Its name; records of another are refused.
        settings: How long things count as fresh.
        worker_types: What is assumed of workers until they have reported.
    """

    def __init__(self, pipeline: str, settings: PolicySettings, worker_types: Sequence[WorkerType] = ()) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._types = tuple(worker_types)
        self._arrivals = ArrivalTracker(settings)
        self._progress = ProgressTracker(settings.stuck_after_s, settings.sample_gap_s)
        self._offset = -1
        self._newest: ArrivalSample | None = None
        self._fleet: FleetStatus | None = None
        self._control: Control | None = None
        self._reports: dict[str, WorkerReport] = {}
        self._latencies: deque[tuple[float, str, tuple[int, ...]]] = deque(maxlen=_WORKERS * 4)
        self._starts: dict[str, dict[tuple[str, float], float]] = {}
        #: Times of the samples that showed workers more than the one before, one each, newest last, by type.
        self._asked: dict[str, deque[float]] = {}
        self._serving: tuple[str, ...] | None = None
        self._rebalanced_at_s: float | None = None
        self._claim: Claim | None = None
        self._epoch: int | None = None

    @property
    def owner(self) -> str | None:
        """Who owns the pipeline by the youngest claim; `None` = nobody has claimed it."""
        return self._claim.owner if self._claim else None

    @property
    def epoch(self) -> int | None:
        """Offset of the youngest claim; `None` = no claim, or none with a known offset."""
        return self._epoch

    @property
    def through(self) -> int:
        """Highest offset that was folded; -1 = none."""
        return self._offset

    def apply(self, record: TelemetryRecord, offset: int | None = None) -> None:
        """Fold one record of the tape.

        Args:
            record: A sample, report or claim of this pipeline.
            offset: Its offset in the telemetry topic. What lies at or before an offset already seen is a replay and is
                ignored. `None` = not from the topic.

        Raises:
            WrongPipeline: the record belongs to another pipeline.
        """
        if record.pipeline != self._pipeline:
            raise WrongPipeline(
                f"record of pipeline={record.pipeline!r} given to the state of {self._pipeline!r}: keep one state each"
            )
        if offset is not None:
            if offset <= self._offset:
                return
            self._offset = offset
        if isinstance(record, ArrivalSample):
            self._apply_sample(record, in_order=offset is not None)
        elif isinstance(record, WorkerReport):
            self._apply_report(record, in_order=offset is not None)
        elif self._claim is None or offset is not None or record.at_s >= self._claim.at_s:
            self._claim = record
            self._epoch = offset

    def observe(self, at_s: float) -> Observation:
        """What is known at `at_s` (Unix seconds): fresh things only; the rest is `None` or left out."""
        settings = self._settings
        sample = self._newest
        fresh = sample is not None and abs(at_s - sample.at_s) <= settings.sample_fresh_s
        reports = self.reports(at_s)
        self._note_owners(reports, at_s)
        counts = self._latency_counts(at_s)
        return Observation(
            pipeline=self._pipeline,
            at_s=at_s,
            partitions=len(sample.end_offsets) if sample else 0,
            rates=self._arrivals.rates(at_s),
            backlog=_backlog(sample) if sample and fresh else None,
            fleet=self._fleet,
            control=self._control,
            workers={name: self._with_silent(name, status, at_s) for name, status in _by_type(reports).items()},
            rebalanced_at_s=self._rebalanced_at_s,
            reports=reports,
            p99_s=latency.quantile(counts, 0.99),
            latency_counts=counts,
            history=self._arrivals.history(at_s),
            stuck=self._progress.stuck({p: name for name, one in reports.items() for p in one.partitions})
            if fresh
            else (),
        )

    def reports(self, at_s: float) -> dict[str, WorkerReport]:
        """Workers heard of lately, by name. To look at them changes nothing."""
        return {
            name: report
            for name, report in sorted(self._reports.items())
            if abs(at_s - report.at_s) <= self._settings.report_fresh_s and report.state is not WorkerState.STOPPED
        }

    def worker_types(self) -> tuple[WorkerType, ...]:
        """The worker types with what their workers were seen to do instead of what was assumed.

        `boot_s` becomes the 90th percentile of the recent actuation delays (from the request to start until ready),
        `curve` the median of the curves fitted by workers heard of lately.
        """
        return tuple(
            dataclasses.replace(kind, boot_s=self._boot_s(kind) or kind.boot_s, curve=self._curve(kind) or kind.curve)
            for kind in self._types
        )

    def _apply_sample(self, sample: ArrivalSample, *, in_order: bool) -> None:
        newest = self._arrivals.add(sample, in_order=in_order)
        if not newest and self._newest is not None:
            return
        self._newest = sample
        serving = (report for report in self._reports.values() if report.state is WorkerState.READY)
        fresh_s = self._settings.report_fresh_s
        self._progress.add(sample, serving=any(abs(sample.at_s - report.at_s) <= fresh_s for report in serving))
        if sample.fleet is not None:
            before = self._fleet.running if self._fleet is not None else {}
            for name, running in sample.fleet.running.items():
                asked = self._asked.setdefault(name, deque(maxlen=_WORKERS))
                asked.extend([sample.at_s] * max(0, running - before.get(name, 0)))
        # Redis or the actuator being away does not undo what they said last.
        self._fleet = sample.fleet or self._fleet
        self._control = sample.control or self._control

    def _apply_report(self, report: WorkerReport, *, in_order: bool) -> None:
        known = self._reports.get(report.worker)
        if known is not None and report.at_s <= known.at_s:
            # A clock set back, or a new process under the old name, goes on counting; a replay does not.
            later = in_order and (report.pid != known.pid or report.batches > known.batches)
            if not later:
                return
        self._reports[report.worker] = report
        # Those of a worker of another version, during an upgrade, are over other bounds.
        if any(report.latency_counts) and len(report.latency_counts) == latency.BUCKETS:
            self._latencies.append((report.at_s, report.worker, report.latency_counts))
        if report.ready_at_s is not None and 0 <= report.ready_at_s - report.asked_at_s <= _LONGEST_START_S:
            starts = self._starts.setdefault(report.worker_type, {})
            starts[report.worker, report.asked_at_s] = report.ready_at_s - report.asked_at_s
            while len(starts) > _STARTS:
                del starts[next(iter(starts))]
        self._forget(report.at_s)

    def _forget(self, at_s: float) -> None:
        while self._latencies and self._latencies[0][0] < at_s - self._settings.latency_window_s * 2:
            self._latencies.popleft()
        old = [name for name, report in self._reports.items() if report.at_s < at_s - self._settings.history_s]
        for name in old:
            del self._reports[name]
        while len(self._reports) > _WORKERS:
            del self._reports[min(self._reports, key=lambda name: self._reports[name].at_s)]

    def _with_silent(self, name: str, status: TypeStatus, at_s: float) -> TypeStatus:
        """With the workers that run and have said nothing yet: they load a model, and serve soon.

        A worker reports once it is in the group. That it was started, the actuator knows from the start.
        """
        running = self._fleet.running.get(name, 0) if self._fleet is not None else 0
        silent = running - status.ready - len(status.asked_at_s)
        kind = next((kind for kind in self._types if kind.name == name), None)
        if silent <= 0 or kind is None:
            return status
        patience_s = self._settings.start_patience * (self._boot_s(kind) or kind.boot_s)
        newest = list(self._asked.get(name, ()))[-silent:]
        asked = [asked_s for asked_s in newest if 0 <= at_s - asked_s <= patience_s]
        return dataclasses.replace(status, asked_at_s=tuple(sorted((*status.asked_at_s, *asked))))

    def _note_owners(self, reports: dict[str, WorkerReport], at_s: float) -> None:
        """A change among the workers that serve is a rebalance."""
        serving = tuple(name for name, report in reports.items() if report.state is WorkerState.READY)
        if self._serving is not None and serving != self._serving:
            self._rebalanced_at_s = at_s
        self._serving = serving

    def _latency_counts(self, at_s: float) -> tuple[int, ...]:
        since_s = at_s - self._settings.latency_window_s
        return latency.merge(counts for at, _, counts in self._latencies if since_s < at <= at_s + 1)

    def _boot_s(self, kind: WorkerType) -> float | None:
        delays = sorted(self._starts.get(kind.name, {}).values())
        return delays[math.ceil(0.9 * len(delays)) - 1] if delays else None

    def _curve(self, kind: WorkerType) -> ServiceCurve | None:
        curves = [r.curve for r in self._reports.values() if r.worker_type == kind.name and r.curve is not None]
        if not curves:
            return None
        # A median over workers, coefficient by coefficient: one worker on a noisy core does not speak for all.
        return ServiceCurve(
            a_s=statistics.median(curve.a_s for curve in curves),
            b_s=statistics.median(curve.b_s for curve in curves),
            max_batch=int(statistics.median_low(curve.max_batch for curve in curves)),
        )


def _by_type(reports: dict[str, WorkerReport]) -> dict[str, TypeStatus]:
    ready: dict[str, int] = {}
    asked: dict[str, list[float]] = {}
    for report in reports.values():
        ready.setdefault(report.worker_type, 0)
        if report.state is WorkerState.READY:
            ready[report.worker_type] += 1
        elif report.state is WorkerState.STARTING:
            asked.setdefault(report.worker_type, []).append(report.asked_at_s)
    return {name: TypeStatus(count, tuple(sorted(asked.get(name, ())))) for name, count in ready.items()}


def _backlog(sample: ArrivalSample) -> dict[int, int] | None:
    """Records without a committed result; a partition that never committed counts from offset 0.

    One whose commits the sample does not tell is left out, and where it tells of none nothing is known.
    """
    told = {
        p: max(0, end - (sample.committed[p] or 0))
        for p, end in sorted(sample.end_offsets.items())
        if p in sample.committed
    }
    return told or None
