"""Settings in librdkafka's names. No broker is needed."""

from __future__ import annotations

from typing import Any

import pytest

from streams.errors import AuthenticationFailed, BrokerUnavailable, Fenced, GenerationChanged, KafkaFailure
from streams.kafka import KafkaSettings
from streams.librdkafka.configuration import consumer_configuration, producer_configuration

TLS = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "app",
    "sasl_plain_password": "s3cret",
    "ssl_cafile": "ca.pem",
}


def test_security_is_said_in_its_words() -> None:
    """TLS, SASL, and a certificate's name that is not to be checked."""
    settings = KafkaSettings("a:1", library="librdkafka", client={**TLS, "ssl_check_hostname": False})
    for made in (consumer_configuration(settings, {}, {}), producer_configuration(settings, {}, {})):
        assert made["security.protocol"] == "SASL_SSL"
        assert made["sasl.mechanism"] == "SCRAM-SHA-512"
        assert (made["sasl.username"], made["sasl.password"]) == ("app", "s3cret")
        assert made["ssl.ca.location"] == "ca.pem"
        assert made["ssl.endpoint.identification.algorithm"] == "none"
        assert made["bootstrap.servers"] == "a:1"


def test_who_wins() -> None:
    """Ours, then the user's in kafka-python's words, then the user's in its own, then what is fixed."""
    settings = KafkaSettings(
        "a:1", library="librdkafka", client={"fetch_max_wait_ms": 2}, librdkafka={"fetch.error.backoff.ms": 3}
    )
    ours = {"fetch.wait.max.ms": 1, "fetch.error.backoff.ms": 1, "kept": 1}
    made = consumer_configuration(settings, ours, {"isolation.level": "read_committed"})
    assert (made["fetch.wait.max.ms"], made["fetch.error.backoff.ms"], made["kept"]) == (2, 3, 1)
    assert made["isolation.level"] == "read_committed"
    # What is meant for consumers is none of a producer's business, and no error.
    assert "fetch.wait.max.ms" not in producer_configuration(settings, {}, {})


@pytest.mark.parametrize("name", ["sasl_mechanisms", "ssl_context", "sasl.mechanism", "check_crc"])
def test_what_cannot_be_said_is_refused(name: str) -> None:
    """A security setting must not be dropped in silence; its value is not shown."""
    settings = KafkaSettings("a:1", library="librdkafka", client={**TLS, name: "s3cret"})
    with pytest.raises(KafkaFailure, match=rf"kafka\.client has {name}") as caught:
        producer_configuration(settings, {}, {})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"library": "rdkafka"}, "kafka.library='rdkafka'"), ({"librdkafka": {"a": 1}}, "kafka.librdkafka")],
)
def test_a_choice_that_is_none_is_refused(settings: dict[str, Any], field: str) -> None:
    """And a table that would have no effect."""
    with pytest.raises(ValueError, match=field):
        KafkaSettings("a:1", **settings)


def test_its_raw_settings_are_not_shown() -> None:
    """There may be a password among them."""
    assert "s3cret" not in repr(KafkaSettings(library="librdkafka", librdkafka={"sasl.password": "s3cret"}))


def test_its_errors_are_ours() -> None:
    """By code; a fatal one by its words, where its cause stands."""
    from confluent_kafka import KafkaError  # noqa: PLC0415 - an extra

    from streams.librdkafka.errors import translate  # noqa: PLC0415 - an extra

    for code, ours in (
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnavailable),
        (KafkaError.SASL_AUTHENTICATION_FAILED, AuthenticationFailed),
        (KafkaError.ILLEGAL_GENERATION, GenerationChanged),
        (KafkaError.FENCED_INSTANCE_ID, Fenced),
    ):
        assert type(translate(KafkaError(code), "do it")) is ours
    told = f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}"
    assert type(translate(KafkaError(KafkaError._FATAL, told), "poll")) is Fenced
