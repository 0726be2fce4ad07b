"""The two ways of delivery over Kafka, behind `inference_workers.delivery.Transport`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from streams.data_path import open_results, open_transactions
from streams.errors import GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge, TopicRefuses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.kafka import KafkaSettings
    from streams.records import Outgoing


class ExactlyOnce:
    """Results, dead letters and offsets in one transaction."""

    def __init__(self, settings: KafkaSettings, *, slot: str, timeout_ms: int) -> None:
        self._producer = open_transactions(
            settings, transactional_id=slot, timeout_ms=timeout_ms, max_request_bytes=settings.max_request_bytes
        )

    def send(self, records: Sequence[Outgoing], topic: str, offsets: Mapping[int, int], group: Any) -> None:
        """See `TransactionalProducer.send`."""
        self._producer.send(records, topic=topic, group=group, offsets=offsets)

    def recover(self) -> None:
        """See `TransactionalProducer.recover`."""
        self._producer.recover()

    def idle(self) -> None:
        """See `Transactions.idle`."""
        self._producer.idle()

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


class CommitBox:
    """Offsets on their way from the deliver thread to the poll thread, which owns the consumer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offsets: dict[int, int] | None = None
        self._error: KafkaFailure | None = None
        self._answered = threading.Event()

    def ask(self, offsets: Mapping[int, int], stop_now: threading.Event) -> None:
        """Have offsets committed, and wait for it.

        Raises:
            KafkaFailure: the commit failed.

        """
        with self._lock:
            self._offsets, self._error = dict(offsets), None
            self._answered.clear()
        while not self._answered.wait(0.1):
            if stop_now.is_set():
                msg = "the worker ends before its offsets were committed; the results may be repeated"
                raise OutcomeUnknown(msg)
        if self._error is not None:
            raise self._error

    def serve(self, commit: Any) -> None:
        """Called by the poll thread between polls."""
        with self._lock:
            offsets, self._offsets = self._offsets, None
        if offsets is None:
            return
        try:
            commit(offsets)
        except KafkaFailure as error:
            self._error = error
        self._answered.set()


class AtLeastOnce:
    """Results first, then offsets: a kill in between repeats results, none is lost."""

    def __init__(
        self, settings: KafkaSettings, *, slot: str, commits: Mapping[str, CommitBox], stop_now: threading.Event
    ) -> None:
        self._results = open_results(settings, f"{slot}-results")
        self._commits = commits
        self._stop_now = stop_now

    def send(self, records: Sequence[Outgoing], topic: str, offsets: Mapping[int, int], group: Any) -> None:  # noqa: ARG002
        """Send, wait for all acknowledgements, then commit.

        Raises:
            OutcomeUnknown: some may be written; what is not committed is sent again.
            RecordTooLarge: sending it again would not help.

        """
        try:
            self._results.write(records)
            self._commits[topic].ask(offsets, self._stop_now)
        except RecordTooLarge:
            raise
        except GenerationChanged as error:
            # The results are out; sending them again would only repeat them. The new owner decides.
            raise OutcomeUnknown(str(error)) from error
        except TopicRefuses as error:
            raise OutcomeUnknown(str(error), topic=error.topic) from error
        except KafkaFailure as error:
            raise OutcomeUnknown(str(error)) from error

    def recover(self) -> None:
        """Nothing is open: the committed offsets alone decide."""

    def idle(self) -> None:
        """See `Results.idle`."""
        self._results.idle()

    def close(self) -> None:
        """Close the writer."""
        self._results.close()
