"""How to reach Kafka: one value, shared by all clients of this package."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - settings are composed at run time from these annotations
from dataclasses import dataclass, field
from typing import Any, ClassVar

from streams import secrets

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
#: The two client libraries; see `KafkaSettings.library`.
KAFKA_PYTHON = "kafka-python"
LIBRDKAFKA = "librdkafka"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the brokers are and how patient clients are with them.

    Raises:
        ValueError: a field is out of range; the message names it, its value and what is allowed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: `host:port` of one or more brokers, as a tuple or separated by commas. Loopback: the embedded broker's default.
    bootstrap_servers: tuple[str, ...] | str = "127.0.0.1:9092"
    #: Raw kafka-python settings passed through to each client that knows them, e.g. `security_protocol`,
    #: `sasl_mechanism`, `ssl_cafile`. They win over ours. A value `file:/run/secrets/x` is read from that file at each
    #: connection. Never shown: there may be a password among them.
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Which library workers use for requests, results and offsets: `kafka-python`, or `librdkafka` (the extra
    #: `penstock[librdkafka]`), which costs less CPU a record and cannot share partitions by capacity. `client` is the
    #: table of raw settings, so the choice has a name of its own.
    library: str = KAFKA_PYTHON
    #: Raw librdkafka settings by its own names, e.g. `{"ssl.ca.pem" = "..."}`; those of `client` that have a
    #: counterpart are translated, and these win over them. Never shown.
    librdkafka: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Age in milliseconds after which clients ask for new partitions and leaders; the library's 5 minutes would leave
    #: new partitions unread for as long.
    metadata_max_age_ms: int = 5_000
    #: How long the first connection may take, in milliseconds: long enough for a broker that restarts (measured: 1 to
    #: 4 s), short enough for a person who waits for an error.
    bootstrap_timeout_ms: int = 10_000
    #: How long one request may take, in milliseconds; the library's default.
    request_timeout_ms: int = 30_000
    #: Longest pause between two tries to reconnect, in milliseconds; the library's 30 s would keep clients away long
    #: after a broker is back.
    reconnect_backoff_max_ms: int = 1_000
    #: Largest record this side may write, in bytes; above the broker's default of 1 MiB, so that the topic decides.
    max_request_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.servers:
            msg = (
                f"kafka.bootstrap_servers={self.bootstrap_servers!r}: names no broker; "
                "give host:port, e.g. 127.0.0.1:9092, or several separated by commas"
            )
            raise ValueError(msg)
        for server in self.servers:
            host, separator, port = server.rpartition(":")
            if not separator or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
                msg = f"kafka.bootstrap_servers={server!r}: must be host:port with a port from 1 to 65535"
                raise ValueError(msg)
        if self.library not in (KAFKA_PYTHON, LIBRDKAFKA):
            msg = f"kafka.library={self.library!r}: choose {KAFKA_PYTHON!r} or {LIBRDKAFKA!r}"
            raise ValueError(msg)
        if self.librdkafka and self.library != LIBRDKAFKA:
            msg = (
                f"kafka.librdkafka has no effect with kafka.library={self.library!r}; choose {LIBRDKAFKA!r}, or drop it"
            )
            raise ValueError(msg)
        for name, least in (
            ("metadata_max_age_ms", 100),
            ("bootstrap_timeout_ms", 100),
            ("request_timeout_ms", 1_000),
            ("reconnect_backoff_max_ms", 50),
            ("max_request_bytes", 1_024),
        ):
            value = getattr(self, name)
            if value < least:
                msg = f"kafka.{name}={value}: must be at least {least}"
                raise ValueError(msg)

        self._check_client()

    def _check_client(self) -> None:
        """What would switch security off in silence: kafka-python ignores credentials that its protocol has no use for.

        Raises:
            ValueError: the protocol and the other settings do not fit; no value of a secret is named.
        """
        protocol = self.client.get("security_protocol", "PLAINTEXT")
        if protocol not in _PROTOCOLS:
            msg = f"kafka.client.security_protocol={protocol!r}: must be one of {', '.join(_PROTOCOLS)}"
            raise ValueError(msg)
        for part, start in (("SASL", "sasl_"), ("SSL", "ssl_")):
            given = sorted(name for name in self.client if name.startswith(start))
            if given and part not in protocol:
                msg = (
                    f"kafka.client.{given[0]} has no effect with security_protocol={protocol!r}; choose a protocol "
                    f"with {part}, or leave it out"
                )
                raise ValueError(msg)
        if "SASL" in protocol and not self.client.get("sasl_mechanism"):
            msg = f"kafka.client.sasl_mechanism is missing, which {protocol} needs; e.g. SCRAM-SHA-512"
            raise ValueError(msg)

    @property
    def servers(self) -> list[str]:
        """The brokers to start from, one `host:port` each."""
        given = self.bootstrap_servers
        parts = given.split(",") if isinstance(given, str) else given
        return [part.strip() for part in parts if part.strip()]

    def resolved_client(self) -> dict[str, Any]:
        """`client` with what stands in files: secrets. Not to be kept or shown.

        Raises:
            AuthenticationFailed: a file cannot be read.
        """
        return secrets.resolved(self.client, "kafka.client")

    def common(self) -> dict[str, Any]:
        """The settings that every kafka-python client gets, the user's own last, secrets included.

        Raises:
            AuthenticationFailed: a file with a secret cannot be read.
        """
        return {
            "bootstrap_servers": self.servers,
            "metadata_max_age_ms": self.metadata_max_age_ms,
            "bootstrap_timeout_ms": self.bootstrap_timeout_ms,
            "request_timeout_ms": self.request_timeout_ms,
            "reconnect_backoff_max_ms": self.reconnect_backoff_max_ms,
            **self.resolved_client(),
        }
