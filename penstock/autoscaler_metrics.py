"""The autoscaler's metrics and probes: its last decision for Prometheus, on the same kind of port that workers have."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from autoscaler.model import Action, WorkerState
from inference_workers.endpoint import Endpoint, Page
from inference_workers.metrics import page_of, registry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from autoscaler.model import Decision, Observation
    from penstock.autoscaler_settings import AutoscalerSettings
    from penstock.shadows import Standing

log = logging.getLogger(__name__)

#: Seconds after which a decision is no longer shown: it decides once a second, and one that has lost the pipeline to
#: another autoscaler, or sees no samples, has nothing to say.
SHOWN_S = 15.0
#: Stuck partitions that are named: a label must not grow with the partitions.
_STUCK_SHOWN = 10


class DecisionCollector(Collector):
    """Gives the metrics of the last decision. Told by the autoscaler's loop, read by the endpoint's threads.

    Args:
        pipeline: the label of every sample.
        now_s: Unix seconds.
        shadows: how policies stand that are not obeyed.
    """

    def __init__(
        self,
        pipeline: str,
        now_s: Callable[[], float] = time.time,
        *,
        shadows: Callable[[], Sequence[Standing]] = tuple,
    ) -> None:
        self._pipeline = pipeline
        self._shadows = shadows
        self._now_s = now_s
        self._lock = threading.Lock()
        self._last: tuple[Observation, Decision] | None = None
        self._actions: Counter[Action] = Counter()

    def decided(self, observation: Observation, decision: Decision) -> None:
        """Take in one decision and what it was made from."""
        with self._lock:
            self._last = (observation, decision)
            self._actions[decision.action] += 1

    def last(self) -> tuple[Observation, Decision] | None:
        """The last decision, if it is still to be shown."""
        with self._lock:
            last = self._last
        return last if last is not None and self._now_s() - last[1].at_s <= SHOWN_S else None

    def collect(self) -> Iterator[Metric]:
        """The metrics now; what is not known is absent."""
        with self._lock:
            actions = Counter(self._actions)
        decisions = CounterMetricFamily(
            "penstock_autoscaler_decisions", "Decisions by what they do.", labels=["pipeline", "action"]
        )
        for action in Action:
            decisions.add_metric([self._pipeline, action.value], float(actions[action]))
        yield decisions
        last = self.last()
        yield from self._gauge(
            "penstock_autoscaler_deciding", "1 while this process decides for the pipeline.", float(last is not None)
        )
        if last is not None:
            yield from self._decision(*last)
            yield from self._beside()

    def describe(self) -> list[Metric]:
        """Nothing: the names are known from the first scrape."""
        return []

    def _decision(self, seen: Observation, made: Decision) -> Iterator[Metric]:
        ready: Counter[str] = Counter()
        for report in seen.reports.values():
            ready[report.worker_type] += report.state is WorkerState.READY
        yield from self._by("type", "penstock_workers_declared", "Workers that there should be, by type.", made.fleet)
        if seen.fleet is not None:
            running = seen.fleet.running
            yield from self._by("type", "penstock_workers_running", "Live workers, ready or not, by type.", running)
        yield from self._by("type", "penstock_workers_ready", "Workers that say that they serve, by type.", ready)
        if seen.backlog is not None:
            backlog = float(sum(seen.backlog.values()))
            yield from self._gauge("penstock_backlog_records", "Requests without a committed result.", backlog)
            told = "Partitions in which requests wait and nothing is committed, though the group works."
            still = {str(one.partition): one.still_s for one in seen.stuck if not one.recovering}
            yield from self._gauge("penstock_stuck_partitions", told, float(len(still)))
            told = "Since a stuck partition last made progress; the longest only."
            longest = dict(list(still.items())[:_STUCK_SHOWN])
            yield from self._by("partition", "penstock_stuck_partition_seconds", told, longest)
        if seen.rates is not None:
            rate = seen.rates.last_10s
            yield from self._gauge("penstock_arrivals_per_second", "Requests a second over the last 10 s.", rate)
        if made.forecast is not None:
            bounds = {
                "lower": made.forecast.lower_per_s,
                "mean": made.forecast.mean_per_s,
                "upper": made.forecast.upper_per_s,
            }
            told = "Requests a second expected until new workers could serve."
            yield from self._by("bound", "penstock_forecast_arrivals_per_second", told, bounds)
        yield from self._gauge(
            "penstock_latency_p99_seconds", "99 % of the last 10 s were answered within.", seen.p99_s
        )
        yield from self._gauge(
            "penstock_fleet_price_per_hour", "Price of the declared workers an hour.", made.price_per_hour
        )
        yield from self._gauge(
            "penstock_autoscaler_decision_timestamp_seconds", "Time of the last decision.", made.at_s
        )

    def _beside(self) -> Iterator[Metric]:
        """Shadows beside the policy in charge; a handful, named in the settings."""
        standings = self._shadows()
        if not standings:
            return
        counted = [one for one in standings if one.decision is not None]
        fleets = GaugeMetricFamily(
            "penstock_shadow_workers",
            "Workers that a shadow policy would have, by type.",
            labels=["pipeline", "policy", "type"],
        )
        for one in counted:
            for kind, count in one.decision.fleet.items() if one.decision is not None else ():
                fleets.add_metric([self._pipeline, one.name, kind], float(count))
        yield fleets
        prices = {one.name: one.price_per_hour for one in counted}
        yield from self._by("policy", "penstock_shadow_price_per_hour", "Price of those workers an hour.", prices)
        failed = {one.name: float(one.failed is not None) for one in standings}
        yield from self._by("policy", "penstock_shadow_failed", "1 for a shadow policy that was given up.", failed)
        for name, told, field in (
            ("decisions", "Decisions of a shadow policy.", "decisions"),
            ("differing_decisions", "Those that ask for another fleet than the policy in charge.", "differed"),
            ("cost", "What the fleets that it asked for would have cost.", "cost"),
            ("live_cost", "What those of the policy in charge have cost meanwhile.", "live_cost"),
        ):
            family = CounterMetricFamily(f"penstock_shadow_{name}", told, labels=["pipeline", "policy"])
            for one in counted:
                family.add_metric([self._pipeline, one.name], float(getattr(one, field)))
            yield family

    def _gauge(self, name: str, told: str, value: float | None) -> Iterator[Metric]:
        if value is not None:
            family = GaugeMetricFamily(name, told, labels=["pipeline"])
            family.add_metric([self._pipeline], value)
            yield family

    def _by(self, label: str, name: str, told: str, values: Mapping[str, float]) -> Iterator[Metric]:
        family = GaugeMetricFamily(name, told, labels=["pipeline", label])
        for key, value in values.items():
            family.add_metric([self._pipeline, key], float(value))
        yield family


@contextlib.contextmanager
def served(
    settings: AutoscalerSettings, collector: DecisionCollector, ticked_s_ago: Callable[[], float | None]
) -> Iterator[Endpoint | None]:
    """While the block runs, answer scrapes and probes; a port that cannot be had is logged and no more.

    Args:
        settings: where.
        collector: what to show.
        ticked_s_ago: seconds since the loop last came round; `None` = it has not yet.
    """
    if settings.metrics_port is None:
        yield None
        return
    registry = registry_of(collector)

    def livez(_accept: str) -> Page:
        ago = ticked_s_ago()
        live = ago is None or ago <= SHOWN_S
        return _json(200 if live else 503, {"live": live, "ticked_s_ago": ago})

    def readyz(_accept: str) -> Page:
        # A stand-by decides nothing and is as ready as the one that does.
        ready = ticked_s_ago() is not None
        return _json(200 if ready else 503, {"ready": ready, "deciding": collector.last() is not None})

    pages = {"/metrics": lambda accept: page_of(registry, accept), "/livez": livez, "/readyz": readyz}
    host, port = settings.metrics_host, settings.metrics_port
    try:
        endpoint = Endpoint(host, port, pages)
    except OSError as error:
        told = {"error": f"{host}:{port}: {error.strerror or error}"}
        log.error("autoscaler.endpoint_unavailable", extra=told)  # noqa: TRY400 - the message says it all
        yield None
        return
    log.info("autoscaler.endpoint", extra={"address": endpoint.address})
    try:
        yield endpoint
    finally:
        endpoint.close()


def _json(status: int, facts: dict[str, Any]) -> Page:
    return Page(status, "application/json", json.dumps(facts).encode() + b"\n")
