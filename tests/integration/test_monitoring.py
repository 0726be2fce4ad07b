"""A real worker looked at from outside: scraped, probed while it starts, serves, hangs and drains, and traced."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from penstock.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.ThreadingHTTPServer):
    """An OTLP/HTTP collector that keeps the spans it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Any] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                outer.spans += [
                    span for one in told.resource_spans for scope in one.scope_spans for span in scope.spans
                ]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that workers started from here find by the standard's variable."""
    served = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{served.server_address[1]}")
    yield served
    served.shutdown()
    served.server_close()


def _get(address: str, path: str) -> tuple[int, str]:
    """Status and body; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_a_worker_can_be_watched(served: Pipeline, collector: Collector) -> None:
    """Each answer follows what the worker does; a batch that holds the device for too long is told, then forgiven."""
    # A device that holds each batch for 4 s, and a second of patience.
    served.config.write_text(
        served.config.read_text()
        + 'metrics_port = 0\nstuck_after_s = 1.0\ntracing = "otlp"\n'
        + '[[worker_types]]\nname = "slow"\ndevice = "emulated"\n'
        + "[worker_types.curve]\na_s = 4.0\nb_s = 0.0\nmax_batch = 16\n"
    )
    state = served.directory / ".penstock/state"
    targets = state / "scrape/w0.json"
    pid = served.start("w0")
    served.wait_until(targets.exists, 60, "the port is told")
    ((target,),) = [entry["targets"] for entry in json.loads(targets.read_text())]
    status, body = _get(target, "readyz")
    assert (status, json.loads(body)["state"]) in {(503, "starting"), (200, "ready")}
    served.wait_ready("w0")
    served.wait_until(lambda: _get(target, "readyz")[0] == 200, 10, "ready")
    assert _get(target, "livez") == (200, '{"live": true, "stuck": []}\n')
    health = ["health", "worker", "--state", str(state), "--slot", "w0"]
    served.wait_until(lambda: run([*health, "--probe", "readyz"]) == 0, 10, "health asks the worker")
    assert run([*health, "--probe", "livez"]) == 0

    served.send("r0", np.ones((3, 4)), headers=[("traceparent", f"00-{TRACE}-{SPAN}-01".encode())])
    served.producer.flush()
    served.wait_until(lambda: _get(target, "livez")[0] == 503, 20, "a held device is told")
    assert json.loads(_get(target, "livez")[1]) == {"live": False, "stuck": ["execute"]}
    assert run([*health, "--probe", "livez"]) == 1
    assert run(health) == 0
    served.results(1)
    served.wait_until(lambda: _get(target, "livez")[0] == 200, 20, "and forgiven")

    samples = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(_get(target, "metrics")[1])
        for sample in family.samples
    }
    assert samples["penstock_requests_total", "ok"] == 1
    assert samples["penstock_rows_total", None] == 3
    assert samples["penstock_partitions_owned", None] == 4
    assert samples["penstock_batch_compute_seconds_total", None] >= 4
    assert samples["penstock_request_latency_seconds_sum", None] >= 4
    assert samples["penstock_model_retraces_total", None] == 0

    served.send("r1", np.ones((1, 4)))
    served.producer.flush()
    served.wait_until(lambda: _get(target, "livez")[0] == 503, 20, "the batch is in hand")
    os.kill(pid, signal.SIGTERM)
    served.wait_until(lambda: '"draining"' in _get(target, "readyz")[1], 10, "draining is not ready")
    assert _get(target, "readyz")[0] == 503
    served.wait_until(lambda: served.launcher.exit_code(pid) is not None, 30, "drained")
    served.pids.pop("w0")
    assert not targets.exists()
    assert len(served.results(2)) == 2
    (span,) = collector.spans
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [(TRACE, SPAN)]
    assert span.end_time_unix_nano - span.start_time_unix_nano >= 4e9


def test_a_taken_port_and_a_collector_that_is_away_cost_no_answer(
    served: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are said in the log, and the worker serves."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    blocker = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    try:
        served.config.write_text(
            served.config.read_text() + f'metrics_port = {blocker.server_address[1]}\ntracing = "otlp"\n'
        )
        served.start("w0")
        for number in range(100):
            served.send(f"r{number}", np.ones((1, 4)), headers=[("traceparent", f"00-{TRACE}-{SPAN}-01".encode())])
        served.producer.flush()
        assert len(served.results(100)) == 100
        assert "worker.endpoint_unavailable" in served.log("w0")
        assert served.stop("w0") == 0
    finally:
        blocker.server_close()
