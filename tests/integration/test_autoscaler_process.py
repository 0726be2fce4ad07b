"""The autoscaler as real processes on the real broker and Redis; small programs stand in for workers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from autoscaler.model import ArrivalSample, Claim
from penstock.local.ports import pick
from penstock.local.redis_node import RedisNode, redis_executable
from streams import telemetry, topics
from streams.kafka import Admin, new_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streams.kafka import KafkaSettings

pytestmark = pytest.mark.services

#: Starts the process from a line of JSON, as the command line does from a file.
PROGRAM = """
import json, sys
from autoscaler.model import ServiceCurve, WorkerType
from autoscaler.settings import PolicySettings
from penstock import logs
from penstock.autoscaler_process import AutoscalerProcessSettings, run
from penstock.autoscaler_settings import AutoscalerSettings
from streams.kafka import KafkaSettings

logs.configure("INFO")
given = json.loads(sys.argv[1])
kafka = KafkaSettings(given.pop("bootstrap"))
given["worker_argv"] = tuple(given["worker_argv"])
run(AutoscalerProcessSettings(
    kafka=kafka,
    worker_types=(WorkerType(curve=ServiceCurve(0.02, 0.02, 16), boot_s=2.0),),
    policy=PolicySettings(scale_in_patience_s=600),
    endpoint=AutoscalerSettings(metrics_port=0),
    **given,
))
"""
WORKER = "import signal,sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()"


class Autoscaler:
    """One autoscaler process."""

    def __init__(self, log: Path, settings: dict[str, Any]) -> None:
        self.log = log
        with log.open("w") as out:
            # In a session of its own, so that nothing of the test's reaches it.
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(settings)],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it has logged under a name."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry["event"] == name:
                    found.append(entry)
        return found

    def partitions(self) -> list[int]:
        """Telemetry partitions that it was given last."""
        given = self.events("agent.assigned")
        return list(given[-1]["partitions"]) if given else []

    def kill(self) -> None:
        """End it by force."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


