"""Spans of batches: which are made, what they are linked to, and that nothing of them can disturb the work."""

from __future__ import annotations

import http.server
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inference_workers import tracing
from inference_workers.answers import Answer, BatchFacts, Failure
from inference_workers.tracing import MOST_LINKS, BatchTracer, otlp_tracer, parse_traceparent
from streams.headers import RequestHeaders
from streams.records import Encoding, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def answer(traceparent: str | None = None, status: Status = Status.OK, *, computed: bool = True) -> Answer:
    """An answer of a batch of four rows formed at second 100."""
    batch = BatchFacts("digits", "7", compute_s=0.25, rows=4, formed_at_s=100.0, outputs={}) if computed else None
    failure = Failure("x", "y", "model") if status is Status.FAILED else None
    record: Any = SimpleNamespace(partition=0, offset=1)
    headers = RequestHeaders(traceparent=traceparent)
    return Answer(record, 1, headers, "r", Encoding.JSON, status, failure=failure, batch=batch)


def tracer(exporter: Any) -> BatchTracer:
    """A tracer whose clock stands at second 101."""
    return BatchTracer(
        exporter,
        resource={"service.name": "penstock-worker"},
        facts={"messaging.destination.name": "d.requests"},
        model=lambda: ("digits", "7"),
        now_ns=lambda: 101 * 10**9,
    )


def spans(*batches: list[Answer]) -> Any:
    """What is exported of some batches."""
    exporter = InMemorySpanExporter()
    made = tracer(exporter)
    for batch in batches:
        made.batch(batch)
    made.close()
    return exporter.get_finished_spans()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", (int(TRACE, 16), int(SPAN, 16), 1)),
        (f"00-{TRACE}-{SPAN}-00", (int(TRACE, 16), int(SPAN, 16), 0)),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", (int(TRACE, 16), int(SPAN, 16), 1)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        ("00-ab-cd-01", None),
    ],
)
def test_trace_contexts_are_read_as_the_standard_has_it(text: str, expected: tuple[int, int, int] | None) -> None:
    """What is not valid is ignored, and a later version's additions are passed over."""
    assert parse_traceparent(text) == expected


def test_a_batch_is_a_span_linked_to_its_sampled_requests() -> None:
    """One span, from the batch's forming until it was handed on, with what a reader needs to know."""
    other = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
    (span,) = spans([answer(f"00-{TRACE}-{SPAN}-01"), answer(other), answer(), answer(status=Status.FAILED)])
    assert (span.name, span.kind.name, span.parent) == ("penstock.batch", "CONSUMER", None)
    assert (span.start_time, span.end_time) == (100 * 10**9, 101 * 10**9)
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id, link.context.is_remote) == (
        int(TRACE, 16),
        int(SPAN, 16),
        True,
    )
    told = dict(span.attributes)
    assert told["messaging.system"] == "kafka"
    assert told["messaging.destination.name"] == "d.requests"
    assert told["messaging.batch.message_count"] == 4
    assert (told["penstock.model.name"], told["penstock.model.version"]) == ("digits", "7")
    assert (told["penstock.batch.rows"], told["penstock.batch.compute_seconds"]) == (4, 0.25)
    assert told["penstock.batch.failed"] == 1
    assert span.resource.attributes["service.name"] == "penstock-worker"


def test_links_are_bounded() -> None:
    """A batch of a thousand traced requests has a span of 128 links, and says how many there were."""
    batch = [answer(f"00-{number + 1:032x}-{number + 1:016x}-01") for number in range(1000)]
    (span,) = spans(batch)
    assert len(span.links) == MOST_LINKS
    assert dict(span.attributes)["penstock.batch.sampled_requests"] == 1000


def test_what_nobody_samples_makes_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts that are not sampled, and no contexts at all; the latter only until a sampler is named."""
    unsampled, untraced, undecoded = [answer(f"00-{TRACE}-{SPAN}-00")], [answer()], [answer(computed=False)]
    assert spans(unsampled, untraced, undecoded) == ()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1.0")
    assert len(spans(unsampled, untraced, undecoded)) == 1
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.0")
    assert len(spans(unsampled, untraced, undecoded)) == 0
    assert len(spans([answer(f"00-{TRACE}-{SPAN}-01")])) == 1


def test_a_span_that_cannot_be_made_costs_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """One a minute, and no error."""
    made = tracer(InMemorySpanExporter())
    made._model = lambda: 1 / 0  # type: ignore[assignment,return-value] # anything that fails
    for _ in range(3):
        made.batch([answer(f"00-{TRACE}-{SPAN}-01")])
    made.close()
    assert [record.message for record in caplog.records].count("worker.span_dropped") == 1


class Receiver(http.server.ThreadingHTTPServer):
    """An OTLP/HTTP collector: keeps what it is sent, or refuses it."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        self.received: list[tuple[str, ExportTraceServiceRequest]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector, named by the standard's variable."""
    served = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{served.server_address[1]}")
    yield served
    served.shutdown()
    served.server_close()


def test_spans_arrive_at_a_collector(receiver: Receiver) -> None:
    """Over OTLP/HTTP, as protobuf, at the path that the standard says, sent at the latest when the worker ends."""
    made = otlp_tracer(
        pipeline="digits", worker="digits-cpu-0", topic="digits.requests", group="g", model=lambda: ("digits", "7")
    )
    made.batch([answer(f"00-{TRACE}-{SPAN}-01")])
    made.close()
    ((path, request),) = receiver.received
    assert path == "/v1/traces"
    (of_resource,) = request.resource_spans
    resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
    assert (resource["service.name"], resource["service.instance.id"]) == ("penstock-worker", "digits-cpu-0")
    ((span,),) = [scope.spans for scope in of_resource.scope_spans]
    assert span.name == "penstock.batch"
    assert [link.trace_id.hex() for link in span.links] == [TRACE]
    assert span.end_time_unix_nano > span.start_time_unix_nano == 100 * 10**9


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making spans takes no longer, and the end has a bound."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "CLOSE_S", 0.5)
    made = otlp_tracer(pipeline="d", worker="d-0", topic="t", group="g", model=lambda: None)
    began = time.monotonic()
    for _ in range(200):
        made.batch([answer(f"00-{TRACE}-{SPAN}-01")])
    made.close()
    assert time.monotonic() - began < 5
