"""librdkafka's errors as ours, sorted as `streams.kafka.translate` sorts kafka-python's."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from streams.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    Fenced,
    GenerationChanged,
    KafkaFailure,
    NotAuthorized,
    RecordTooLarge,
    TopicMissing,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

#: The group no longer takes what we commit under the membership that we named; see
#: `streams.kafka.transactions` for why the instance id's is among them.
GENERATION = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
_AUTHENTICATION = frozenset(
    {KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED}  # noqa: SLF001 - its public codes
)
_AUTHORIZATION = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_FENCED = frozenset(
    {
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
        KafkaError._FENCED,  # noqa: SLF001 - its public code
    }
)
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
_MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - its public code
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - its public code
    }
)
_AWAY = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - its public code
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - its public code
        KafkaError._TIMED_OUT,  # noqa: SLF001 - its public code
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001 - its public code
        KafkaError._RESOLVE,  # noqa: SLF001 - its public code
        KafkaError._WAIT_COORD,  # noqa: SLF001 - its public code
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
)
_KINDS: tuple[tuple[frozenset[int], type[KafkaFailure], str], ...] = (
    (
        _AUTHENTICATION,
        AuthenticationFailed,
        "check user, password and mechanism (kafka.client sasl_*), and certificates",
    ),
    (_AUTHORIZATION, NotAuthorized, "ask whoever runs the cluster for an ACL that permits this user to do it"),
    (_FENCED, Fenced, "another process runs under the same slot name; this one must stop"),
    (GENERATION, GenerationChanged, "drop these records: their new owner polls them again"),
    (TOO_LARGE, RecordTooLarge, "send fewer rows in one record, or raise max.message.bytes of the topic"),
    (_MISSING, TopicMissing, "create the pipeline's topics first (penstock up creates them), or check the name"),
    (
        _AWAY,
        BrokerUnavailable,
        "check that the broker runs, that kafka.bootstrap_servers is right, and the port is open",
    ),
)


def translate(error: KafkaError, action: str) -> KafkaFailure:
    """The error of ours that stands for one of librdkafka's; `action` follows "cannot"."""
    code = error.code()
    if code == KafkaError._FATAL:  # noqa: SLF001 - its public code
        # What is past mending comes wrapped, with its cause in words only.
        code = next((one for one in _FENCED if KafkaError(one).str() in error.str()), code)
    for codes, ours, cure in _KINDS:
        if code in codes:
            return ours(f"cannot {action}: {error.str()}; {cure}")
    return KafkaFailure(f"cannot {action}: {error.name()}: {error.str()}; see the broker's log")


@contextlib.contextmanager
def translated(action: str, settings: KafkaSettings | None = None) -> Iterator[None]:
    """Raise librdkafka's errors as ours.

    Raises:
        KafkaFailure: or one of its kinds.
    """
    try:
        yield
    except KafkaException as error:
        where = f" at {', '.join(settings.servers)}" if settings else ""
        raise translate(error.args[0], f"{action}{where}") from error


class ErrorWatch:
    """What the library reports beside the calls (`error_cb`): why it cannot connect, and what is past mending."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        #: Wrong credentials, or certificates that are not trusted.
        self.refused: KafkaError | None = None
        #: The client is of no use any more.
        self.fatal: KafkaError | None = None
        self.last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Called by the library, in the thread that polls."""
        self.last = error
        if error.code() in _AUTHENTICATION:
            self.refused = error
        if error.fatal():
            self.fatal = error
        log.info(
            "librdkafka.error", extra={"client": self._client_id, "code": error.name(), "error": error.str()[:300]}
        )

    def explain(self, error: KafkaError) -> KafkaError:
        """The cause behind a time-out, where one is known."""
        return self.refused or (self.last if error.code() in _AWAY and self.last is not None else error)
