"""The agent: its body without Faust, its app without a broker, and its libraries' logs."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kafka import TopicPartition

from streams import agent
from streams.kafka import KafkaSettings
from streams.kafka.tape import partition_of
from streams.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def events(*offsets: int) -> AsyncIterator[Any]:
    """A stream as Faust gives it."""
    for offset in offsets:
        message = SimpleNamespace(partition=1, offset=offset)
        yield SimpleNamespace(key=b"p", value=str(offset).encode(), message=message)


async def test_each_event_is_handed_on_and_none_ends_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    """Key, value, partition and offset arrive; a record that makes the body fail is logged and passed over."""
    seen = []

    def body(key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        if offset == 2:
            raise RuntimeError
        seen.append((key, value, partition, offset))

    await agent.follow(events(1, 2, 3), body)
    assert seen == [(b"p", b"1", 1, 1), (b"p", b"3", 1, 3)]
    assert [record.message for record in caplog.records] == ["agent.record_failed"]


async def test_the_app_reads_telemetry_and_nothing_else(tmp_path: Path) -> None:
    """One agent on the telemetry topic, a group of the pipeline's own, no web port, no topics created."""
    seen: list[tuple[Any, ...]] = []
    owned: list[frozenset[int]] = []
    app = agent.build_app(
        KafkaSettings("127.0.0.1:9,127.0.0.1:10"),
        pipeline="digits",
        instance="host-0",
        data_dir=tmp_path / "faust",
        on_record=lambda *record: seen.append(record),
        on_owned=owned.append,
        on_lost=lambda _: None,
    )
    (found,) = app.agents.values()
    assert list(found.get_topic_names()) == ["penstock.telemetry"]
    assert app.conf.id == "penstock.autoscaler.digits"
    assert not app.conf.web_enabled
    assert not app.conf.topic_allow_declare
    assert app.conf.consumer_group_instance_id == "host-0"
    places = [TopicPartition("penstock.telemetry", 3), TopicPartition("other", 4)]
    await app.on_partitions_assigned.send(places)
    assert owned == [frozenset({3})]


@pytest.mark.parametrize(
    ("client", "kind"),
    [
        ({}, "NoneType"),
        ({"security_protocol": "SSL"}, "SSLCredentials"),
        (
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "u",
                "sasl_plain_password": "p",
            },
            "SASLCredentials",
        ),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "SASLCredentials"),
    ],
)
def test_raw_kafka_settings_reach_faust(client: dict[str, str], kind: str) -> None:
    """TLS and SASL as kafka-python names them become Faust's credentials."""
    credentials = agent._credentials(KafkaSettings(client=client))
    assert type(credentials).__name__ == kind
    if "SSL" in client.get("security_protocol", "") and kind == "SASLCredentials":
        assert (credentials.ssl_context is not None) == (client["security_protocol"] == "SASL_SSL")


def test_a_ready_context_wins() -> None:
    """A context that the user built is used as it is."""
    context = ssl.create_default_context()
    assert ssl_context({"ssl_context": context}) is context
    assert not ssl_context({"ssl_check_hostname": False}).check_hostname


@pytest.mark.parametrize(
    ("key", "murmur2"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_a_key_goes_where_producers_write_it(key: bytes, murmur2: int) -> None:
    """The hash values are those of the Java client's own test (UtilsTest.testMurmur2)."""
    assert partition_of(key, 8) == (murmur2 & 0x7FFFFFFF) % 8
