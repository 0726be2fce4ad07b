"""The autoscaler as a process: the Faust agent, one pipeline's controller, and a clean end.

penstock.telemetry -> Faust agent -> PipelineController -> actuator
|         ^
samples -------+         +---- Redis `control`; metrics and decisions -> Redis
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autoscaler.actuators.advisory import AdvisoryActuator
from autoscaler.actuators.base import ActuatorSettings
from autoscaler.actuators.processes import ProcessActuator
from autoscaler.model import Objective, WorkerType
from autoscaler.policies import registry
from autoscaler.redis_store import MetricsStore, StoreSettings
from autoscaler.settings import PolicySettings
from penstock.autoscaler_metrics import DecisionCollector, served
from penstock.autoscaler_settings import AutoscalerSettings
from penstock.membership import Member
from penstock.pipeline_controller import PipelineController
from penstock.policy_runner import OWN
from penstock.shadows import Shadows
from streams import agent, topics
from streams.errors import KafkaFailure
from streams.kafka import KafkaSettings  # noqa: TC001 - settings are composed at run time from annotations
from streams.telemetry_link import TelemetryLink
from streams.topics import TopicSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.actuators.base import Actuator, Launcher

log = logging.getLogger(__name__)

#: Seconds between two starts of the agent after it failed: the first at once, then doubling.
_RESTART_S, _RESTART_MAX_S = 0.5, 10.0


@dataclass(frozen=True, slots=True)
class AutoscalerProcessSettings:
    """All that one autoscaler process needs to know."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Name of the pipeline.
    pipeline: str
    kafka: KafkaSettings
    #: The worker's command line; `{slot}` and `{type}` are filled in.
    worker_argv: tuple[str, ...]
    #: Holds the fleet's files, the workers' locks and their logs; one host's.
    state_dir: str
    #: `None` = no Redis: metrics are not published, `control` is not obeyed.
    redis_url: str | None = field(default=None, repr=False)
    objective: Objective = field(default_factory=Objective)
    worker_types: tuple[WorkerType, ...] = (WorkerType(),)
    policy: PolicySettings = field(default_factory=PolicySettings)
    #: Which policy decides: `NAME` or `NAME:parameter=value,...`.
    rule: str = OWN
    #: Policies that decide beside it and are not obeyed.
    shadows: tuple[str, ...] = ()
    topics: TopicSettings = field(default_factory=TopicSettings)
    #: `processes` = workers of this host; `advisory` = say only.
    actuator: Literal["processes", "advisory"] = "processes"
    processes: ActuatorSettings = field(default_factory=ActuatorSettings)
    redis: StoreSettings = field(default_factory=StoreSettings)
    #: Whether the workers end with this process, if it is the last one of this pipeline here. Off: the death of an
    #: autoscaler stops no worker.
    stop_workers_on_exit: bool = False
    #: The port for metrics and probes.
    endpoint: AutoscalerSettings = field(default_factory=AutoscalerSettings)

    def __post_init__(self) -> None:
        topics.validate_pipeline_name(self.pipeline)
        if self.actuator not in ("processes", "advisory"):
            raise ValueError(f"actuator={self.actuator!r}: must be processes or advisory")
        if self.actuator == "processes" and not any("{slot}" in part for part in self.worker_argv):
            raise ValueError(
                f"worker_argv={self.worker_argv!r}: must name {{slot}}, or all workers would join under one name"
            )
        for rule in (self.rule, *self.shadows):
            registry.named(rule, self.objective, self.policy)
        names = [kind.name for kind in self.worker_types]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"worker_types={names}: name at least one, and none twice")


def run(settings: AutoscalerProcessSettings, launcher: Launcher | None = None) -> None:
    """Scale the pipeline until SIGTERM or SIGINT.

    Args:
        settings: All there is to know.
        launcher: Starts workers; as children of this process by default.

    Raises:
        PenstockError: the state directory cannot be used.
        ValueError: the Redis URL is none.
    """
    asyncio.run(_main(settings, launcher))


async def _main(settings: AutoscalerProcessSettings, launcher: Launcher | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop, launcher)


