"""Three embedded brokers of which one is killed: what the others hold is enough, and nothing is left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from penstock.local.cluster import LocalCluster
from penstock.local.services import java_with_kafka
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer, new_reader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.services


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

            cluster.kill_node(2)
            assert not cluster.running(2)
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
        while len(found) < 120 and time.monotonic() < deadline:
            found += [record.value for records in reader.poll(200).values() for record in records]
        reader.close()
        assert sorted(map(int, found)) == list(range(120))
    assert not list((tmp_path / ".penstock").glob("node-*"))
