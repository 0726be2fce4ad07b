"""What a worker shows of itself: the metrics' names and values, the probes, and a server that cannot be clogged."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from autoscaler.model import LATENCY_BOUNDS_S, ServiceCurve, WorkerState
from inference_workers.counters import Counters
from inference_workers.endpoint import MOST_AT_ONCE, Endpoint, Page
from inference_workers.metrics import Identity, Seen, WorkerCollector, page_of, registry_of
from inference_workers.probes import Beats, is_ready
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/monitor.md"


def scraped(accept: str = "", **changes: object) -> str:
    """A scrape of a worker that has done a little."""
    counters = Counters()
    counters.ran(8, 0.25, traced=False)
    counters.ran(3, 0.125, traced=True)
    counters.delivered([Status.OK, Status.OK, Status.FAILED], [0.0005, 0.02, 200.0])
    facts = {
        "totals": counters.totals(),
        "state": WorkerState.READY,
        "partitions": 3,
        "rebalances": 2,
        "buffered": 17,
        "buffer_records": 512,
        "ready": 5,
        "model": ("digits", "4"),
        "curve": ServiceCurve(0.002, 0.0001, 64),
        "boot_s": 7.5,
    }
    seen = Seen(**(facts | changes))  # type: ignore[arg-type] # a test's facts
    registry = registry_of(WorkerCollector(Identity("digits", "digits-cpu-0", "cpu", "cpu"), lambda: seen))
    return page_of(registry, accept).body.decode()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, without the pipeline."""
    found = {}
    for family in parse_text(text):
        for sample in family.samples:
            labels = frozenset((k, v) for k, v in sample.labels.items() if k != "pipeline")
            found[sample.name, labels] = sample.value
    return found


