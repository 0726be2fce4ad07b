"""`penstock replay` of what real autoscaler processes have decided on a real broker."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import redis

from autoscaler.model import WorkerReport, WorkerState
from penstock.cli.main import run
from streams import telemetry, topics
from streams.kafka import Admin, new_producer
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streams.kafka import KafkaSettings

pytestmark = pytest.mark.services

CONFIG = """
state_dir = "state"
[pipeline]
name = "{pipeline}"
model = "models/none"
[topics]
partitions = 4
[kafka]
bootstrap_servers = "{servers}"
[redis]
url = "{redis_url}"
[policy]
scale_in_patience_s = 5
foresight_s = 10
[[worker_types]]
name = "cpu"
device = "emulated"
price_per_hour = 0.5
min_workers = 1
max_workers = 4
boot_s = 2
curve = {{ a_s = 0.02, b_s = 0.02, max_batch = 8 }}
"""


@pytest.fixture
def config(tmp_path: Path, pipeline: str, kafka_settings: KafkaSettings, redis_url: str) -> Path:
    """A pipeline whose autoscaler says and does nothing."""
    path = tmp_path / "penstock.toml"
    path.write_text(
        CONFIG.format(pipeline=pipeline, servers=kafka_settings.servers[0], redis_url=redis_url), encoding="utf-8"
    )
    return path


@contextlib.contextmanager
def autoscaler(config: Path, log: Path) -> Iterator[None]:
    """One autoscaler process while the block runs; it ends as told by SIGTERM."""
    argv = [sys.executable, "-m", "penstock", "autoscaler", "--config", str(config), "--actuator", "advisory"]
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=100) == 0, log.read_text()[-2000:]


def report(pipeline: str, batches: int) -> WorkerReport:
    """What a worker would say."""
    return WorkerReport(
        pipeline=pipeline, worker=f"{pipeline}-cpu-0", worker_type="cpu", device="emulated", at_s=time.time(), pid=1,
        host="h", state=WorkerState.READY, asked_at_s=time.time() - 2, ready_at_s=time.time(), partitions=(0, 1, 2, 3),
        batches=batches, rows=batches, ok=batches, failed=0, expired=0, busy_s=0.0, curve=None, latency_counts=(),
        rebalances=1, retraces=0, model_version="1",
    )  # fmt: skip


def until(condition: Callable[[], object], meanwhile: Callable[[], None], deadline_s: float = 200.0) -> None:
    """Do something again and again until it is so."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        meanwhile()
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_a_replay_decides_what_was_decided_live(  # noqa: PLR0917 - pytest gives them by name
    tmp_path: Path, config: Path, pipeline: str, kafka_settings: KafkaSettings, redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Word for word, over a step of the load, workers' reports, and a second autoscaler that took over."""
    producer, sent = new_producer(kafka_settings, "test"), 0

    def load(per_look: int) -> Callable[[], None]:
        def once() -> None:
            nonlocal sent
            for _ in range(per_look):
                producer.send(topics.requests(pipeline), value=b"{}", partition=sent % 4)
                sent += 1
            said = report(pipeline, sent)
            producer.send(topics.TELEMETRY, key=telemetry.key(said), value=telemetry.encode(said))

        return once

    with contextlib.closing(producer), redis.Redis.from_url(redis_url, decode_responses=True) as client:
        key = f"penstock:{pipeline}:decisions"

        def written() -> list[dict[str, str]]:
            return [fields for _, fields in client.xrange(key)]

        def reached(count: int) -> Callable[[], bool]:
            return lambda: client.xlen(key) >= count

        with autoscaler(config, tmp_path / "first.log"):
            until(reached(1), lambda: None)
            until(reached(10), load(3))
            until(reached(22), load(12))
        after = len(written())
        with autoscaler(config, tmp_path / "second.log"):
            until(reached(after + 6), load(1))
        live = written()
    assert len({fields["fleet"] for fields in live}) > 1
    assert len({fields["epoch"] for fields in live}) == 2

    tape = tmp_path / "tape.jsonl.gz"
    since = str(live[0]["at_s"])
    arguments = ["replay", "--config", str(config), "--json"]
    assert run([*arguments, "--since", _iso(float(since) - 1), "--save", str(tape)]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["same"]
    # The second autoscaler took up what the first remembered, if that had got as far as Redis.
    assert [note for note in whole["notes"] if "from Redis" not in note] == []
    assert [term["same_settings"] for term in whole["terms"]] == [True, True]
    # All but the last of each autoscaler, which no sample came after.
    assert len(live) - 2 <= whole["decisions"] <= len(live)

    # The file says the same, without a broker.
    broken = config.read_text().replace(kafka_settings.servers[0], "127.0.0.1:1")
    config.write_text(broken, encoding="utf-8")
    assert run([*arguments[:1], str(tape), *arguments[1:]]) == 0
    assert json.loads(capsys.readouterr().out) == whole

    # The last claim's decisions alone; the settings' Kafka is away, another one is named.
    assert run([*arguments, "--bootstrap", kafka_settings.servers[0]]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["same"]
    assert [term["epoch"] for term in second["terms"]] == [whole["terms"][1]["epoch"]]

    # By another policy, and by other settings, it comes out otherwise.
    assert run([*arguments[:1], str(tape), *arguments[1:], "--policy", "static:workers=3"]) == 0
    assert json.loads(capsys.readouterr().out)["differing"] > 0
    config.write_text(broken.replace("[policy]", "[policy]\ntarget_utilisation = 0.2"), encoding="utf-8")
    assert run([*arguments[:1], str(tape), *arguments[1:]]) == 3
    other = json.loads(capsys.readouterr().out)
    assert [term["same_settings"] for term in other["terms"]] == [False, False]
    assert other["differences"]


def test_what_is_not_there_is_said(
    tmp_path: Path, config: Path, pipeline: str, kafka_settings: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """No decision of that pipeline on the topic: exit code 1; no broker: 69."""
    with Admin(kafka_settings, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=4))
    assert run(["replay", "--config", str(config)]) == 1
    assert f"holds no decision of the pipeline {pipeline}" in capsys.readouterr().err
    save = tmp_path / "t.jsonl"
    assert run(["replay", "--config", str(config), "--bootstrap", "127.0.0.1:1", "--save", str(save)]) == 69
    assert "penstock replay" in capsys.readouterr().err
    assert not save.exists()


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
