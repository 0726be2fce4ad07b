"""Three embedded brokers of which one is killed: what the others hold is enough, and work goes on with them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from kafka.protocol.metadata import CoordinatorType
from kafka.structs import ConsumerGroupMetadata

from penstock.local.cluster import LocalCluster
from penstock.local.services import java_with_kafka
from streams.arrivals import ArrivalSampler
from streams.errors import BrokerUnavailable, OutcomeUnknown
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer, new_reader
from streams.kafka.link import Link
from streams.kafka.transactions import Transactions, open_transactions
from streams.records import Outgoing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.services


def _group_coordinated_by(settings: KafkaSettings, node: int) -> str:
    """The name of a group whose coordinator is that broker."""
    link = Link(settings, "test-cluster")
    deadline = time.monotonic() + 60
    try:
        names = (f"group-{number}" for number in range(100))
        return next(name for name in names if link.coordinator(CoordinatorType.GROUP, name, deadline) == node)
    finally:
        link.close()


def _send(transactions: Transactions, group: ConsumerGroupMetadata, value: bytes) -> None:
    """One record and one offset in a transaction, tried as a worker tries it."""
    deadline = time.monotonic() + 60
    record = Outgoing("t", None, value, [], partition=0)
    while True:
        try:
            transactions.send([record], topic="t", group=group, offsets={0: 1})
        except OutcomeUnknown:
            assert time.monotonic() < deadline, "no transaction succeeds any more"
            transactions.recover()
        else:
            return


def test_a_cluster_outlives_one_of_its_three_brokers(tmp_path: Path) -> None:
    """Records acknowledged before and after a SIGKILL are all there; the broker comes back and catches up."""
    with LocalCluster.start(tmp_path, java_with_kafka(), nodes=3) as cluster:
        settings = KafkaSettings(bootstrap_servers=cluster.bootstrap)
        with Admin(settings, "test-cluster", retry_s=60) as admin:
            admin.create_topics({"t": TopicSpec(6, 3, {"min.insync.replicas": "2"})})
            producer = new_producer(settings, "test-cluster")
            before = [producer.send("t", value=b"%d" % number, partition=number % 6) for number in range(60)]
            for future in before:
                future.get(timeout=60)

            transactions = open_transactions(
                settings, transactional_id="test-cluster", timeout_ms=6000, max_request_bytes=1024 * 1024
            )
            group = ConsumerGroupMetadata(_group_coordinated_by(settings, 2), -1, "", None)
            _send(transactions, group, b"before")

            cluster.kill_node(2)
            assert not cluster.running(2)
            _send(transactions, group, b"after")
            transactions.close()
            after = [producer.send("t", value=b"%d" % number, partition=number % 6) for number in range(60, 120)]
            for future in after:
                future.get(timeout=120)
            producer.close()
            assert admin.under_replicated("t") == 6

            cluster.mend()
            assert cluster.running(2)
            deadline = time.monotonic() + 120
            while admin.under_replicated("t"):
                assert time.monotonic() < deadline, "the broker that is back does not catch up"
        reader = new_reader(settings, ["t"], from_="earliest")
        found: list[bytes] = []
        while len(found) < 122 and time.monotonic() < deadline:
            found += [record.value for records in reader.poll(200).values() for record in records]
        reader.close()
        assert sorted(int(value) for value in found if value.isdigit()) == list(range(120))
        assert sorted(value for value in found if not value.isdigit()) == [b"after", b"before"]
    assert not list((tmp_path / ".penstock").glob("node-*"))


def test_arrivals_are_sampled_while_a_partition_has_no_leader(tmp_path: Path) -> None:
    """A topic of one copy loses the partitions of a dead broker; the others are counted on, the lost ones stand."""
    with LocalCluster.start(tmp_path, java_with_kafka(), nodes=3) as cluster:
        settings = KafkaSettings(bootstrap_servers=cluster.bootstrap)
        with Admin(settings, "test-cluster", retry_s=2) as admin:
            admin.create_topics({"p.requests": TopicSpec(6, 1)})
            producer = new_producer(settings, "test-cluster")
            for number in range(60):
                producer.send("p.requests", value=b"", partition=number % 6).get(timeout=60)
            sampler = ArrivalSampler(admin, "p")
            assert sampler.sample().end_offsets == dict.fromkeys(range(6), 10)

            cluster.kill_node(2)
            deadline = time.monotonic() + 60
            led: dict[int, int] = {}
            while not 0 < len(led) < 6:
                assert time.monotonic() < deadline, "the dead broker still leads"
                with contextlib.suppress(BrokerUnavailable):
                    led = admin.led_end_offsets("p.requests")
            for partition in led:
                producer.send("p.requests", value=b"", partition=partition).get(timeout=60)
            producer.close()
            expected = {partition: 11 if partition in led else 10 for partition in range(6)}
            assert sampler.sample().end_offsets == expected
            assert sampler.sample().end_offsets == expected

            cluster.mend()
            led = {}
            while len(led) < 6:
                assert time.monotonic() < deadline + 60, "the broker that is back does not lead again"
                with contextlib.suppress(BrokerUnavailable):
                    led = admin.led_end_offsets("p.requests")
            assert sampler.sample().end_offsets == expected