def test_the_values_are_what_was_counted() -> None:
    """Each number under its name; the histogram is cumulative and has its sum."""
    found = values(scraped())

    def of(name: str, /, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert [of("penstock_requests_total", status=status) for status in ("ok", "failed", "expired")] == [2, 1, 0]
    assert (of("penstock_batches_total"), of("penstock_rows_total")) == (2, 11)
    assert (of("penstock_batch_compute_seconds_total"), of("penstock_model_retraces_total")) == (0.375, 1)
    assert (of("penstock_partitions_owned"), of("penstock_rebalances_total")) == (3, 2)
    assert (of("penstock_buffer_records"), of("penstock_buffer_capacity_records")) == (17, 512)
    assert of("penstock_service_curve_intercept_seconds") == 0.002
    assert of("penstock_service_curve_slope_seconds") == 0.0001
    assert of("penstock_worker_boot_seconds") == 7.5
    assert of("penstock_model_info", name="digits", version="4") == 1
    assert of("penstock_worker_info", worker="digits-cpu-0", type="cpu", device="cpu") == 1
    assert [of("penstock_worker_state", state=state) for state in ("starting", "ready", "draining")] == [0, 1, 0]
    assert of("penstock_request_latency_seconds_bucket", le="0.001") == 1
    assert of("penstock_request_latency_seconds_bucket", le="100.0") == 2
    assert of("penstock_request_latency_seconds_bucket", le="+Inf") == 3
    assert (of("penstock_request_latency_seconds_count"), of("penstock_request_latency_seconds_sum")) == (3, 200.0205)
    assert found["process_resident_memory_bytes", frozenset()] > 0


def test_a_worker_that_is_starting_can_be_scraped() -> None:
    """What is not known is absent, not 0."""
    text = scraped(model=None, curve=None, boot_s=None, state=WorkerState.STARTING)
    assert 'penstock_worker_state{pipeline="digits",state="starting"} 1.0' in text
    for name in ("penstock_model_info", "penstock_service_curve", "penstock_worker_boot"):
        assert name not in text


def test_names_keep_the_rules_of_the_field() -> None:
    """Counters end in _total, times are in seconds, and no label grows with traffic, partitions or versions."""
    families = list(parse_text(scraped()))
    series = 0
    for family in families:
        if not family.name.startswith("penstock_"):
            continue
        assert re.fullmatch(r"penstock_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert "ms" not in family.name.split("_")
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")
            assert set(sample.labels) <= {
                "pipeline",
                "status",
                "state",
                "le",
                "name",
                "version",
                "worker",
                "type",
                "device",
            }
            assert sample.labels["pipeline"] == "digits"
            series += 1
    assert series < len(LATENCY_BOUNDS_S) + 40


def test_both_formats_parse() -> None:
    """OpenMetrics where the scraper asks for it, the older text format else."""
    text = scraped("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    strict = {family.name for family in parse_openmetrics(text)}
    assert {"penstock_requests", "penstock_request_latency_seconds", "penstock_model"} <= strict


def test_every_metric_is_documented() -> None:
    """A new metric without its line in the documentation fails, and so does a line without its metric."""
    families = {f.name: f for f in parse_text(scraped()) if f.name.startswith("penstock_")}
    exposed = {
        name + ("_total" if family.type == "counter" else ""): family.documentation for name, family in families.items()
    }
    section = PAGE.read_text(encoding="utf-8").split("## Metrics of a worker\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(penstock_[a-z_]+)` \| [a-z]+ \| (.+?) \|$", section, re.MULTILINE))
    assert told == exposed


def test_reading_totals_does_not_disturb_the_reports() -> None:
    """The latency counts of the reports start anew at each; those of the scrapes never do."""
    counters = Counters()
    counters.delivered([Status.OK], [0.02])
    before = counters.totals()
    assert sum(counters.snapshot().latency_counts) == 1
    counters.delivered([Status.OK], [0.02])
    assert sum(counters.totals().latency_counts) == 2
    assert sum(counters.snapshot().latency_counts) == 1
    assert sum(counters.snapshot().latency_counts) == 0
    assert sum(counters.totals().latency_counts) == 2
    assert sum(before.latency_counts) == 1
    assert counters.totals().latency_sum_s == 0.04


def test_a_thread_that_stands_still_is_told_and_one_that_waits_is_not() -> None:
    """Stuck is who has not come round in time; waiting for a broker is no fault of the thread's."""
    now = [0.0]
    beats = Beats(10.0, clock=lambda: now[0])
    beats.beat("poll")
    beats.beat("execute")
    now[0] = 9.0
    beats.beat("poll")
    assert beats.overdue() == ()
    now[0] = 11.0
    assert beats.overdue() == ("execute",)
    with beats.waiting("execute"):
        assert beats.overdue() == ()
        now[0] = 100.0
        assert beats.overdue() == ("poll",)
    assert beats.overdue() == ("poll",)
    beats.rest("poll")
    assert beats.overdue() == ()


def test_ready_is_who_serves() -> None:
    """Neither before it has joined nor while it drains."""
    assert [state for state in WorkerState if is_ready(state)] == [WorkerState.READY]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A server with one page that works and one that does not."""

    def broken(_accept: str) -> Page:
        raise RuntimeError("secret")

    served = Endpoint(
        "127.0.0.1", 0, {"/ok": lambda accept: Page(200, "text/plain", accept.encode()), "/broken": broken}
    )
    yield served
    served.close()


def get(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": "a/b"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_pages_are_served_and_nothing_else(endpoint: Endpoint) -> None:
    """Unknown paths name the known ones; a page that fails says so without its message; only reading is possible."""
    assert get(endpoint, "/ok?x=1") == (200, b"a/b")
    assert get(endpoint, "/ok", "HEAD") == (200, b"")
    assert get(endpoint, "/../etc/passwd") == (404, b"here are: /broken /ok\n")
    assert get(endpoint, "/broken") == (500, b"RuntimeError\n")
    assert get(endpoint, "/ok", "POST")[0] == 501


def test_clients_that_send_nothing_do_not_clog_it(endpoint: Endpoint) -> None:
    """More of them than it serves at a time are closed at once; it answers again when they have gone."""
    idle = [socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) for _ in range(MOST_AT_ONCE + 4)]
    # The last four find no place: closed without an answer, long before the patience for the others is over.
    assert [one.recv(1) for one in idle[MOST_AT_ONCE:]] == [b""] * 4
    for one in idle:
        one.close()
    # Its threads see the ends of their clients a moment later: until then one more finds no place.
    deadline = time.monotonic() + 10
    status = None
    while status is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError),
            urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/ok", timeout=10) as answer,
        ):
            status = answer.status
    assert status == 200


def test_a_taken_port_is_an_error(endpoint: Endpoint) -> None:
    """Two servers never share one by accident."""
    with pytest.raises(OSError, match="in use"):
        Endpoint("127.0.0.1", endpoint.port, {})
