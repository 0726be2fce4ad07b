"""`penstock explain` on decisions that the autoscaler's store has written to a real Redis."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

import pytest
import redis

from autoscaler.model import ArrivalSample, FleetStatus, Objective, ServiceCurve, WorkerType
from autoscaler.pipeline_state import PipelineState
from autoscaler.policies import registry
from autoscaler.redis_store import MetricsStore, StoreSettings
from autoscaler.settings import PolicySettings
from penstock.cli.main import run
from penstock.deciding import Look
from penstock.shadows import Shadows

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.services

AT_S = 1_795_612_300.0
CPU = WorkerType("cpu", "emulated", 0.1, 1, 8, ServiceCurve(0.02, 0.02, 8), 3.0)


@pytest.fixture
def pipeline() -> str:
    """A pipeline of this test's own."""
    return f"explain-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def config(tmp_path: Path, pipeline: str, redis_url: str) -> Path:
    """Its settings."""
    path = tmp_path / "penstock.toml"
    path.write_text(
        f'[pipeline]\nname = "{pipeline}"\nmodel = "models/digits"\n[redis]\nurl = "{redis_url}"\n', encoding="utf-8"
    )
    return path


def decided(pipeline: str, redis_url: str, seconds: int, shadow: tuple[str, ...] = ()) -> None:
    """So many seconds of 20/s that become 100/s in the 30th, decided on by the product's policy, and written."""
    store = MetricsStore(redis_url, pipeline, StoreSettings(interval_s=0.02))
    store.start()
    settings = PolicySettings()
    known, policy = (
        PipelineState(pipeline, settings, (CPU,)),
        registry.build("penstock", Objective(1.0, 0.99), settings),
    )
    shadows = Shadows(shadow, Objective(1.0, 0.99), settings, store)
    state, total, declared = policy.initial(), 0, 1
    for second in range(seconds):
        total += 20 if second < 30 else 100
        at_s = AT_S + second
        ends = {p: total // 4 + (p < total % 4) for p in range(4)}
        status = FleetStatus({"cpu": declared}, {"cpu": declared})
        sample = ArrivalSample(pipeline, at_s, ends, dict(ends), status)
        known.apply(sample, second)
        observation = known.observe(at_s)
        decision, state = policy.decide(observation, known.worker_types(), state)
        declared = decision.fleet["cpu"]
        store.record(sample, observation, decision, {"objective_within_s": 1.0, "objective_share": 0.99, "owner": "me"})
        shadows.watch(Look(sample, observation, known.worker_types()), decision)
        shadows._thread.submit(lambda: None).result()
    shadows.close()
    deadline_s = time.monotonic() + 10
    while store.health().waiting:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    store.close()


def test_the_newest_decision_and_one_of_a_time_are_told(
    pipeline: str, config: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, and as an object; the step of second 30 is found by its time."""
    decided(pipeline, redis_url, 45)
    assert run(["explain", "--config", str(config)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Decided" in out
    assert "Objective 0.99 of the requests within 1 s" in out
    assert "Runner-up" in out

    assert run(["explain", "--config", str(config), "--json"]) == 0
    newest = json.loads(capsys.readouterr().out)
    assert (newest["pipeline"], newest["at_s"]) == (pipeline, AT_S + 44)
    assert newest["seen"]["rate_1s_per_s"] == pytest.approx(100.0)
    assert newest["fleet"]["cpu"] > 1
    assert newest["runner_up"]["price_per_hour"] == pytest.approx(
        newest["price_per_hour"] + newest["runner_up"]["dearer_per_hour"]
    )
    assert newest["words"]["Seen"].startswith("100.0/s in the last second")

    # 13:12:05.4 UTC of that day is between the seconds 25 and 26, before the step.
    assert run(["explain", "--config", str(config), "--json", "--at", "2026-11-25T13:12:05.400Z"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert (before["at_s"], before["fleet"]["cpu"]) == (AT_S + 25, 1)


def test_a_shadow_is_told_beside_the_policy_in_charge(
    pipeline: str, config: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its newest decision and one of a time, its hash for dashboards; and its absence, in the usual way."""
    name = "static:workers=2"
    assert run(["explain", "--config", str(config), "--shadow", name]) == 1
    assert f"the shadow {name} of {pipeline} has no decisions in Redis" in capsys.readouterr().err
    decided(pipeline, redis_url, 45, (name, "keda"))
    assert run(["explain", "--config", str(config), "--shadow", name]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "in 45 decisions" in out or "of 45 decisions" in out
    assert run(["explain", "--config", str(config), "--shadow", name, "--json", "--at", "2026-11-25T13:12:05.4Z"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["at_s"], told["policy"], told["fleet"]) == (AT_S + 25, name, {"cpu": 2})
    assert told["beside"]["decisions"] == told["beside"]["differed"] == 26
    assert told["beside"]["live_fleet"] == {"cpu": 1}
    assert told["beside"]["cost"] == pytest.approx(25 * 0.2 / 3600, abs=1e-6)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        now = client.hgetall(f"penstock:{pipeline}:shadow:keda")
        assert client.xlen(f"penstock:{pipeline}:shadow:keda:decisions") == 45
    assert (now["policy"], now["shadow_decisions"]) == ("keda", "45")
    assert json.loads(now["live_fleet"])["cpu"] > 1


def test_a_time_before_all_that_is_kept_names_the_oldest(
    pipeline: str, config: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a pipeline without decisions says that there are none."""
    assert run(["explain", "--config", str(config)]) == 1
    assert "has no decisions in Redis" in capsys.readouterr().err
    decided(pipeline, redis_url, 3)
    assert run(["explain", "--config", str(config), "--at", "2020-01-01"]) == 1
    assert "the oldest is of 2026-11-25" in capsys.readouterr().err


def test_what_cannot_be_is_said_in_the_usual_way(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time that is none: exit code 2; no Redis in the settings: 64; Redis away: 69."""
    assert run(["explain", "--config", str(config), "--at", "whenever"]) == 2
    none = tmp_path / "none.toml"
    none.write_text('[pipeline]\nname = "p"\nmodel = "models/digits"\n', encoding="utf-8")
    assert run(["explain", "--config", str(none)]) == 64
    assert "names no Redis" in capsys.readouterr().err
    away = tmp_path / "away.toml"
    away.write_text(none.read_text(encoding="utf-8") + '[redis]\nurl = "redis://127.0.0.1:1/0"\n', encoding="utf-8")
    assert run(["explain", "--config", str(away)]) == 69
    assert "cannot be read from Redis" in capsys.readouterr().err
