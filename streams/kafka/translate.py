"""The boundary to kafka-python's errors: what it raises, and what it only logs, becomes ours with cause and cure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import kafka.errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from streams.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    EndsUnknown,
    Fenced,
    GenerationChanged,
    KafkaFailure,
    NotAuthorized,
    RecordTooLarge,
    TopicMissing,
)
from streams.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streams.kafka.settings import KafkaSettings

Client = TypeVar("Client")

_AUTHENTICATION = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    kafka_errors.SecurityDisabledError,
)
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.TransactionCoordinatorFencedError,
    kafka_errors.FencedInstanceIdError,
)
_STALE = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_MISSING = (
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.UnknownTopicIdError,
    kafka_errors.InvalidTopicError,
)

_PERMIT = "ask whoever runs the cluster for an ACL that permits this user to do it (`penstock acls` lists them)"
#: kafka-python's producers put a refusal into the text of an error of no kind.
_WRAPPED_REFUSAL = "AuthorizationFailedError"

#: What each kind means and what to do, in the order in which kinds are tried. Kinds overlap in kafka-python's tree
#: (an unknown topic is "retriable" there, because its metadata may be stale), so the order matters.
_KINDS: tuple[tuple[tuple[type[Exception], ...], type[KafkaFailure], str], ...] = (
    (_AUTHENTICATION, AuthenticationFailed, "check the user, the password and the mechanism in kafka.client (sasl_*)"),
    (
        (kafka_errors.AuthorizationError,),
        NotAuthorized,
        _PERMIT,
    ),
    (_FENCED, Fenced, "another process runs under the same slot name; this one must stop"),
    (_STALE, GenerationChanged, "drop these records: their new owner polls them again"),
    (_TOO_LARGE, RecordTooLarge, "send fewer rows in one record, or raise max.message.bytes of the topic"),
    (_MISSING, TopicMissing, "create the pipeline's topics first (penstock up creates them), or check the name"),
    (
        (kafka_errors.OffsetNotAvailableError,),
        EndsUnknown,
        "wait until as many copies are in sync as the topic asks for; start the brokers that are away",
    ),
    (
        # An unknown broker id: one that is away may leave the metadata between two looks of the library.
        (
            kafka_errors.RetriableError,
            kafka_errors.BrokerNotAvailableError,
            kafka_errors.UnknownBrokerIdError,
            OSError,
        ),
        BrokerUnavailable,
        "check that the broker runs, that kafka.bootstrap_servers is right, and that nothing between blocks the port",
    ),
)


def translate(error: BaseException, action: str) -> KafkaFailure:
    """The error of this package that stands for one of kafka-python's.

    Args:
        error: what kafka-python raised or gave to a callback.
        action: what was being done, to follow "cannot", e.g. `read the end offsets of digits.requests`.
    """
    if isinstance(error, KafkaFailure):
        return error
    for kinds, ours, cure in _KINDS:
        if isinstance(error, kinds):
            return ours(f"cannot {action}: {error}; {cure}")
    if _WRAPPED_REFUSAL in str(error):
        return NotAuthorized(f"cannot {action}: {error}; {_PERMIT}")
    for inner in error.args:
        # The library's producer says that it is in an error state, and with it what brought it there.
        if isinstance(inner, kafka_errors.KafkaError):
            return translate(inner, action)
    return KafkaFailure(f"cannot {action}: {error!r}; see the cause, and the broker's log")


@contextlib.contextmanager
def translated(action: str, settings: KafkaSettings | None = None) -> Iterator[None]:
    """Raise kafka-python's errors as ours. To build a client use `connect`, which also finds out why it cannot.

    Args:
        action: what is being done, to follow "cannot".
        settings: where it is done, for the message.

    Raises:
        KafkaFailure: or one of its kinds, with the library's error as its cause.
    """
    try:
        yield
    except kafka_errors.KafkaError as error:
        where = f" at {', '.join(settings.servers)}" if settings else ""
        raise translate(error, f"{action}{where}") from error


class _ConnectionWatch:
    """Sees why a client under construction cannot connect, and keeps hold of what it had opened.

    kafka-python retries for the whole bootstrap timeout whatever the cause and then reports a time-out; a wrong
    password or an untrusted certificate shows in its log only. And a constructor that raises leaves its I/O thread
    running. So this stands in for the network client's class, notes each connection's end, and can close it all.
    """

    def __init__(self) -> None:
        self.client: Any = None
        self.refused: BaseException | None = None
        self.last: BaseException | None = None

    def __call__(self, **configs: Any) -> Any:
        self.client = KafkaNetClient(**configs)
        manager = self.client._manager  # noqa: SLF001 - the only place where the cause of a failed connection shows
        connect = manager.get_connection

        def watched(*args: Any, **kwargs: Any) -> Any:
            connection = connect(*args, **kwargs)
            connection.init_future.add_errback(self._ended)
            return connection

        # An attribute of this instance only, removed as soon as the client stands (see `done`).
        manager.get_connection = watched
        return self.client

    def _ended(self, error: BaseException) -> None:
        self.last = error
        if isinstance(error, _AUTHENTICATION) or "CERTIFICATE" in str(error).upper():
            self.refused = error
            # Credentials do not get better by waiting: end the bootstrap loop now.
            self.client._manager.closed = True  # noqa: SLF001 - the loop's own condition

    def done(self) -> None:
        if self.client is not None:
            del self.client._manager.get_connection  # noqa: SLF001 - undoes `__call__`

    def close(self) -> None:
        if self.client is not None:
            self.client._manager.closed = False  # noqa: SLF001 - else close() would skip the connections
            self.client.close()


def connect(
    build: Callable[..., Client], settings: KafkaSettings, action: str, configs: Mapping[str, Any], **fixed: Any
) -> Client:
    """Build a kafka-python client, or say why it cannot be built and leave nothing behind.

    Args:
        build: the client's class; its `DEFAULT_CONFIG` says which settings it knows.
        settings: where to connect.
        action: what the client is for, to follow "cannot", e.g. `connect a producer`.
        configs: the settings of this client in this package; the user's raw ones win over them.
        fixed: the settings that even the user may not change, because what we promise rests on them.

    Raises:
        AuthenticationFailed: wrong credentials, or a certificate that is not trusted.
        BrokerUnavailable: no broker answered within the bootstrap timeout.
        KafkaFailure: a setting is not one that kafka-python knows or accepts.
    """
    known: Mapping[str, Any] = build.DEFAULT_CONFIG  # type: ignore[attr-defined]
    merged = {**settings.common(), **configs, **settings.resolved_client(), **fixed}
    # A raw setting meant for another kind of client is not an error here: one [kafka.client] table serves them all.
    # One that no client knows is: it is a typing mistake that would else switch security off in silence.
    unknown = sorted(set(merged) - _known_to_any())
    if unknown:
        names = ", ".join(unknown)
        msg = f"cannot {action}: kafka.client has {names}, which kafka-python does not know; check the spelling"
        raise KafkaFailure(msg)
    _check_certificates(merged, action)
    watch = _ConnectionWatch()
    where = ", ".join(settings.servers)
    try:
        client = build(**{name: value for name, value in merged.items() if name in known}, kafka_client=watch)
    except Exception as error:
        watch.close()
        if watch.refused is not None:
            refused = _describe(watch.refused)
            msg = (
                f"cannot {action} at {where}: {refused}; check user, password and mechanism (kafka.client sasl_*) "
                "and the certificates (ssl_cafile, ssl_check_hostname)"
            )
            raise AuthenticationFailed(msg) from watch.refused
        if isinstance(error, kafka_errors.KafkaError) and watch.last is not None:
            failure = translate(error, f"{action} at {where} (last: {_describe(watch.last)})")
            raise failure from error
        raise translate(error, f"{action} at {where}") from error
    watch.done()
    return client


def _check_certificates(client: Mapping[str, Any], action: str) -> None:
    """See that the files for TLS can be read: kafka-python would find out at each connection, and try for ever.

    Raises:
        AuthenticationFailed: one cannot.
    """
    if "SSL" not in client.get("security_protocol", ""):
        return
    try:
        ssl_context(client)
    except OSError as error:
        files = ", ".join(
            f"{name}={client[name]}"
            for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")
            if client.get(name)
        )
        msg = (
            f"cannot {action}: the certificates in kafka.client cannot be used ({files}): {error}; name PEM files that "
            "this process may read, the key with its certificate"
        )
        raise AuthenticationFailed(msg) from error


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _known_to_any() -> set[str]:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer  # noqa: PLC0415 - for this check only

    return {*KafkaAdminClient.DEFAULT_CONFIG, *KafkaConsumer.DEFAULT_CONFIG, *KafkaProducer.DEFAULT_CONFIG}
