"""Where the live view's numbers come from: Redis first, the telemetry topic where Redis does not say."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import redis

from autoscaler.model import ArrivalSample, WorkerReport, WorkerState
from penstock.demo.history import FRESH_S, backlog_of, parse_decisions
from penstock.demo.view import Moment
from streams import telemetry, topics
from streams.errors import KafkaFailure, MalformedTelemetry
from streams.kafka.reader import new_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from autoscaler.model import TelemetryRecord
    from penstock.demo.traffic import Progress
    from streams.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

#: Most entries asked of the `decisions` stream: it keeps 10,000.
MOST_DECISIONS = 20_000


class Watch:
    """Follows one pipeline. Not for several threads at once.

    Args:
        settings: where Kafka is.
        redis_url: where Redis is.
        pipeline: whose numbers.

    Raises:
        KafkaFailure: the telemetry topic cannot be read.
    """

    def __init__(self, settings: KafkaSettings, redis_url: str, pipeline: str) -> None:
        self._pipeline = pipeline
        self._redis: Any = redis.Redis.from_url(
            redis_url, decode_responses=True, socket_timeout=0.5, socket_connect_timeout=0.5
        )
        self._reader = new_reader(settings, [topics.TELEMETRY], from_="earliest", client_id="demo-watch")
        #: Everything that was on the telemetry topic.
        self.tape: list[TelemetryRecord] = []
        self._samples: list[ArrivalSample] = []
        self._reports: dict[str, WorkerReport] = {}

    def close(self) -> None:
        """Close both connections."""
        self._reader.close()
        self._redis.close()

    def read(self, wait_ms: int = 0) -> None:
        """Take what is new on the telemetry topic."""
        for batch in self._reader.poll(timeout_ms=wait_ms).values():
            for record in batch:
                try:
                    said = telemetry.decode(record.value)
                except MalformedTelemetry:
                    continue
                self.tape.append(said)
                if said.pipeline != self._pipeline:
                    continue
                if isinstance(said, ArrivalSample):
                    self._samples.append(said)
                elif isinstance(said, WorkerReport):
                    self._reports[said.worker] = said

    def read_rest(self) -> None:
        """Take what is left on the telemetry topic now."""
        ends = self._reader.end_offsets(list(self._reader.assignment()))
        deadline_s = time.monotonic() + FRESH_S
        while any(self._reader.position(p) < end for p, end in ends.items()) and time.monotonic() < deadline_s:
            self.read(wait_ms=200)

    def ready(self) -> int:
        """Workers that say they are ready and have said so lately."""
        return count_ready(self._reports.values(), time.time())

    def moment(self, progress: Progress | None, duration_s: float) -> Moment:
        """What is known now."""
        try:
            self.read()
        except KafkaFailure as error:
            log.warning("demo.telemetry_unreadable", extra={"cause": str(error)})
        return moment_of(
            self._metrics(), self._samples, self._reports.values(), progress, now_s=time.time(), duration_s=duration_s
        )

    def decisions(self) -> list[dict[str, Any]]:
        """Every decision that Redis kept, oldest first; empty when it cannot be asked."""
        try:
            entries = self._redis.xrange(f"penstock:{self._pipeline}:decisions", count=MOST_DECISIONS)
        except (redis.RedisError, OSError) as error:
            log.warning("demo.decisions_unreadable", extra={"cause": str(error)})
            return []
        return parse_decisions(fields for _, fields in entries)

    def _metrics(self) -> Mapping[str, str]:
        try:
            found: dict[str, str] = self._redis.hgetall(f"penstock:{self._pipeline}:metrics")
        except (redis.RedisError, OSError):
            return {}
        at_s = _number(found, "at_s")
        # A stale hash would show the past as the present.
        return found if at_s is not None and at_s > time.time() - FRESH_S else {}


def moment_of(
    fields: Mapping[str, str],
    samples: Sequence[ArrivalSample],
    reports: Iterable[WorkerReport],
    progress: Progress | None,
    *,
    now_s: float,
    duration_s: float,
) -> Moment:
    """What is known now, from Redis where it says and from the telemetry where it does not.

    Args:
        fields: the `metrics` hash; empty when Redis is away.
        samples: arrival samples so far, oldest first.
        reports: the newest report of each worker.
        progress: where the traffic process is.
        now_s: Unix time.
        duration_s: length of the load.
    """
    sample = samples[-1] if samples else None
    fleet = sample.fleet if sample else None
    started_at_s = progress.started_at_s if progress else None
    return Moment(
        at_s=now_s - started_at_s if started_at_s is not None else 0.0,
        duration_s=duration_s,
        phase=progress.phase if progress and started_at_s is not None else "waiting",
        rate_per_s=_or(_number(fields, "rate_1s_per_s"), _rate(samples)),
        lower_per_s=_number(fields, "forecast_lower_per_s"),
        upper_per_s=_number(fields, "forecast_upper_per_s"),
        horizon_s=_number(fields, "forecast_horizon_s"),
        method=fields.get("forecast_method"),
        declared=_whole(_or(_number(fields, "workers_declared"), _total(fleet.declared if fleet else None))),
        running=_whole(_or(_number(fields, "workers_running"), _total(fleet.running if fleet else None))),
        ready=count_ready(reports, now_s),
        backlog=_whole(_or(_number(fields, "backlog"), backlog_of(sample) if sample else None)),
        # The traffic process measures from the intended send; the workers' own figure starts at the broker.
        p99_ms=progress.p99_ms if progress else None,
        sent=progress.sent if progress else 0,
        received=progress.received if progress else 0,
        action=fields.get("action"),
        reason=fields.get("reason"),
    )


def count_ready(reports: Iterable[WorkerReport], now_s: float) -> int:
    """Workers that say they are ready and have said so lately."""
    return sum(report.state is WorkerState.READY and report.at_s > now_s - FRESH_S for report in reports)


def _rate(samples: Sequence[ArrivalSample]) -> float | None:
    """Arrivals a second between the last two samples."""
    if len(samples) < 2:  # noqa: PLR2004 - a rate needs two
        return None
    before, now = samples[-2:]
    seconds = now.at_s - before.at_s
    arrived = sum(now.end_offsets.values()) - sum(before.end_offsets.values())
    return arrived / seconds if seconds > 0 else None


def _number(fields: Mapping[str, str], name: str) -> float | None:
    try:
        return float(fields[name])
    except (KeyError, ValueError):
        return None


def _or(first: float | None, second: float | None) -> float | None:
    return second if first is None else first


def _total(counts: Mapping[str, int] | None) -> int | None:
    return None if counts is None else sum(counts.values())


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