async def serve(settings: AutoscalerProcessSettings, stop: asyncio.Event, launcher: Launcher | None = None) -> None:
    """Scale the pipeline until `stop` is set; see `run`."""
    state_dir = Path(settings.state_dir)
    member = Member(state_dir, settings.pipeline)
    process = _Process(settings, member, launcher)
    process.store.start()
    process.controller.warm_up()
    log.info("autoscaler.started", extra={"pipeline": settings.pipeline, "member": member.name, "pid": os.getpid()})
    ticking = asyncio.create_task(process.controller.run(), name="ticks")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        with served(settings.endpoint, process.decisions, process.controller.ticked_s_ago):
            await _until(stopping, process.controller.prepared())
            await _keep_agent(process, stopping)
    finally:
        ticking.cancel()
        stopping.cancel()
        await process.end(stop_workers=settings.stop_workers_on_exit and member.alone())
        member.release()
        log.info("autoscaler.stopped", extra={"pipeline": settings.pipeline, "member": member.name})


class _Process:
    """The parts, wired."""

    def __init__(self, settings: AutoscalerProcessSettings, member: Member, launcher: Launcher | None) -> None:
        self.settings = settings
        self.member = member
        self.group = topics.group(settings.pipeline)
        self.store = MetricsStore(settings.redis_url, settings.pipeline, settings.redis)
        self.link = TelemetryLink(settings.kafka, settings.pipeline, settings.topics)
        # What the fleet's thread asks of Kafka must not wait behind a sample.
        self.members_link = TelemetryLink(settings.kafka, settings.pipeline, settings.topics)
        self.shadows = Shadows(settings.shadows, settings.objective, settings.policy, self.store)
        self.decisions = DecisionCollector(settings.pipeline, shadows=self.shadows.standings)
        self.controller = PipelineController(
            pipeline=settings.pipeline,
            owner=f"{member.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            policy=settings.policy,
            worker_types=settings.worker_types,
            objective=settings.objective,
            link=self.link,
            actuator=self._actuator(launcher),
            store=self.store,
            health_file=Path(settings.state_dir) / "health" / "autoscaler.json",
            rule=settings.rule,
            shadows=self.shadows,
            on_decision=self.decisions.decided,
        )

    def _actuator(self, launcher: Launcher | None) -> Actuator:
        settings = self.settings
        if settings.actuator == "advisory":
            return AdvisoryActuator(settings.pipeline, self._running)
        return ProcessActuator(
            settings.pipeline,
            Path(settings.state_dir),
            settings.worker_argv,
            settings=settings.processes,
            launcher=launcher,
            on_removed=lambda slot: self.members_link.remove_members(self.group, [slot]),
        )

    def _running(self) -> Mapping[str, int]:
        return self.controller.running()

    def app(self) -> Any:
        """A Faust app that feeds the controller."""
        settings = self.settings
        return agent.build_app(
            settings.kafka,
            pipeline=settings.pipeline,
            instance=self.member.name,
            data_dir=Path(settings.state_dir) / "autoscaler" / f"faust-{self.member.name}",
            on_record=self.controller.record,
            on_owned=self.controller.owned,
            on_lost=self.controller.lost,
        )

    async def end(self, *, stop_workers: bool) -> None:
        """Leave the group, let go of everything; workers go on unless told otherwise."""
        with contextlib.suppress(KafkaFailure):
            # A static member that only closes keeps its partitions until the session times out.
            await self.controller.in_kafka_thread(
                self.link.remove_members, agent.group(self.settings.pipeline), [self.member.name]
            )
        await self.controller.stop(stop_workers=stop_workers)
        self.shadows.close()
        self.store.close()
        self.link.close()
        self.members_link.close()


async def _keep_agent(process: _Process, stopping: asyncio.Task[Any]) -> None:
    """Run the agent; one that fails, as when the broker is away at its start, is built anew."""
    pause_s = _RESTART_S
    while not stopping.done():
        app = process.app()
        began_s = asyncio.get_running_loop().time()
        try:
            await _until(stopping, app.start())
            if not stopping.done():
                await _until(stopping, app.wait_until_stopped())
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the fleet is kept and the agent restarted
            log.warning("agent.failed", extra={"error": f"{type(error).__name__}: {error}"})
        finally:
            await app.stop()
            process.controller.lost_all()
        if stopping.done():
            return
        if asyncio.get_running_loop().time() - began_s > _RESTART_MAX_S:
            pause_s = _RESTART_S
        log.warning("agent.restarts", extra={"crashed": repr(app.crash_reason), "pause_s": pause_s})
        await asyncio.wait({stopping}, timeout=pause_s)
        pause_s = min(_RESTART_MAX_S, pause_s * 2)


async def _until(stopping: asyncio.Task[Any], work: Any) -> None:
    """Await `work`, or drop it when told to stop. What it raises is raised."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
