"""The client: arrays in, futures of results out.

    with InferenceClient("digits", KafkaSettings("broker:9092")) as client:
        result = client.submit({"image": pixels}).result(timeout=1)

Importing it brings kafka-python and NumPy, no TensorFlow. One client serves all threads of a process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from streams import headers as names
from streams import topics
from streams.errors import ClientClosed, KafkaFailure, StreamsError
from streams.kafka import KafkaSettings, close_producer, new_producer, new_reader, translate, translated
from streams.pending import Pending, ResultFuture, no_result
from streams.record_types import Encoding, InferResult, Tensors
from streams.request_codec import encode_request
from streams.result_feed import follow_results

if TYPE_CHECKING:
    from types import TracebackType

    from streams.repeats import Repeats

log = logging.getLogger(__name__)

#: Longest wait in one poll for results, in milliseconds: how late time-outs and `close` are noticed at the most; a
#: result ends the wait at once.
POLL_MS = 100
#: Pause before the next try after a failure that may pass, in seconds.
RETRY_PAUSE_S = 0.2
#: Longest wait at `close` for what was submitted to be on its way, in seconds.
FLUSH_S = 5.0


class InferenceClient:
    """Submits requests to a pipeline and hands out their results.

    The constructor returns when results written from now on will be seen. Close the client, or use it as a (sync or
    async) context manager.

    Args:
        pipeline: the pipeline's name.
        kafka: where its topics are.
        encoding: binary is faster and smaller; JSON can be read by people.
        reply_to: a results topic of this client's own, which must exist; `None` = the pipeline's, which all its clients
            read in whole.
        bulk: send to the pipeline's bulk topic, which must exist: served with what urgent requests leave.
        timeout_s: seconds after which a request without a result is given up.
        max_pending: most requests that may wait for results at a time.
        delivery_timeout_s: seconds after which a request that no broker accepted is given up.

    Raises:
        InvalidPipelineName: see `streams.topics.validate_pipeline_name`.
        TopicMissing: the pipeline's topics do not exist.
        KafkaFailure: or another of its kinds.
        ValueError: a time or a number is not above 0.
    """

    def __init__(
        self,
        pipeline: str,
        kafka: KafkaSettings | None = None,
        *,
        encoding: Encoding = Encoding.BINARY,
        reply_to: str | None = None,
        bulk: bool = False,
        timeout_s: float = 120.0,
        max_pending: int = 100_000,
        delivery_timeout_s: float = 30.0,
    ) -> None:
        for name, value in (
            ("timeout_s", timeout_s),
            ("max_pending", max_pending),
            ("delivery_timeout_s", delivery_timeout_s),
        ):
            if value <= 0:
                msg = f"{name}={value}: must be above 0"
                raise ValueError(msg)
        topics.validate_pipeline_name(pipeline)
        self._settings = kafka or KafkaSettings()
        self._encoding = encoding
        self._requests = topics.bulk(pipeline) if bulk else topics.requests(pipeline)
        self._results = reply_to or topics.results(pipeline)
        self._reply_to = reply_to
        self._pending = Pending(timeout_s=timeout_s, most=max_pending)
        self._stop = threading.Event()
        # Ids are unique over clients and cheap: a random prefix, then a count.
        self._name = f"client-{uuid.uuid4().hex[:12]}"
        self._count = itertools.count()
        # The reader stands, with its positions known, before there is a way to submit: no result can be missed.
        self._reader: Any = new_reader(
            self._settings, [self._results], from_="latest", client_id=f"{self._name}-results"
        )
        self._delivery_timeout_s = delivery_timeout_s
        #: A producer that takes nothing more, until the next request has replaced it.
        self._spent: Any = None
        self._replacing = threading.Lock()
        try:
            self._producer, self._partitions = self._connect(delivery_timeout_s)
        except BaseException:
            self._reader.close(autocommit=False)
            raise
        self._thread = threading.Thread(target=self._follow, name=f"{self._name}-reader", daemon=True)
        self._thread.start()

    def _connect(self, delivery_timeout_s: float) -> tuple[Any, int]:
        delivery_ms = round(delivery_timeout_s * 1000)
        producer = new_producer(
            self._settings,
            self._name,
            delivery_timeout_ms=delivery_ms,
            # Must not be above the delivery's own, or the latter would not hold.
            request_timeout_ms=min(self._settings.request_timeout_ms, delivery_ms),
        )
        try:
            with translated(f"write to {self._requests}"):
                return producer, len(producer.partitions_for(self._requests))
        except KafkaFailure:
            close_producer(producer, 0)
            raise

    @property
    def duplicates(self) -> int:
        """Results that came again, as workers that deliver at least once may send them, and were dropped.

        A result is known again by its request's id and place, among the last 100,000 results of this client and for
        ten minutes; see `streams.repeats`.
        """
        return self._pending.duplicates

    def submit(
        self,
        inputs: Tensors,
        *,
        key: bytes | str | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
        model_version: str | None = None,
        traceparent: str | None = None,
    ) -> ResultFuture:
        """Send one request.

        Args:
            inputs: arrays by name; the first dimension of each is rows.
            key: requests of one key are answered in order; `None` = partitions take turns.
            request_id: comes back with the result; `None` = one is made.
            deadline_s: seconds from now after which the answer is worthless: the result is then `expired`.
            model_version: the only version that may answer.
            traceparent: W3C trace context, copied to the result.

        Returns:
            The result's future. It fails with a `StreamsError` where the request could not be delivered.

        Raises:
            UnencodableTensor: an array has no form in the client's encoding.
            RecordTooLarge: the request is larger than a record may be.
            ClientClosed: the client is closed, or its reader has failed.
            ClientBusy: `max_pending` requests wait already.
            BrokerUnavailable: there is no connection to send it over.
            ValueError: a request of this id waits already, or the id has more than `LONGEST_ID` characters, which a
                worker answers under another one.
        """
        if request_id is not None and len(request_id) > names.LONGEST_ID:
            msg = f"request_id of {len(request_id)} characters: at most {names.LONGEST_ID}; choose a shorter one"
            raise ValueError(msg)
        number = next(self._count)
        known_as = request_id or f"{self._name}-{number:x}"
        value, headers = encode_request(inputs, request_id=known_as, encoding=self._encoding)
        if deadline_s is not None:
            headers.append((names.DEADLINE_MS, b"%d" % round((time.time() + deadline_s) * 1000)))
        for name, text in (
            (names.MODEL_VERSION, model_version),
            (names.TRACEPARENT, traceparent),
            (names.REPLY_TO, self._reply_to),
        ):
            if text is not None:
                headers.append((name, text.encode()))
        future = self._pending.add(known_as)
        try:
            with translated(f"send request {known_as}"):
                producer = self._live_producer()
                sent = producer.send(
                    self._requests,
                    value=value,
                    key=key.encode() if isinstance(key, str) else key,
                    headers=headers,
                    # Turns rather than chance: a partition is one queue, and even queues are short ones.
                    partition=number % self._partitions if key is None else None,
                )
        except BaseException:
            self._pending.discard(known_as)
            raise
        sent.add_errback(lambda error: self._undelivered(known_as, producer, error))
        return future

    def _live_producer(self) -> Any:
        if self._spent is not None:
            with self._replacing:
                spent = self._spent
                if spent is self._producer:
                    self._producer, self._partitions = self._connect(self._delivery_timeout_s)
                    close_producer(spent, 0)
                # The new one may have been refused something meanwhile: that is for the next request.
                if self._spent is spent:
                    self._spent = None
        return self._producer

    def _undelivered(self, known_as: str, producer: Any, error: BaseException) -> None:
        """Called by the library's thread."""
        failure = translate(error, f"deliver request {known_as}")
        if not failure.retriable:
            # After such an error an idempotent producer of the library fails all that it is given.
            self._spent = producer
        self._pending.resolve(known_as, failure)

    def map(
        self, inputs: Iterable[Tensors], *, in_flight: int = 256, timeout_s: float | None = None, **options: Any
    ) -> Iterator[InferResult]:
        """Submit many requests and yield their results in the same order.

        Args:
            inputs: one request each; read only as fast as results come.
            in_flight: most requests on their way at a time.
            timeout_s: seconds that each may take from its submission; `None` = as long as the client waits.
            options: for `submit`.

        Raises:
            ResultTimeout: one took longer. The rest is given up.
            StreamsError: as `submit` and its future.
        """
        _check_in_flight(in_flight)
        window: deque[tuple[ResultFuture, float]] = deque()
        source = iter(inputs)
        try:
            while True:
                for entry in itertools.islice(source, in_flight - len(window)):
                    window.append((self.submit(entry, **options), time.monotonic()))
                if not window:
                    return
                future, began_at_s = window.popleft()
                left_s = None if timeout_s is None else max(0.0, began_at_s + timeout_s - time.monotonic())
                try:
                    result = future.result(left_s)
                except TimeoutError:
                    self._pending.discard(future.request_id)
                    raise no_result(future.request_id, timeout_s) from None
                yield result
        finally:
            self._give_up(future for future, _ in window)

    async def asubmit(self, inputs: Tensors, *, timeout_s: float | None = None, **options: Any) -> InferResult:
        """Submit one request and wait for its result without blocking the event loop.

        Args:
            inputs: as for `submit`.
            timeout_s: most seconds to wait; `None` = as long as the client waits.
            options: for `submit`.

        Raises:
            ResultTimeout: it took longer.
            StreamsError: as `submit` and its future.
        """
        return await self._wait(self.submit(inputs, **options), timeout_s)

    async def amap(
        self,
        inputs: Iterable[Tensors] | AsyncIterable[Tensors],
        *,
        in_flight: int = 256,
        timeout_s: float | None = None,
        **options: Any,
    ) -> AsyncIterator[InferResult]:
        """As `map`, for the event loop; `inputs` may be asynchronous itself."""
        _check_in_flight(in_flight)
        window: deque[asyncio.Task[InferResult]] = deque()
        try:
            async for entry in _asynchronous(inputs):
                window.append(asyncio.create_task(self.asubmit(entry, timeout_s=timeout_s, **options)))
                await asyncio.sleep(0)  # so that it is sent now and not when this first has to wait
                if len(window) >= in_flight:
                    yield await window.popleft()
            while window:
                yield await window.popleft()
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)

    def results(
        self, *, group: str, idle_s: float | None = None, repeats: Repeats | None = None
    ) -> Iterator[InferResult]:
        """Every result on the topic, whoever asked, shared between the members of a group; see `follow_results`.

        Args:
            group: the name of the group; it remembers how far it got.
            idle_s: end after so many seconds without a result; `None` = when the client is closed.
            repeats: drops results that come again, within its bounds; `None` = they are handed out.
        """
        return follow_results(
            self._settings, self._results, group=group, idle_s=idle_s, stopped=self._stop.is_set, repeats=repeats
        )

    def close(self) -> None:
        """Send what was submitted, then fail what has no result yet. May be called twice."""
        if self._stop.is_set():
            return
        # What was submitted is sent: a result that nobody here waits for can still be read from the topic.
        self._stop.set()
        self._pending.close(
            ClientClosed("the client was closed before the result came; wait for the futures first, or read `results`")
        )
        close_producer(self._producer, FLUSH_S)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In a thread: it waits for the network.
        await asyncio.to_thread(self.close)

    async def _wait(self, future: ResultFuture, timeout_s: float | None) -> InferResult:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError as error:
            if isinstance(error, StreamsError):
                raise
            raise no_result(future.request_id, timeout_s) from None
        finally:
            self._pending.discard(future.request_id)

    def _give_up(self, futures: Iterable[ResultFuture]) -> None:
        for future in futures:
            self._pending.discard(future.request_id)
            future.cancel()

    def _follow(self) -> None:
        """The reader thread: resolve what comes, give up what does not."""
        try:
            while not self._stop.is_set():
                self._pending.expire()
                try:
                    with translated(f"read {self._results}"):
                        polled = self._reader.poll(timeout_ms=POLL_MS)
                except KafkaFailure as error:
                    if not error.retriable:
                        raise
                    log.warning("client.read_failed", extra={"topic": self._results, "error": str(error)})
                    self._stop.wait(RETRY_PAUSE_S)
                    continue
                for batch in polled.values():
                    for record in batch:
                        self._pending.deliver(record)
        except Exception as error:
            log.exception("client.reader_stopped", extra={"topic": self._results})
            cause = error if isinstance(error, StreamsError) else StreamsError(f"reading results failed: {error!r}")
            self._pending.close(cause)
        finally:
            self._reader.close(autocommit=False)


async def _asynchronous(inputs: Iterable[Tensors] | AsyncIterable[Tensors]) -> AsyncIterator[Tensors]:
    if isinstance(inputs, AsyncIterable):
        async for entry in inputs:
            yield entry
    else:
        for entry in inputs:
            yield entry


def _check_in_flight(in_flight: int) -> None:
    if in_flight < 1:
        msg = f"in_flight={in_flight}: must be at least 1"
        raise ValueError(msg)
