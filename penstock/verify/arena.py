"""Where faults happen: services, model and worker template, started once and shared by many runs."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscaler.actuators.launchers import SubprocessLauncher
from penstock.local.cluster import LocalCluster
from penstock.local.services import java_with_kafka
from penstock.template_launcher import TemplateLauncher
from penstock.verify import model, toml
from penstock.verify.fleet import Fleet
from penstock.verify.load import Watch
from penstock.verify.redis_server import RedisServer
from penstock.verify.shifted_clock import set_offset
from penstock.verify.stage import Stage
from streams import topics
from streams.kafka import Admin, KafkaSettings, TopicSpec
from streams.topics import TopicSettings, topic_specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.verify.faults import Fault

#: Partitions of each pipeline: some for every worker, few enough to see each of them often.
PARTITIONS = 8
#: The least session time-out that brokers take, in milliseconds: what waits for it is waited for in each run.
SESSION_TIMEOUT_MS = 6_000
#: Seconds for which questions to a broker that was away are asked again: its log's end is not known at once.
_PATIENT_S = 60.0
#: A frozen worker's open transaction hides the results behind it for as long, in milliseconds.
TRANSACTION_TIMEOUT_MS = 6_000


@dataclass(frozen=True, slots=True)
class Given:
    """What a user brings along instead of what is embedded."""

    #: Their cluster; `None` = embedded nodes.
    kafka: KafkaSettings | None = None
    #: Their worker settings, by field; empty = ours.
    worker: dict[str, Any] = field(default_factory=dict)
    replication_factor: int = 1
    min_in_sync: int = 1


class Arena:
    """Starts what a fault needs when it is first needed. A context manager; it leaves nothing behind.

    Args:
        given: the user's own cluster and settings.
        logs: directory for the workers' logs.
        launcher: a template that runs already; `None` = one is started.
        model_dir: a y = 2 x model that is there already; `None` = one is made.

    Attributes:
        session: part of all names, so that two verifications do not meet.
    """

    def __init__(
        self, given: Given, logs: Path, *, launcher: TemplateLauncher | None = None, model_dir: Path | None = None
    ) -> None:
        self._given, self._logs, self._ready_launcher, self._ready_model = given, logs, launcher, model_dir
        self.session = uuid.uuid4().hex[:6]
        self._stack = contextlib.ExitStack()
        self._cluster: LocalCluster | None = None
        self._clusters = 0
        self._directory: Path
        self._model: Path
        self._launcher: TemplateLauncher

    def __enter__(self) -> Arena:  # noqa: PYI034 - not meant to be subclassed
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-verify-"))
            self._directory = Path(made)
            if self._ready_launcher is None:
                self._launcher = TemplateLauncher(SubprocessLauncher())
                stack.callback(self._launcher.close)
                self._launcher.start(self._logs / "template.log")
            else:
                self._launcher = self._ready_launcher
            self._model = self._ready_model or model.build(self._directory)
            stack.callback(self._end_cluster)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def refuses(self, fault: type[Fault]) -> str | None:
        """Why a fault cannot be tried here; `None` = it can."""
        if fault.nodes and self._given.kafka is not None:
            return "it stops brokers, and these are not ours to stop: leave --bootstrap out to try it on embedded ones"
        return None

    @contextlib.contextmanager
    def stage(self, fault: Fault) -> Iterator[Stage]:
        """A pipeline of its own for a fault, with its workers ready; its topics are deleted afterwards."""
        pipeline = f"verify-{self.session}-{fault.name}"
        directory = self._directory / fault.name
        directory.mkdir()
        cluster = self._cluster_of(fault)
        kafka = self._given.kafka or KafkaSettings(bootstrap_servers=cluster.bootstrap if cluster else "")
        with contextlib.ExitStack() as stack:
            redis = None
            if fault.redis:
                redis = RedisServer(directory / "redis")
                stack.callback(redis.kill)
                redis.start()
            admin = stack.enter_context(Admin(kafka, f"{pipeline}-admin", retry_s=_PATIENT_S))
            created = admin.create_topics(self._topics(pipeline, fault))
            stack.callback(admin.delete_topics, created)
            config = directory / "penstock.toml"
            config.touch(mode=0o600)
            config.write_text(toml.dumps(self._settings(pipeline, kafka, redis)), encoding="utf-8")
            clock = directory / "clock" if fault.clock else None
            if clock is not None:
                set_offset(clock, 0.0)
            fleet = Fleet(config, self._launcher, self._logs, clock=clock)
            stack.callback(fleet.end)
            for worker in [fleet.start(f"{pipeline}-{number}") for number in range(fault.workers)]:
                fleet.wait_ready(worker)
            watch = Watch(kafka, pipeline)
            stack.callback(watch.stop)
            stage = Stage(
                self.session,
                pipeline,
                PARTITIONS,
                kafka,
                admin,
                fleet,
                watch,
                directory,
                config,
                cluster,
                redis,
                clock,
            )
            stack.callback(fault.finish, stage)
            fault.prepare(stage)
            stage.until(stage.settled, "the workers own all partitions")
            yield stage

    def _topics(self, pipeline: str, fault: Fault) -> dict[str, TopicSpec]:
        copies, in_sync = self._given.replication_factor, self._given.min_in_sync
        if self._given.kafka is None and fault.nodes > 1:
            copies, in_sync = fault.nodes, fault.nodes - 1
        settings = TopicSettings(partitions=PARTITIONS, replication_factor=copies, min_in_sync=in_sync)
        specs = topic_specs(pipeline, settings)
        changes = {topics.requests(pipeline): fault.requests_config, topics.results(pipeline): fault.results_config}
        for name, changed in changes.items():
            specs[name] = dataclasses.replace(specs[name], config={**specs[name].config, **changed})
        return specs

    def _settings(self, pipeline: str, kafka: KafkaSettings, redis: RedisServer | None) -> dict[str, Any]:
        ours = {
            "session_timeout_ms": SESSION_TIMEOUT_MS,
            "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
        }
        tree: dict[str, Any] = {
            "pipeline": {"name": pipeline, "model": str(self._model)},
            "state_dir": "state",
            "topics": {"partitions": PARTITIONS},
            "kafka": {
                each.name: value
                for each in dataclasses.fields(kafka)
                if (value := getattr(kafka, each.name)) is not None
            },
            "worker": self._given.worker or ours,
        }
        if redis is not None:
            tree["redis"] = {"url_file": str(redis.url_file)}
        return tree

    def _cluster_of(self, fault: Fault) -> LocalCluster | None:
        """Embedded nodes in the number that the fault takes; one cluster at a time, for the machine's sake."""
        if self._given.kafka is not None:
            return None
        nodes = max(fault.nodes, 1)
        if self._cluster is not None and len(self._cluster.node_ids) != nodes:
            self._end_cluster()
        if self._cluster is None:
            self._clusters += 1
            folder = self._directory / f"kafka-{self._clusters}"
            folder.mkdir()
            self._cluster = LocalCluster.start(folder, java_with_kafka(), nodes=nodes)
        return self._cluster

    def _end_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None
