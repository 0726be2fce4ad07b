"""A worker's threads as one: what ends one of them ends all, and all end within one deadline."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from inference_workers.errors import WorkerError
from streams.errors import KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

#: Seconds for the other threads to end once one has failed.
FAILED_S = 2.0
#: Seconds for each to notice that the drain's time is up.
NOTICE_S = 1.0


class Crew:
    """Starts threads, and knows why and how fast they are to end.

    Args:
        name: before the threads' names.
        stop: set from outside to end in good order.

    """

    def __init__(self, name: str, stop: threading.Event) -> None:
        self._name = name
        self.stop = stop
        #: Set when the drain's time is up, or a thread has failed: nothing is worth waiting for.
        self.stop_now = threading.Event()
        #: Set when the deliver thread is done: the poll thread may close the consumer.
        self.drained = threading.Event()
        self._failure: BaseException | None = None

    def start(self, role: str, target: Callable[[], None]) -> threading.Thread:
        """Run something in a thread; its failure is the worker's."""

        def guarded() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - whatever ends a thread ends the worker
                log.error("worker.thread_failed", extra={"role": role, "error": f"{type(error).__name__}: {error}"})  # noqa: TRY400
                self._failure = self._failure or error
                self.stop_now.set()
                self.stop.set()

        # Daemons: after the drain's deadline the process must be able to end whatever a thread hangs on.
        thread = threading.Thread(target=guarded, name=f"{self._name}-{role}", daemon=True)
        thread.start()
        return thread

    def drain(self, threads: Sequence[threading.Thread], drain_s: float) -> None:
        """Wait for their end: take no more, finish the batch, commit, hand back, all within `drain_s`."""
        # After a failure nothing is delivered any more: the others are given the time to notice, and no more.
        deadline = time.monotonic() + (FAILED_S if self.stop_now.is_set() else drain_s)
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in threads):
            log.warning("worker.drain_deadline", extra={"worker": self._name})
            self.stop_now.set()
            for thread in threads:
                thread.join(NOTICE_S)

    @property
    def well(self) -> bool:
        """Whether all ended in good order, and in time."""
        return self._failure is None and not self.stop_now.is_set()

    def raise_failure(self) -> None:
        """Raise what ended a thread, if anything did.

        Raises:
            WorkerError, streams.errors.KafkaFailure: a thread ended by it, or by something that nobody foresaw.

        """
        if self._failure is None:
            return
        if isinstance(self._failure, (WorkerError, KafkaFailure)):
            raise self._failure
        msg = f"a worker thread failed: {type(self._failure).__name__}: {self._failure}"
        raise WorkerError(msg) from self._failure
