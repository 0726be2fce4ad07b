"""The fault matrix itself: short runs on the session's Kafka as on a user's cluster, and proof that it can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from penstock.verify.arena import Arena, Given
from penstock.verify.faults import Facts, Fault
from penstock.verify.report import clean, row
from penstock.verify.runner import Outcome, Plan, run
from streams import topics
from streams.kafka import Admin, new_producer, new_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from penstock.template_launcher import TemplateLauncher
    from penstock.verify.stage import Stage
    from streams.kafka import KafkaSettings

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


@pytest.fixture
def arena(
    kafka_settings: KafkaSettings, tmp_path: Path, template: TemplateLauncher, doubling_model: Path
) -> Iterator[Arena]:
    """The session's Kafka, as if it were somebody's own."""
    worker = {"session_timeout_ms": 6000, "transaction_timeout_ms": 6000}
    given = Given(kafka=kafka_settings, worker=worker)
    with Arena(given, tmp_path / "logs", launcher=template, model_dir=doubling_model) as entered:
        yield entered


def test_a_killed_worker_and_a_rebalance_storm_leave_a_clean_ledger(
    arena: Arena, kafka_settings: KafkaSettings
) -> None:
    """Each request has one right result in its place; the times are measured; no topic of it is left."""
    plan = Plan(("sigkill", "rebalance-storm", "broker-restart"), runs=1, seconds=3, rate=160, seed=3)
    rows = {found.fault: row(found, plan, {}) for found in run(plan, arena)}
    assert rows["broker-restart"]["not_run"], "these brokers are not ours to stop"
    for name in ("sigkill", "rebalance-storm"):
        found = rows[name]
        assert clean(found), found
        assert found["ok"] == found["sent"] > 300, found
        assert 0 < found["unavailable_s"] < 60, found
    assert rows["sigkill"]["recovery_s"] < 30
    assert rows["sigkill"]["replacement_ready_s"] < 60
    with Admin(kafka_settings, "test-verify") as admin:
        assert admin.partitions(topics.requests(f"verify-{arena.session}-sigkill")) is None


class Forgery(Fault):
    """Copies one result, and adds one for which nobody asked."""

    name = "forgery"
    words = "a result is written twice"
    workers: ClassVar[int] = 1

    def strike(self, stage: Stage, random: Random) -> Facts:  # noqa: ARG002 - see the base
        """Read one result, write it again."""
        topic = topics.results(stage.pipeline)
        stage.healed(0.0)
        reader = new_reader(stage.kafka, [topic], from_="earliest")
        while not (polled := reader.poll(200)):
            pass
        reader.close(autocommit=False)
        ((record, *_), *_) = polled.values()
        producer = new_producer(stage.kafka, "test-forger")
        for headers in (record.headers, [(k, b"nobody" if k == "request-id" else v) for k, v in record.headers]):
            producer.send(topic, value=record.value, key=record.key, headers=headers, partition=record.partition)
        producer.close()
        return {}


def test_a_duplicate_and_a_stranger_are_caught(arena: Arena) -> None:
    """What is written behind the workers' back shows up by kind and id, and the row is red."""
    plan = Plan(("forgery",), runs=1, seconds=3, rate=80, seed=3)
    (found,) = (row(one, plan, {}) for one in run(plan, arena, kinds={"forgery": Forgery}))
    assert (found["duplicated"], found["unknown"], found["lost"]) == (1, 1, 0), found
    assert found["examples"]["unknown"] == ["nobody"]
    assert not clean(found)


class Refusal(Fault):
    """Ends the workers for good and starts none: nobody answers any more."""

    name = "refusal"
    words = "the workers are gone"
    workers: ClassVar[int] = 1

    def strike(self, stage: Stage, random: Random) -> Facts:  # noqa: ARG002 - see the base
        """Kill, and say that all is well."""
        for worker in stage.fleet.workers:
            stage.fleet.kill(worker)
        return {}


def test_what_is_not_answered_in_time_is_caught(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers that are gone the rest of the load has no result by the deadline, and their end is noted.

    The workers that replace them after the run answer it: too late, which is told from never.
    """
    monkeypatch.setattr("penstock.verify.runner.DRAIN_S", 1.0)
    plan = Plan(("refusal",), runs=1, seconds=3, rate=80, seed=3)
    (outcome,) = run(plan, arena, kinds={"refusal": Refusal})
    assert isinstance(outcome, Outcome)
    found = row(outcome, plan, {})
    assert found["workers_died"] == 1
    assert found["lost"] + found["late"] > 50, found
    assert not clean(found)
