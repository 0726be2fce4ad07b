"""A worker's metrics for Prometheus, read from its counters when they are scraped: nothing is added to the hot path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from autoscaler.model import LATENCY_BOUNDS_S, WorkerState
from inference_workers.endpoint import Page
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from autoscaler.model import ServiceCurve
    from inference_workers.counters import Totals


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker at one moment."""

    totals: Totals
    state: WorkerState
    partitions: int
    rebalances: int
    buffered: int
    buffer_records: int
    #: Decoded requests that wait for the device.
    ready: int
    #: Name and version; `None` = not loaded yet.
    model: tuple[str, str] | None
    curve: ServiceCurve | None
    #: From the request for a worker until it served, in seconds; `None` = not yet.
    boot_s: float | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change in a worker's life."""

    pipeline: str
    worker: str
    worker_type: str
    device: str


class WorkerCollector(Collector):
    """Gives the metrics of one worker.

    Every sample has the label `pipeline` and no more than a status beside it; which worker it is is said by
    `penstock_worker_info` and by the scraper's own `instance`. So the number of series does not grow with partitions,
    versions or requests.

    Args:
        identity: who it is.
        look: how it stands now; called once a scrape.
    """

    def __init__(self, identity: Identity, look: Callable[[], Seen]) -> None:
        self._identity = identity
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        seen, who = self._look(), self._identity
        totals = seen.totals
        about = {"worker": who.worker, "type": who.worker_type, "device": who.device}
        yield self._info("penstock_worker", "The worker.", about)
        if seen.model is not None:
            name, version = seen.model
            yield self._info("penstock_model", "The model that is served.", {"name": name, "version": version})
        yield self._gauge(
            "penstock_worker_state",
            "1 for the state that the worker is in, 0 for the others.",
            [([state.value], float(seen.state is state)) for state in WorkerState],
            "state",
        )
        yield self._counter(
            "penstock_requests",
            "Requests whose result is delivered, by how they ended.",
            [([status.value], float(totals.by_status[status])) for status in Status],
            "status",
        )
        yield self._latency(totals)
        yield self._counter("penstock_batches", "Batches that the model computed.", totals.batches)
        yield self._counter("penstock_rows", "Rows that the model computed, without padding.", totals.rows)
        yield self._counter("penstock_batch_compute_seconds", "Time that batches held the device.", totals.busy_s)
        yield self._counter(
            "penstock_model_retraces",
            "Batches of a shape that was not warmed before the worker was ready.",
            totals.retraces,
        )
        yield self._counter("penstock_rebalances", "Times that partitions came or went.", seen.rebalances)
        yield self._gauge("penstock_partitions_owned", "Partitions of the requests topic.", seen.partitions)
        yield self._gauge("penstock_buffer_records", "Records between Kafka and their decoding.", seen.buffered)
        yield self._gauge(
            "penstock_buffer_capacity_records", "Records above which partitions are paused.", seen.buffer_records
        )
        yield self._gauge("penstock_ready_records", "Decoded records that wait for the model.", seen.ready)
        if seen.boot_s is not None:
            yield self._gauge(
                "penstock_worker_boot_seconds", "From the request for the worker until it served.", seen.boot_s
            )
        yield from self._curve(seen.curve)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known from the first scrape, and the registry has no other collector to clash with."""
        return ()

    def _curve(self, curve: ServiceCurve | None) -> Iterator[Metric]:
        if curve is None:
            return
        yield self._gauge(
            "penstock_service_curve_intercept_seconds", "Fitted time of a batch, apart from its rows.", curve.a_s
        )
        yield self._gauge("penstock_service_curve_slope_seconds", "Fitted time that one more row takes.", curve.b_s)
        yield self._gauge("penstock_service_curve_max_batch_rows", "Rows of the largest batch.", curve.max_batch)

    def _latency(self, totals: Totals) -> Metric:
        family = HistogramMetricFamily(
            "penstock_request_latency_seconds",
            "From a request's Kafka timestamp until its result was delivered.",
            labels=["pipeline"],
        )
        buckets, running = list[tuple[str, float]](), 0
        for bound, count in zip((*LATENCY_BOUNDS_S, float("inf")), totals.latency_counts, strict=True):
            running += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        family.add_metric([self._identity.pipeline], buckets, totals.latency_sum_s)
        return family

    def _info(self, name: str, told: str, facts: dict[str, str]) -> Metric:
        family = InfoMetricFamily(name, told, labels=["pipeline"])
        family.add_metric([self._identity.pipeline], facts)
        return family

    def _counter(
        self, name: str, told: str, values: float | Sequence[tuple[list[str], float]], label: str | None = None
    ) -> Metric:
        family = CounterMetricFamily(name, told, labels=_labels(label))
        for labels, value in _samples(values):
            family.add_metric([self._identity.pipeline, *labels], value)
        return family

    def _gauge(
        self, name: str, told: str, values: float | Sequence[tuple[list[str], float]], label: str | None = None
    ) -> Metric:
        family = GaugeMetricFamily(name, told, labels=_labels(label))
        for labels, value in _samples(values):
            family.add_metric([self._identity.pipeline, *labels], value)
        return family


def _labels(label: str | None) -> list[str]:
    return ["pipeline"] if label is None else ["pipeline", label]


def _samples(values: float | Sequence[tuple[list[str], float]]) -> Sequence[tuple[list[str], float]]:
    return [([], float(values))] if isinstance(values, (int, float)) else values


def registry_of(collector: Collector) -> CollectorRegistry:
    """A registry of its own for one collector, with what the client library knows of the process (CPU, memory, files).

    Not the library's global one: several workers may share a process in tests, and what other libraries register there
    is not ours to publish.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def page_of(registry: CollectorRegistry, accept: str) -> Page:
    """The scrape, in the text format that the scraper asks for."""
    encode, content_type = choose_encoder(accept)
    return Page(200, content_type, encode(registry))
