"""The run as series over time, from the telemetry tape and the decisions: for the report and its figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.model import ArrivalSample, TelemetryRecord, WorkerReport, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Numbers = NDArray[np.float64]

#: A worker that has not reported for so long is not counted as ready, in seconds: it reports about once a second.
FRESH_S = 5.0


@dataclass(frozen=True, slots=True)
class Series:
    """A quantity over time; NaN where it was not known."""

    at_s: Numbers
    values: Numbers

    def __bool__(self) -> bool:
        return bool(self.at_s.size)


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that changed the fleet."""

    #: Seconds since the load began.
    at_s: float
    #: `scale-up` or `scale-down`.
    action: str
    before: int | None
    after: int
    reason: str
    bound: str


@dataclass(frozen=True, slots=True)
class History:
    """Everything over seconds since the load began."""

    #: Workers declared, steps at the decisions.
    declared: Series
    #: Workers running (processes, ready or not), steps at the samples.
    running: Series
    #: Workers that said they were ready.
    ready: Series
    #: Requests without a committed result.
    backlog: Series
    #: Edges of the band shown to people, and the rate that was sized for: what was expected `horizon_s` later.
    lower: Series
    upper: Series
    horizon_s: float | None
    changes: tuple[Change, ...]
    #: Median of the seconds from asking for a worker to its being ready; `None` = none was seen.
    start_s: float | None


def history(
    tape: Sequence[TelemetryRecord], decisions: Sequence[Mapping[str, Any]], started_at_s: float, pipeline: str
) -> History:
    """Fold the tape and the decisions.

    Args:
        tape: the telemetry topic's records, of any pipeline, in any order.
        decisions: each decision as a mapping of the fields of `autoscaler.model.Decision`, oldest first.
        started_at_s: when the load began, Unix seconds.
        pipeline: whose records count.
    """
    samples = sorted(
        (r for r in tape if isinstance(r, ArrivalSample) and r.pipeline == pipeline), key=lambda sample: sample.at_s
    )
    reports = sorted(
        (r for r in tape if isinstance(r, WorkerReport) and r.pipeline == pipeline), key=lambda report: report.at_s
    )
    known = [sample for sample in samples if sample.fleet is not None]
    forecasts = [(d["at_s"] - started_at_s, d["forecast"]) for d in decisions if d.get("forecast")]
    horizons = [forecast["horizon_s"] for _, forecast in forecasts]
    return History(
        declared=_declared(decisions, known, started_at_s),
        running=_series((s.at_s - started_at_s, sum(s.fleet.running.values())) for s in known if s.fleet),
        ready=_ready(reports, started_at_s),
        backlog=_series((s.at_s - started_at_s, backlog_of(s)) for s in samples),
        lower=_series((at + f["horizon_s"], f["lower_per_s"]) for at, f in forecasts),
        upper=_series((at + f["horizon_s"], f["upper_per_s"]) for at, f in forecasts),
        horizon_s=float(np.median(horizons)) if horizons else None,
        changes=tuple(_changes(decisions, known, started_at_s)),
        start_s=start_seconds(reports),
    )


def backlog_of(sample: ArrivalSample) -> float:
    """Records without a committed result; a partition without a commit counts whole: the demo's topics are new."""
    return float(sum(end - (sample.committed.get(p) or 0) for p, end in sample.end_offsets.items()))


def start_seconds(reports: Iterable[WorkerReport]) -> float | None:
    """Median of the seconds from asking for a worker to its being ready; `None` = none became ready."""
    starts = {(r.worker, r.pid): r.ready_at_s - r.asked_at_s for r in reports if r.ready_at_s is not None}
    return float(np.median(list(starts.values()))) if starts else None


def seconds_above(series: Series, start_s: float, end_s: float) -> float:
    """Integral of a stepped series over [start_s, end_s]: each value holds until the next, the first also before it."""
    if not series or end_s <= start_s:
        return 0.0
    inside = (series.at_s > start_s) & (series.at_s < end_s)
    times = np.concatenate(([start_s], series.at_s[inside], [end_s]))
    index = np.clip(np.searchsorted(series.at_s, times[:-1], side="right") - 1, 0, None)
    return float(np.nansum(series.values[index] * np.diff(times)))


def extremes(series: Series, start_s: float, end_s: float) -> tuple[int, int] | None:
    """Least and most of a stepped series over [start_s, end_s]; `None` = it is empty."""
    if not series:
        return None
    first = max(0, int(np.searchsorted(series.at_s, start_s, side="right")) - 1)
    last = max(first + 1, int(np.searchsorted(series.at_s, end_s, side="right")))
    values = series.values[first:last]
    return int(np.nanmin(values)), int(np.nanmax(values))


def parse_decisions(entries: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Decisions out of the entries of the Redis stream `decisions`; what cannot be read is left out."""
    found = []
    for entry in entries:
        try:
            decision = json.loads(entry["json"])
        except (KeyError, ValueError):
            continue
        if isinstance(decision, dict) and "at_s" in decision and "fleet" in decision:
            found.append(decision)
    return sorted(found, key=lambda decision: float(decision["at_s"]))


def _changes(
    decisions: Sequence[Mapping[str, Any]], samples: Sequence[ArrivalSample], started_at_s: float
) -> Iterable[Change]:
    """From the decisions; where Redis kept none, from the fleet that was declared, without reasons."""
    if decisions:
        before: int | None = None
        for decision in decisions:
            after = sum(decision["fleet"].values())
            if before is not None and after != before and not decision.get("advisory"):
                action = "scale-up" if after > before else "scale-down"
                at_s = decision["at_s"] - started_at_s
                yield Change(at_s, action, before, after, decision.get("reason", ""), decision.get("bound", ""))
            before = after
        return
    last: int | None = None
    for sample in samples:
        after = sum(sample.fleet.declared.values()) if sample.fleet else 0
        if last is not None and after != last:
            action = "scale-up" if after > last else "scale-down"
            yield Change(sample.at_s - started_at_s, action, last, after, "not known: Redis kept no decisions", "")
        last = after


def _declared(decisions: Sequence[Mapping[str, Any]], samples: Sequence[ArrivalSample], started_at_s: float) -> Series:
    """From the decisions; where Redis kept none, from the samples, which know of a decision one tick later."""
    if decisions:
        obeyed = [d for d in decisions if not d.get("advisory")]
        return _series((d["at_s"] - started_at_s, sum(d["fleet"].values())) for d in obeyed)
    return _series((s.at_s - started_at_s, sum(s.fleet.declared.values())) for s in samples if s.fleet)


def _ready(reports: Sequence[WorkerReport], started_at_s: float) -> Series:
    """How many workers were ready, after each report; one that was killed says nothing any more."""
    newest: dict[str, WorkerReport] = {}
    points = []
    for report in reports:
        newest[report.worker] = report
        fresh = [r for r in newest.values() if r.at_s > report.at_s - FRESH_S and r.state is WorkerState.READY]
        points.append((report.at_s - started_at_s, float(len(fresh))))
    return _series(points)


def _series(points: Iterable[tuple[float, float]]) -> Series:
    pairs = np.array(list(points), dtype=np.float64).reshape(-1, 2)
    order = np.argsort(pairs[:, 0], kind="stable")
    return Series(pairs[order, 0], pairs[order, 1])
