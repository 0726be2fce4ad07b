"""Our settings, and kafka-python's raw ones, in librdkafka's names. Pure: needs neither library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams import secrets
from streams.errors import KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.kafka.settings import KafkaSettings

_BOTH = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_ciphers": "ssl.cipher.suites",
    "connections_max_idle_ms": "connections.max.idle.ms",
    "reconnect_backoff_ms": "reconnect.backoff.ms",
    "receive_buffer_bytes": "socket.receive.buffer.bytes",
    "send_buffer_bytes": "socket.send.buffer.bytes",
}
_CONSUMER = {
    "client_rack": "client.rack",
    "fetch_min_bytes": "fetch.min.bytes",
    "fetch_max_wait_ms": "fetch.wait.max.ms",
    "fetch_max_bytes": "fetch.max.bytes",
    "max_partition_fetch_bytes": "max.partition.fetch.bytes",
    "heartbeat_interval_ms": "heartbeat.interval.ms",
    "max_poll_interval_ms": "max.poll.interval.ms",
    "check_crcs": "check.crcs",
}
_PRODUCER = {
    "compression_type": "compression.type",
    "linger_ms": "linger.ms",
    "batch_size": "batch.size",
    "delivery_timeout_ms": "delivery.timeout.ms",
}
#: `True` keeps the certificate's name checked, as kafka-python does by default.
_CHECK_HOSTNAME = "ssl_check_hostname"


def consumer_configuration(
    settings: KafkaSettings, ours: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """A consumer's configuration: `ours`, then the user's, then what even the user may not change.

    Raises:
        KafkaFailure: a raw setting has no counterpart in librdkafka, or is set twice.
    """
    return _configuration(settings, {**_BOTH, **_CONSUMER}, ours, fixed)


def producer_configuration(
    settings: KafkaSettings, ours: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """A producer's configuration; see `consumer_configuration`."""
    return _configuration(settings, {**_BOTH, **_PRODUCER}, ours, fixed)


def _configuration(
    settings: KafkaSettings, names: Mapping[str, str], ours: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    common = {
        "bootstrap.servers": ",".join(settings.servers),
        "metadata.max.age.ms": settings.metadata_max_age_ms,
        "socket.timeout.ms": settings.request_timeout_ms,
        "reconnect.backoff.max.ms": settings.reconnect_backoff_max_ms,
        # The library's own default of 100 would be above a smaller maximum of the user's.
        "reconnect.backoff.ms": min(50, settings.reconnect_backoff_max_ms),
        "message.max.bytes": settings.max_request_bytes,
        "socket.nagle.disable": True,
    }
    return {
        **common,
        **ours,
        **_translated(settings.resolved_client(), names),
        **secrets.resolved(settings.librdkafka, "kafka.librdkafka"),
        **fixed,
    }


def _translated(client: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    known = {**_BOTH, **_CONSUMER, **_PRODUCER}
    unknown = sorted(set(client) - set(known) - {_CHECK_HOSTNAME})
    if unknown:
        raise KafkaFailure(
            f"kafka.client has {', '.join(unknown)}, which cannot be said to librdkafka; leave it out, or say it in "
            'librdkafka\'s own words in the table kafka.librdkafka, e.g. {"ssl.ca.pem" = "..."}'
        )
    # What is meant for the other kind of client is no error: one table serves them all.
    found = {names[name]: value for name, value in client.items() if name in names and value is not None}
    if _CHECK_HOSTNAME in client:
        found["ssl.endpoint.identification.algorithm"] = "https" if client[_CHECK_HOSTNAME] else "none"
    return found
