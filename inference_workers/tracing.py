"""OpenTelemetry spans of batches, linked to the traces of their requests. Imported only where tracing is on.

A batch serves many requests of many traces, so it is no child of any of them: it is a span of its own with a link to
each, as the conventions for messaging have it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from inference_workers.errors import MissingLibrary
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference_workers.answers import Answer

log = logging.getLogger(__name__)

#: Most links of one span: the SDK's own default limit.
MOST_LINKS = 128
#: Longest wait at the end for spans that are not sent yet, in seconds.
CLOSE_S = 3.0
#: Seconds between two log lines about spans that could not be made.
COMPLAIN_S = 60.0

#: W3C Trace Context, 3.2: version, trace id, parent id, flags; later versions may add more behind a dash.
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED = 1


def parse_traceparent(text: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of a `traceparent`; `None` = it is not valid, and to be ignored.

    Not valid are, after W3C Trace Context 3.2.2: version ff, ids of zeros only, capitals, and in version 00 anything
    behind the flags.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"] is not None):
        return None
    trace, span = int(found["trace"], 16), int(found["span"], 16)
    return (trace, span, int(found["flags"], 16)) if trace and span else None


class BatchTracer:
    """Makes a span of each batch that is to be sampled, and hands it to an exporter that has a thread of its own.

    Sampled is a batch in which any request's context has the sampled flag; its links are to those requests. A batch in
    which no request has a context is left to the sampler that `OTEL_TRACES_SAMPLER` names, and not sampled without one.
    Whatever fails here costs a log line a minute and never an answer.

    Args:
        exporter: where spans go.
        resource: attributes of the process, e.g. `service.instance.id`.
        facts: attributes of every span.
        model: name and version now; `None` = not loaded.
        now_ns: Unix nanoseconds.
    """

    def __init__(
        self,
        exporter: Any,
        *,
        resource: dict[str, str],
        facts: dict[str, str],
        model: Callable[[], tuple[str, str] | None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an optional library
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - the same

        self._processor = BatchSpanProcessor(exporter)
        about = Resource.create(resource)
        chosen = TracerProvider(sampler=ALWAYS_ON, resource=about, shutdown_on_exit=False)
        chosen.add_span_processor(self._processor)
        self._chosen = chosen.get_tracer("penstock")
        self._unasked: Any = None
        if os.environ.get("OTEL_TRACES_SAMPLER"):
            # The SDK reads the sampler and its argument from the environment where none is given.
            unasked = TracerProvider(resource=about, shutdown_on_exit=False)
            unasked.add_span_processor(self._processor)
            self._unasked = unasked.get_tracer("penstock")
        self._facts, self._model, self._now_ns = facts, model, now_ns
        self._complained_at_s = float("-inf")

    def batch(self, answers: Sequence[Answer]) -> None:
        """Record the batch that gave these answers. Raises nothing."""
        try:
            self._record(answers)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong with a span, the answers go on
            if time.monotonic() - self._complained_at_s > COMPLAIN_S:
                self._complained_at_s = time.monotonic()
                log.warning("worker.span_dropped", extra={"error": f"{type(error).__name__}: {error}"[:200]})

    def _record(self, answers: Sequence[Answer]) -> None:
        computed = [answer for answer in answers if answer.batch is not None]
        if not computed or computed[0].batch is None:
            return
        traced = [context for answer in computed if (context := _context(answer)) is not None]
        sampled = [context for context in traced if context[2] & _SAMPLED]
        tracer = self._chosen if sampled else None if traced else self._unasked
        if tracer is None:
            return
        from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags  # noqa: PLC0415 - an optional library

        links = [
            Link(SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags)))
            for trace, span, flags in sampled[:MOST_LINKS]
        ]
        model = self._model() or ("", "")
        first = computed[0].batch
        span = tracer.start_span(
            "penstock.batch",
            kind=SpanKind.CONSUMER,
            links=links,
            start_time=round(first.formed_at_s * 1e9),
            attributes={
                **self._facts,
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.batch.message_count": len(computed),
                "penstock.model.name": model[0],
                "penstock.model.version": model[1],
                "penstock.batch.rows": first.rows,
                "penstock.batch.compute_seconds": first.compute_s,
                "penstock.batch.failed": sum(answer.status is Status.FAILED for answer in answers),
                "penstock.batch.sampled_requests": len(sampled),
            },
        )
        span.end(self._now_ns())

    def close(self) -> None:
        """Send what waits, within a time: an exporter that hangs must not hold up the worker's end."""
        ending = threading.Thread(target=self._processor.shutdown, name="spans-end", daemon=True)
        ending.start()
        ending.join(CLOSE_S)


def _context(answer: Answer) -> tuple[int, int, int] | None:
    given = answer.headers.traceparent
    return None if given is None else parse_traceparent(given)


def otlp_tracer(
    *, pipeline: str, worker: str, topic: str, group: str, model: Callable[[], tuple[str, str] | None]
) -> BatchTracer:
    """A tracer that exports over OTLP/HTTP; where to and how is in the standard's `OTEL_*` variables.

    Raises:
        MissingLibrary: the SDK or the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional

        exporter = OTLPSpanExporter()
    except ImportError as error:
        msg = f"worker.tracing='otlp' needs {error.name!r}, which is not installed; pip install 'penstock[tracing]'"
        raise MissingLibrary(msg) from error
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = {"service.instance.id": worker, "penstock.pipeline": pipeline}
    if not named:
        resource["service.name"] = "penstock-worker"
    facts = {"messaging.destination.name": topic, "messaging.consumer.group.name": group}
    return BatchTracer(exporter, resource=resource, facts=facts, model=model)
