"""What the answers of a transaction's requests mean, and how long the same request is tried again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka import errors as kafka_errors

if TYPE_CHECKING:
    from streams.kafka.link import Link

#: Seconds between two tries of a request that the broker cannot serve yet: at first, and at most.
RETRY_S = 0.005
MOST_RETRY_S = 0.1

#: The same request may succeed a moment later, and a broker that had carried it out before says so or does nothing.
LATER = (
    kafka_errors.ConcurrentTransactionsError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.NotEnoughReplicasError,
    kafka_errors.NotEnoughReplicasAfterAppendError,
    kafka_errors.RequestTimedOutError,
    kafka_errors.KafkaStorageError,
)
#: Another broker coordinates now.
MOVED = (kafka_errors.NotCoordinatorError, kafka_errors.CoordinatorNotAvailableError)
#: The group no longer takes commits under the generation we named.
GENERATION = (
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
    # See `streams.kafka.transactions`: whether it is another process's, the consumer's next heartbeat says.
    kafka_errors.FencedInstanceIdError,
)
#: What is wrong with a topic that is written to, or with records of that kind for it; some of it may pass.
OF_TOPIC = (
    kafka_errors.InvalidRecordError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.PolicyViolationError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.NotEnoughReplicasError,
    kafka_errors.NotEnoughReplicasAfterAppendError,
    kafka_errors.KafkaStorageError,
)
TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class Patience:
    """Waits between tries of one request, twice as long each time.

    Args:
        link: whose loop goes on meanwhile.
        deadline: monotonic seconds; after it no more is tried.

    """

    def __init__(self, link: Link, deadline: float) -> None:
        self._link, self._deadline = link, deadline
        self._wait_s = RETRY_S

    def allows(self, error: type[kafka_errors.KafkaError]) -> bool:
        """Whether another try may cure this, and there is time for it."""
        return issubclass(error, LATER) and time.monotonic() <= self._deadline

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline

    def wait(self) -> None:
        """Wait for the next try."""
        self._link.pause(self._wait_s)
        self._wait_s = min(self._wait_s * 2, MOST_RETRY_S)