class Site:
    """A state directory with its autoscalers."""

    def __init__(self, root: Path, kafka: KafkaSettings, pipeline: str, redis_url: str | None) -> None:
        self.root, self.kafka, self.pipeline = root, kafka, pipeline
        self.settings: dict[str, Any] = {
            "bootstrap": kafka.servers[0],
            "pipeline": pipeline,
            "state_dir": str(root / "state"),
            "redis_url": redis_url,
            "worker_argv": [sys.executable, "-S", "-c", WORKER, "{slot}"],
        }
        self.started: list[Autoscaler] = []

    def start(self, **more: Any) -> Autoscaler:
        """One more autoscaler process."""
        autoscaler = Autoscaler(self.root / f"{len(self.started)}.log", {**self.settings, **more})
        self.started.append(autoscaler)
        return autoscaler

    def declared(self) -> dict[str, Any]:
        """What was last declared; empty = nothing."""
        path = self.root / "state/fleet" / self.pipeline / "declared.json"
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return content

    def workers(self) -> set[int]:
        """Live workers' pids."""
        return {
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if any(part.startswith(f"{self.pipeline}-cpu-") for part in process.info["cmdline"] or ())
            and process.status() != psutil.STATUS_ZOMBIE
        }

    def close(self) -> None:
        """End everything."""
        for autoscaler in self.started:
            if autoscaler.process.poll() is None:
                autoscaler.kill()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    def until(self, condition: Callable[[], object], deadline_s: float = 40) -> None:
        """Wait until it is so."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, "\n".join(a.log.read_text()[-3000:] for a in self.started)
            time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path, kafka_settings: KafkaSettings, redis_url: str, pipeline: str) -> Iterator[Site]:
    """A place for autoscalers, cleared with the test."""
    site = Site(tmp_path, kafka_settings, pipeline, redis_url)
    yield site
    site.close()


def test_one_of_two_decides_and_the_other_takes_over(site: Site, redis_url: str) -> None:
    """Of two processes one owns the pipeline; when it is killed the other goes on, under a higher epoch."""
    both = [site.start(), site.start()]
    site.until(lambda: site.declared() and len(site.workers()) == 1)
    site.until(lambda: sum(len(autoscaler.partitions()) for autoscaler in both) == topics.TELEMETRY_PARTITIONS)
    site.until(lambda: all(autoscaler.partitions() for autoscaler in both))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        key = f"penstock:{site.pipeline}:metrics"
        epochs = [event["epoch"] for a in both for event in a.events("autoscaler.owner")]
        site.until(lambda: int(client.hget(key, "epoch") or -1) >= max(epochs))
        seen = client.xlen(f"penstock:{site.pipeline}:decisions")
        site.until(lambda: client.xlen(f"penstock:{site.pipeline}:decisions") > seen + 6)
        before = client.hgetall(key)
        owner = next(a for a in both if f"-{a.process.pid}-" in before["owner"])
        other = next(a for a in both if a is not owner)
        workers = site.workers()
        owner.kill()
        site.until(lambda: f"-{other.process.pid}-" in client.hgetall(key).get("owner", ""))
        after = client.hgetall(key)
    assert int(after["epoch"]) > int(before["epoch"])
    assert site.declared()["epoch"] == int(after["epoch"])
    assert site.workers() == workers
    claims, samples = _tape(site)
    assert [claim.owner for _, claim in claims][-1] == after["owner"]
    # Nobody samples but the owner, a tick apart; only the first of a new owner comes at once.
    gaps = [b.at_s - a.at_s for a, b in itertools.pairwise(samples)]
    assert len(gaps) > 8
    assert sum(gap < 0.6 for gap in gaps) <= len(claims), gaps
    assert other.stop() == 0


def test_a_killed_autoscaler_comes_back_to_its_fleet(site: Site) -> None:
    """Workers outlive SIGKILL and SIGTERM of the autoscaler, are adopted, and end with it only when asked."""
    first = site.start()
    site.until(lambda: len(site.workers()) == 1)
    workers = site.workers()
    first.kill()
    second = site.start()
    site.until(lambda: second.events("autoscaler.decision") or second.events("actuator.declared"))
    assert site.workers() == workers
    assert second.events("autoscaler.replayed")[0]["records"] > 0
    health = site.root / "state/health/autoscaler.json"
    site.until(lambda: json.loads(health.read_text())["state"] == "owner")
    # Replaced and not written over: half a sign of life is none to a health check.
    written = health.stat().st_ino
    site.until(lambda: health.stat().st_ino != written)
    address = second.events("autoscaler.endpoint")[0]["address"]
    site.until(lambda: f'penstock_workers_declared{{pipeline="{site.pipeline}",type="cpu"}} 1.0' in _scraped(address))
    assert second.stop() == 0
    assert site.workers() == workers
    third = site.start(stop_workers_on_exit=True)
    site.until(lambda: third.events("autoscaler.owner"))
    assert third.stop() == 0
    assert site.workers() == set()


def _scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_decisions_go_on_without_redis_and_are_written_later(
    tmp_path: Path, kafka_settings: KafkaSettings, pipeline: str
) -> None:
    """With Redis stopped a load still grows the fleet; when Redis is back it learns of each decision, once."""
    port = pick(None, "port", last=0, avoid=frozenset())
    node = RedisNode(tmp_path / "redis", port, "s3cret", redis_executable())
    node.configure()
    server = node.start()
    site = Site(tmp_path, kafka_settings, pipeline, node.url)
    site.until(node.ready)
    try:
        autoscaler = site.start()
        site.until(lambda: autoscaler.events("redis.connected") and len(site.workers()) == 1)
        server.stop(timeout_s=10)
        site.until(lambda: autoscaler.events("redis.away"))
        with _load(site):
            site.until(lambda: site.declared()["fleet"]["cpu"] >= 3 and len(site.workers()) >= 3)
        server = node.start()
        site.until(node.ready)
        with redis.Redis.from_url(node.url, decode_responses=True) as client:
            key = f"penstock:{pipeline}:decisions"

            def actions() -> list[str]:
                return [str(fields["action"]) for _, fields in client.xrange(key)]

            site.until(lambda: "scale-up" in actions() and actions()[-1] == "hold")
            seen = [fields["at_s"] for _, fields in client.xrange(key)]
            assert seen == sorted(set(seen), key=float)
            client.hset(f"penstock:{pipeline}:control", "max", "1")
            site.until(lambda: site.declared()["fleet"]["cpu"] == 1)
            site.until(lambda: len(site.workers()) == 1)
        assert autoscaler.stop() == 0
    finally:
        site.close()
        server.stop(timeout_s=10)


@contextlib.contextmanager
def _load(site: Site) -> Iterator[None]:
    """About 300 requests a second until the block ends."""
    program = (
        "import sys,time\nfrom streams.kafka import KafkaSettings, new_producer\n"
        "p = new_producer(KafkaSettings(sys.argv[1]), 'load')\n"
        "i = 0\nwhile True:\n    for _ in range(30):\n        p.send(sys.argv[2], key=b'%d' % i, value=b'{}'); i += 1\n"
        "    time.sleep(0.1)\n"
    )
    argv = [sys.executable, "-c", program, site.kafka.servers[0], topics.requests(site.pipeline)]
    with subprocess.Popen(argv) as process:
        try:
            yield
        finally:
            process.kill()


def _tape(site: Site) -> tuple[list[tuple[int, Claim]], list[ArrivalSample]]:
    """Claims with their offsets, and samples, of this pipeline."""
    with Admin(site.kafka, "test") as admin:
        ends = admin.end_offsets(topics.TELEMETRY)
    reader = new_reader(site.kafka, [topics.TELEMETRY], from_="earliest")
    claims, samples, seen = [], [], 0
    try:
        end = time.monotonic() + 20
        while seen < sum(ends.values()):
            assert time.monotonic() < end
            for records in reader.poll(timeout_ms=200).values():
                for record in records:
                    seen += 1
                    if record.key == site.pipeline.encode():
                        entry = telemetry.decode(record.value)
                        if isinstance(entry, Claim):
                            claims.append((record.offset, entry))
                        elif isinstance(entry, ArrivalSample):
                            samples.append(entry)
    finally:
        reader.close(autocommit=False)
    return claims, samples
