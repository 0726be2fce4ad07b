"""`penstock analyse` reads a live topic's own history, and leaves no trace in its group."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from penstock.cli.main import run
from streams import topics
from streams.kafka import Admin, new_producer
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from pathlib import Path

    from streams.kafka.settings import KafkaSettings

pytestmark = pytest.mark.services

#: Unix milliseconds of the first record.
BEGAN_MS = 1_790_000_000_000


def test_a_topics_history_is_read_by_its_own_timestamps(
    kafka_settings: KafkaSettings, pipeline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rates, sizes and skew come from the records; the group is not joined; saved records say the same."""
    counts = np.random.default_rng(3).poisson(6, 120)
    with Admin(kafka_settings, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=4))
    producer = new_producer(kafka_settings, "test")
    sent = 0
    for second, count in enumerate(counts):
        for n in range(int(count)):
            # Half of all keys fall on partition 2.
            partition = 2 if sent % 2 else (sent // 2) % 4
            at_ms = BEGAN_MS + second * 1000 + n
            producer.send(topics.requests(pipeline), b"x" * 100, key=b"key0", partition=partition, timestamp_ms=at_ms)
            sent += 1
    producer.flush(timeout=30)
    producer.close()
    config = tmp_path / "penstock.toml"
    config.write_text(
        f'[pipeline]\nname = "{pipeline}"\nmodel = "models/x"\n'
        f'[kafka]\nbootstrap_servers = "{kafka_settings.bootstrap_servers}"\n',
        encoding="utf-8",
    )
    saved = tmp_path / "records.csv.gz"

    assert run(["analyse", "--config", str(config), "--save", str(saved), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == sent
    assert found["starts_at"].startswith("2026-09-2")
    assert found["mean_per_s"] == pytest.approx(sent / 120)
    assert found["peak_per_s"]["1"] == counts.max()
    assert found["sizes"]["p50"] == 104
    assert found["skew"]["busiest"] == 2
    assert found["skew"]["busiest_share"] == pytest.approx(0.625, abs=0.01)
    with Admin(kafka_settings, "test") as admin:
        assert set(admin.committed(topics.group(pipeline), topics.requests(pipeline)).values()) == {None}
        assert admin.assignments(topics.group(pipeline)) == {}

    assert run(["analyse", str(saved), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["requests"], again["sizes"], again["skew"]) == (sent, found["sizes"], found["skew"])

    assert run(["analyse", "--config", str(config), "--since", "2030-01-01"]) == 2
    assert "no record in that time" in capsys.readouterr().err
