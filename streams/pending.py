"""Requests that wait for their results: one future each, resolved once, whoever comes first."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING

from streams import headers as names
from streams.errors import ClientBusy, ClientClosed, MalformedResult, ResultTimeout, StreamsError
from streams.record_types import InferResult
from streams.repeats import Repeats
from streams.result_codec import decode_result, result_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.record_types import ConsumedRecord

log = logging.getLogger(__name__)


class ResultFuture(Future[InferResult]):
    """The result of one request, to come. Waiting too long raises `ResultTimeout`; the result may still come after."""

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id

    def result(self, timeout: float | None = None) -> InferResult:
        """Wait for the result.

        Args:
            timeout: most seconds to wait; `None` = as long as the client waits.

        Raises:
            ResultTimeout: it has not come by then.
            StreamsError: the request could not be sent, or the client was closed.
        """
        try:
            return super().result(timeout)
        except ResultTimeout:
            raise
        except TimeoutError:
            raise no_result(self.request_id, timeout) from None


def no_result(request_id: str, waited_s: float | None) -> ResultTimeout:
    """What to say, and to look at, when a result has not come."""
    return ResultTimeout(
        f"request {request_id}: no result after {waited_s} s; check that workers run (penstock status) and how long "
        "the backlog is, or give it more time"
    )


class Pending:
    """The requests of one client that have no result yet. Safe to use from several threads.

    Args:
        timeout_s: seconds after which a request is given up; the same for all, so the oldest is always the first to go.
        most: most requests at a time.
        clock: monotonic seconds.
        repeats: what was delivered, to know it again; by default within the bounds of `streams.repeats`.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        repeats: Repeats | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[ResultFuture, float]] = {}
        self._closed_by: StreamsError | None = None
        self._repeats = Repeats(clock=clock) if repeats is None else repeats

    @property
    def duplicates(self) -> int:
        """Results of ours that came again and were dropped."""
        return self._repeats.count

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request_id: str) -> ResultFuture:
        """A future for a request that is about to be sent.

        Raises:
            ClientClosed: nothing is taken any more; its cause says why.
            ClientBusy: too many wait already.
            ValueError: a request of this id waits already.
        """
        future = ResultFuture(request_id)
        with self._lock:
            if self._closed_by is not None:
                msg = f"request {request_id} was not sent: {self._closed_by}"
                raise ClientClosed(msg) from self._closed_by
            if len(self._waiting) >= self._most:
                msg = f"{self._most} requests wait for results already (max_pending); wait for some, or use map"
                raise ClientBusy(msg)
            if request_id in self._waiting:
                msg = f"request_id={request_id!r} waits for its result already; give each request an id of its own"
                raise ValueError(msg)
            self._waiting[request_id] = (future, self._clock() + self._timeout_s)
        return future

    def deliver(self, record: ConsumedRecord) -> bool:
        """Resolve the request that a result record belongs to, once.

        Returns:
            Whether anybody waited for it. Results of other clients, and a result that is delivered a second time
            (workers may run at-least-once), are passed over without being decoded; the latter even where its id is
            waited for again.
        """
        found = result_id(record.headers)
        result: InferResult | MalformedResult | None = None
        if found is None:
            # Written by other hands, without our headers: the id is in the body, if anywhere.
            try:
                result = decode_result(record.value, record.headers)
            except MalformedResult:
                return False
            found = result.id
        source = names.text_header(record.headers, names.SOURCE)
        if self._repeats.repeated(found, source) or found not in self._waiting:
            return False
        self._repeats.remember(found, source)
        if result is None:
            try:
                result = decode_result(record.value, record.headers)
            except MalformedResult as error:
                result = error
        return self.resolve(found, result)

    def resolve(self, request_id: str, outcome: InferResult | StreamsError) -> bool:
        """End the wait for one request; whether there was one."""
        with self._lock:
            future, _ = self._waiting.pop(request_id, (None, 0.0))
        return future is not None and _settle(future, outcome)

    def discard(self, request_id: str) -> None:
        """Forget a request whose caller no longer waits."""
        with self._lock:
            self._waiting.pop(request_id, None)

    def expire(self) -> None:
        """Give up the requests whose time is over."""
        now = self._clock()
        while True:
            with self._lock:
                oldest = next(iter(self._waiting), None)
                if oldest is None or self._waiting[oldest][1] > now:
                    return
                future, _ = self._waiting.pop(oldest)
            _settle(future, no_result(oldest, self._timeout_s))

    def close(self, cause: StreamsError) -> None:
        """Take no more requests and fail those that wait."""
        with self._lock:
            if self._closed_by is None:
                self._closed_by = cause
            waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            _settle(future, cause)
        if waiting:
            log.warning("client.requests_abandoned", extra={"requests": len(waiting), "cause": type(cause).__name__})


def _settle(future: ResultFuture, outcome: InferResult | StreamsError) -> bool:
    try:
        if isinstance(outcome, StreamsError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:  # cancelled by its caller
        return False
    return True
