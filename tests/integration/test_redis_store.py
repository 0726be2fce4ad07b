"""The metrics store on a real Redis-protocol server, which is stopped and started under it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest
import redis

from autoscaler.errors import StoreUnavailable
from autoscaler.model import (
    Action,
    ArrivalSample,
    Control,
    Decision,
    FleetStatus,
    Observation,
    Rates,
    WorkerReport,
    WorkerState,
)
from autoscaler.redis_store import MetricsStore, StoreSettings
from penstock.local.ports import pick
from penstock.local.redis_node import RedisNode, redis_executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from penstock.local.process import ProcessRef

pytestmark = pytest.mark.services

AT_S = 1_700_000_000.0
SETTINGS = StoreSettings(timeout_s=0.2, interval_s=0.02, buffer_entries=50)


class Server:
    """A server of this test's own, which may be stopped."""

    def __init__(self, directory: Path) -> None:
        port = pick(None, "port", last=0, avoid=frozenset())
        self.node = RedisNode(directory, port, "s3cret", redis_executable())
        self.node.configure()
        self.process: ProcessRef | None = None
        self.start()

    def start(self) -> None:
        """Start it on the same port."""
        self.process = self.node.start()
        until(self.node.ready)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop(timeout_s=10)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own."""
    server = Server(tmp_path)
    yield server
    server.stop()


def client_of(url: str) -> redis.Redis:
    """A plain client, as another program has it."""
    return redis.Redis.from_url(url, decode_responses=True)


def until(condition: Callable[[], object], deadline_s: float = 10) -> None:
    """Wait until it is so."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def record(store: MetricsStore, tick: int, *, name: str = "a") -> None:
    """One tick of an imagined pipeline."""
    at_s = AT_S + tick
    rates = Rates(at_s, 40.0 + tick, 40.0, None, {}, None, None, None)
    report = WorkerReport(
        pipeline="p",
        worker="p-cpu-0",
        worker_type="cpu",
        device="cpu",
        at_s=at_s,
        pid=1,
        host="h",
        state=WorkerState.READY,
        asked_at_s=at_s,
        ready_at_s=at_s,
        partitions=(0,),
        batches=1,
        rows=1,
        ok=1,
        failed=0,
        expired=0,
        busy_s=0.1,
        curve=None,
        latency_counts=(),
        rebalances=0,
        retraces=0,
        model_version="1",
    )
    fleet = FleetStatus({"cpu": 1}, {"cpu": 1})
    observation = Observation("p", at_s, 1, rates, {0: tick}, fleet, Control(), reports={"p-cpu-0": report})
    decision = Decision(
        pipeline="p",
        at_s=at_s,
        action=Action.HOLD,
        fleet={"cpu": 1},
        reason=f"tick {tick}",
        bound="plan",
        plan=None,
        forecast=None,
        runner_up=None,
        runner_up_price_per_hour=None,
        price_per_hour=0.1,
        advisory=False,
    )
    sample = ArrivalSample("p", at_s, {0: 100 + tick}, {0: 100})
    store.record(sample, observation, decision, {"owner": name, "epoch": 3})


def test_a_tick_is_written_and_control_is_read(redis_url: str, pipeline: str) -> None:
    """All keys hold what was recorded; what a person writes is there at the next look."""
    store = MetricsStore(redis_url, pipeline, SETTINGS)
    store.start()
    with client_of(redis_url) as client:
        prefix = f"penstock:{pipeline}:"
        until(lambda: store.control() == Control())
        record(store, 0)
        record(store, 1)
        until(lambda: client.xlen(prefix + "decisions") == 2)
        until(lambda: client.hget(prefix + "metrics", "rate_1s_per_s") == "41.0")
        # Written after the metrics, in a command of its own.
        until(lambda: client.hkeys(prefix + "workers") == ["p-cpu-0"])
        assert [fields["reason"] for _, fields in client.xrange(prefix + "decisions")] == ["tick 0", "tick 1"]
        assert client.xrange(prefix + "rates")[0][0] == "1700000000000-0"
        client.hset(prefix + "control", mapping={"max": "3", "paused": "perhaps"})
        until(lambda: store.control() == Control(max_workers=3))
        assert "paused='perhaps'" in store.control_problems()[0]
        client.delete(prefix + "control")
        until(lambda: store.control() == Control())
    store.close()
    again = MetricsStore(redis_url, pipeline, SETTINGS)
    assert [(point.at_s, point.per_s) for point in again.recent_rates(60)] == [(AT_S, 40.0), (AT_S + 1, 41.0)]
    assert [point.at_s for point in again.recent_rates(0.5)] == [AT_S + 1]
    again.close()


