"""Results outside transactions, the cheapest way that the cluster knows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from streams.errors import KafkaFailure
from streams.kafka.direct_results import DirectResults
from streams.kafka.direct_transactions import NEEDED_LEVEL
from streams.kafka.link import Link
from streams.kafka.producer import close_producer, hand_over, new_producer
from streams.kafka.translate import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka import KafkaProducer

    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)

#: Seconds for which a write is tried.
WRITE_S = 30.0
#: Seconds that closing may take.
_CLOSE_S = 2.0


class Results(Protocol):
    """What all ways of writing results outside transactions have in common."""

    def write(self, records: Sequence[Outgoing]) -> None:
        """Write records, in order within a partition; all are acknowledged when this returns.

        Raises:
            streams.errors.KafkaFailure: or one of its kinds; of the records nothing is known.
        """

    def idle(self) -> None:
        """Called from time to time while there is nothing to write."""

    def close(self) -> None:
        """Close; what `write` returned for is acknowledged."""


class LibraryResults:
    """By kafka-python's idempotent producer, a record at a time. Belongs to one thread.

    Args:
        settings: where the brokers are.
        client_id: shown in the broker's logs and quotas.

    Raises:
        streams.errors.KafkaFailure: or one of its kinds; see `streams.kafka.translate.connect`.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        #: `None` = a new one at the next write: after some failures the library's takes nothing more.
        self._producer: KafkaProducer | None = new_producer(settings, client_id)

    def write(self, records: Sequence[Outgoing]) -> None:
        """See `Results.write`."""
        producer = self._producer = self._producer or new_producer(self._settings, self._client_id)
        try:
            with translated("send results", self._settings):
                sent = [hand_over(producer, record) for record in records]
                for future in sent:
                    future.get(timeout=WRITE_S)
        except KafkaFailure:
            self._producer = None
            close_producer(producer, 0)
            raise

    def idle(self) -> None:
        """Nothing to do: the library's own thread sees to the connections."""

    def close(self) -> None:
        """See `Results.close`."""
        if self._producer is not None:
            close_producer(self._producer, _CLOSE_S)


def open_results(settings: KafkaSettings, client_id: str) -> Results:
    """The cheapest way to write results that the cluster knows.

    Raises:
        streams.errors.KafkaFailure: or one of its kinds.
    """
    link = Link(settings, client_id)
    try:
        level = link.features().get("transaction.version", 0)
        # The same release of the broker that has these transactions has this version of the request.
        if level >= NEEDED_LEVEL:
            return DirectResults(link, settings, timeout_s=WRITE_S)
    except BaseException:
        link.close()
        raise
    link.close()
    log.info("results.by_the_library", extra={"transaction_version": level})
    return LibraryResults(settings, client_id)
