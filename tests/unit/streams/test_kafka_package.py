"""How Kafka is reached: settings, errors with a cure, and a reader that strangers cannot stop. No broker is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import kafka.errors as kafka_errors
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

import streams.kafka
from streams import errors
from streams.client import InferenceClient
from streams.kafka import KafkaSettings, connect, translate, translated


def test_the_client_is_light() -> None:
    """Importing it brings in no library that a base install does not have."""
    heavy = "{'tensorflow', 'faust', 'statsmodels', 'scipy', 'pydantic', 'click', 'redis'}"
    code = f"import streams.client, sys; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("given", "servers"),
    [
        ("a:1", ["a:1"]),
        (" a:1, b:2 ,", ["a:1", "b:2"]),
        (("a:1", "[::1]:9092"), ["a:1", "[::1]:9092"]),
    ],
)
def test_brokers_may_be_named_in_either_way(given: Any, servers: list[str]) -> None:
    """One text with commas, as in an environment variable, or a list."""
    assert KafkaSettings(given).servers == servers
    assert KafkaSettings(given).common()["bootstrap_servers"] == servers


@pytest.mark.parametrize("given", ["", ",", (), "broker", ":9092", "a:0", "a:65536", "a:x", "a:1,b"])
def test_other_names_are_no_brokers(given: Any) -> None:
    """The message names the field and what it should look like."""
    with pytest.raises(ValueError, match=r"kafka\.bootstrap_servers.*host:port"):
        KafkaSettings(given)


@pytest.mark.parametrize("name", ["metadata_max_age_ms", "bootstrap_timeout_ms", "request_timeout_ms"])
def test_times_out_of_range_are_refused(name: str) -> None:
    """The message names the field and its value."""
    with pytest.raises(ValueError, match=f"kafka.{name}=0"):
        KafkaSettings(**{name: 0})  # type: ignore[arg-type] # each of them is a number


def test_passwords_are_not_shown() -> None:
    """Raw client settings may hold secrets, so no representation has them."""
    client = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_password": "s3cret"}
    assert "s3cret" not in repr(KafkaSettings(client=client))


@pytest.mark.parametrize(
    ("theirs", "ours", "cure"),
    [
        (kafka_errors.KafkaTimeoutError("Unable to bootstrap"), errors.BrokerUnavailable, "bootstrap_servers"),
        (kafka_errors.OffsetNotAvailableError(), errors.EndsUnknown, "copies are in sync"),
        (kafka_errors.NodeNotReadyError(0), errors.BrokerUnavailable, "bootstrap_servers"),
        (kafka_errors.UnknownBrokerIdError(3), errors.BrokerUnavailable, "bootstrap_servers"),
        (kafka_errors.SaslAuthenticationFailedError("no"), errors.AuthenticationFailed, "password"),
        (kafka_errors.TopicAuthorizationFailedError("t"), errors.NotAuthorized, "ACL"),
        (kafka_errors.UnknownTopicOrPartitionError("t"), errors.TopicMissing, "create the pipeline's topics"),
        (kafka_errors.MessageSizeTooLargeError("big"), errors.RecordTooLarge, "max.message.bytes"),
        (kafka_errors.ProducerFencedError(), errors.Fenced, "slot"),
        (kafka_errors.CommitFailedError(), errors.GenerationChanged, "new owner"),
        (kafka_errors.InvalidTopicError("t"), errors.TopicMissing, "check the name"),
        (kafka_errors.UnknownError(), errors.KafkaFailure, "broker's log"),
    ],
)
def test_errors_are_translated_with_a_cure(theirs: Exception, ours: type[Exception], cure: str) -> None:
    """Each kind of failure says what could not be done, why, and what helps."""
    with (
        pytest.raises(ours, match=rf"cannot do it at a:1: .*{cure}") as caught,
        translated("do it", KafkaSettings("a:1")),
    ):
        raise theirs
    assert type(caught.value) is ours
    assert caught.value.__cause__ is theirs
    assert translate(caught.value, "again") is caught.value


def test_other_errors_pass_untouched() -> None:
    """Mistakes of ours are not Kafka's."""
    with pytest.raises(ZeroDivisionError), translated("do it"):
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [KafkaConsumer, KafkaProducer])
def test_a_setting_that_no_client_knows_is_refused(kind: type) -> None:
    """A misspelt security setting must not be dropped in silence."""
    settings = KafkaSettings("127.0.0.1:1", client={"secrity_protocol": "SSL"})
    with pytest.raises(errors.KafkaFailure, match=r"kafka\.client has secrity_protocol"):
        connect(kind, settings, "connect", {})


def test_no_broker_is_an_error_within_the_bootstrap_timeout() -> None:
    """The message says where and why, and no thread of the failed client is left."""
    import threading  # noqa: PLC0415 - for this look only

    settings = KafkaSettings("127.0.0.1:1", bootstrap_timeout_ms=300)
    with pytest.raises(errors.BrokerUnavailable, match=r"127\.0\.0\.1:1.*REFUSED"):
        streams.kafka.new_reader(settings, ["t"], client_id="nobody-there")
    assert not [thread.name for thread in threading.enumerate() if "nobody-there" in thread.name]


@pytest.mark.parametrize("name", ["timeout_s", "max_pending", "delivery_timeout_s"])
def test_client_options_out_of_range_are_refused(name: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ValueError, match=f"{name}=0"):
        InferenceClient("digits", **{name: 0})  # type: ignore[arg-type] # each of them is a number


def test_a_client_of_no_pipeline_is_refused() -> None:
    """Before anything is connected."""
    with pytest.raises(errors.InvalidPipelineName):
        InferenceClient("Digits!")


class RawName(str):
    """A header's name that is not UTF-8 on the wire, as only a stranger's client would write it."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Whatever the encoding."""
        return b"na\xffme\xc3"


def batch(headers: list[list[tuple[str, bytes | None]]]) -> DefaultRecordBatch:
    """A batch of records with these headers, as it comes from a broker."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=100_000,
    )  # fmt: skip
    for offset, named in enumerate(headers):
        builder.append(offset, 1000 + offset, key=b"k" * offset or None, value=b"v%d" % offset, headers=named)
    return DefaultRecordBatch(bytearray(builder.build()))


def test_a_header_name_that_is_no_text_stops_nobody() -> None:
    """The record is read with the name made readable, and so are all others, in order, values untouched."""
    odd = [("fine", b"\xff"), ("null", None), (RawName("x"), b"\xfe"), (RawName("y"), None)]
    read = list(batch([[("a", b"1")], odd, [], odd, [("ü", b"2")]]))
    made_readable = [("fine", b"\xff"), ("null", None), ("na?me?", b"\xfe"), ("na?me?", None)]
    assert [record.headers for record in read] == [[("a", b"1")], made_readable, [], made_readable, [("ü", b"2")]]
    assert [record.value for record in read] == [b"v0", b"v1", b"v2", b"v3", b"v4"]
    assert [record.key for record in read] == [None, b"k", b"kk", b"kkk", b"kkkk"]


def test_an_error_within_an_error_is_what_counts() -> None:
    """As the producer raises at a send after it was fenced."""
    state = kafka_errors.KafkaError("at least one previous request has failed", kafka_errors.ProducerFencedError())
    assert isinstance(translate(state, "send"), errors.Fenced)