def test_what_was_missed_is_written_once_and_in_order(server: Server) -> None:
    """While the server is away ticks return at once; when it is back every entry is there, once, in order."""
    store = MetricsStore(server.node.url, "p", SETTINGS)
    store.start()
    with client_of(server.node.url) as client:
        client.hset("penstock:p:control", "max", "3")
        record(store, 0)
        until(lambda: client.xlen("penstock:p:decisions") == 1 and store.control() is not None)
        server.stop()
        until(lambda: store.health().connected is False)
        began_s = time.monotonic()
        for tick in range(1, 31):
            record(store, tick)
        assert time.monotonic() - began_s < 0.2
        assert store.control() == Control(max_workers=3)
        assert store.health().waiting == 60
        server.start()
        until(lambda: store.health().waiting == 0)
        reasons = [fields["reason"] for _, fields in client.xrange("penstock:p:decisions")]
        assert reasons[-30:] == [f"tick {tick}" for tick in range(1, 31)]
        assert len(set(reasons)) == len(reasons)
    store.close()


def test_a_write_whose_answer_was_lost_is_not_doubled(server: Server) -> None:
    """An entry taken although the connection broke is recognised; a foreign entry ahead of ours hides nothing."""
    store = MetricsStore(server.node.url, "p", SETTINGS)
    record(store, 0)
    record(store, 1)
    with client_of(server.node.url) as client:
        first = store._streams["decisions"].waiting[0]
        client.xadd("penstock:p:decisions", first.fields, id=first.id)
        client.xadd("penstock:p:decisions", {"reason": "foreign"}, id="1800000000000-0")
        store.start()
        until(lambda: store.health().waiting == 0)
        reasons = [fields["reason"] for _, fields in client.xrange("penstock:p:decisions")]
    store.close()
    assert reasons == ["tick 0", "foreign", "tick 1"]


def test_the_buffer_is_bounded() -> None:
    """A server that never comes costs the buffer and no more; the newest entries are kept, the loss is counted."""
    store = MetricsStore("redis://127.0.0.1:9/0", "p", SETTINGS)
    store.start()
    for tick in range(200):
        record(store, tick)
    assert store.health().waiting == 100
    assert store.health().dropped == 300
    assert store._streams["rates"].waiting[-1].fields["at_s"] == repr(AT_S + 199)
    with pytest.raises(StoreUnavailable, match="history"):
        store.recent_rates(60)
    store.close()


def test_streams_are_trimmed(redis_url: str, pipeline: str) -> None:
    """A stream keeps about its length; trimming is by whole nodes of 100 entries."""
    settings = dataclasses.replace(SETTINGS, decisions_entries=100, buffer_entries=1000)
    store = MetricsStore(redis_url, pipeline, settings)
    for tick in range(900):
        record(store, tick)
    store.start()
    until(lambda: store.health().waiting == 0)
    with client_of(redis_url) as client:
        assert 100 <= client.xlen(f"penstock:{pipeline}:decisions") <= 200
    store.close()


def test_without_a_redis_nothing_is_kept() -> None:
    """No URL is a choice: recording, control and history are there and empty."""
    store = MetricsStore(None, "p")
    store.start()
    record(store, 0)
    assert store.control() is None
    assert store.health().connected is None
    assert store.recent_rates(60) == ()
    store.close()


def test_a_bad_url_is_an_error_without_the_password() -> None:
    """The message says what to write and does not repeat the URL."""
    with pytest.raises(ValueError, match="redis_url") as caught:
        MetricsStore("http://user:hush@host", "p")
    assert "hush" not in str(caught.value)


def test_what_the_policy_remembers_is_kept_and_recalled(server: Server) -> None:
    """The newest wins; nothing kept is None, also after it was deleted; a server that is away is an error."""
    store = MetricsStore(server.node.url, "p", SETTINGS)
    assert store.recall() is None
    store.start()
    try:
        store.remember(lambda: "old")
        until(lambda: store.recall() == "old")

        def cannot() -> str:
            raise ValueError("no words for it")

        store.remember(cannot)
        store.remember(lambda: "new")
        until(lambda: store.recall() == "new")
        client_of(server.node.url).delete("penstock:p:memory")
        assert store.recall() is None
        server.stop()
        with pytest.raises(StoreUnavailable, match="memory cannot be read"):
            store.recall()
    finally:
        store.close()
