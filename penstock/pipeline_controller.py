"""One pipeline's control loop in one process: own, sample, fold, decide, act, record.

All state belongs to the event loop; what blocks runs in three threads of one worker each, so that a forecast's fit
delays no sample, a broker that is away no restart of a worker, and Redis nothing at all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from autoscaler.errors import AutoscalerError, StaleDecider, StoreUnavailable
from autoscaler.forecasting import preload
from autoscaler.model import Action, ArrivalSample, Claim, Decided
from autoscaler.whole_file import write_whole
from penstock.deciding import Deciding, Remembered, fingerprint, replayed
from penstock.logs import RateLimit
from penstock.policy_runner import OWN
from streams import telemetry
from streams.errors import KafkaFailure, MalformedTelemetry, StreamsError
from streams.ownership import Ownership, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from autoscaler.actuators.base import Actuator
    from autoscaler.model import (
        Control,
        Decision,
        FleetStatus,
        Objective,
        Observation,
        TelemetryRecord,
        WorkerReport,
        WorkerType,
    )
    from autoscaler.redis_store import MetricsStore
    from autoscaler.settings import PolicySettings
    from penstock.deciding import Look
    from penstock.shadows import Shadows

log = logging.getLogger(__name__)
#: For what goes wrong at each tick while something is away.
trouble = logging.getLogger(f"{__name__}.trouble")
trouble.addFilter(RateLimit())

#: Records kept while the tape is being read again; more than arrive in that time.
_BUFFERED = 5_000
#: Decisions kept until a sample takes them along: a sample that fails is followed by no decision.
_UNSAID = 64
#: Seconds between two tries to claim while the broker is away.
_CLAIM_RETRY_S = 1.0
#: Seconds between two times that what the policy remembers is kept: about a megabyte, and what came after it is decided
#: again at a restart, a few milliseconds a decision.
_REMEMBER_S = 30.0


#: Decisions in a row that fail before the policy's memory is given up.
_FAILED_MOST = 5


class Link(Protocol):
    """What of `streams.telemetry_link.TelemetryLink` is needed. Blocking."""

    def prepare(self) -> int:
        """Create missing topics; the pipeline's telemetry partition."""

    def sample(self, fleet: FleetStatus | None, control: Control | None) -> ArrivalSample:
        """Where the pipeline stands."""

    def publish(self, record: TelemetryRecord) -> int:
        """Write a record; its offset."""

    def recent(self, since_s: float, until_offset: int) -> list[tuple[int, TelemetryRecord]]:
        """The tape since a moment, up to an offset."""


class PipelineController:
    """See the module. `owned`, `lost` and `record` are called by the agent, on the event loop.

    Args:
        pipeline: Its name.
        owner: Name of this process, another in each life.
        policy: How to look, and how Penstock's own policy decides.
        worker_types: What is assumed of workers.
        objective: What must hold.
        link: Ties to Kafka.
        actuator: Who obeys.
        store: Redis.
        health_file: Written anew at each tick: the sign of life that `penstock health` looks at. `None` = none.
        clock: Unix seconds.
        rule: Which policy decides, see `penstock.deciding.Deciding`.
        shadows: Policies that are asked too and not obeyed; `None` = none.
        on_decision: Told of each decision and what it was made from; quick, and raises nothing.
    """

    def __init__(
        self,
        *,
        pipeline: str,
        owner: str,
        policy: PolicySettings,
        worker_types: Sequence[WorkerType],
        objective: Objective,
        link: Link,
        actuator: Actuator,
        store: MetricsStore,
        health_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        rule: str = OWN,
        shadows: Shadows | None = None,
        on_decision: Callable[[Observation, Decision], None] = lambda _seen, _made: None,
    ) -> None:
        self._pipeline = pipeline
        self._key = pipeline.encode()
        self._owner = owner
        self._policy = policy
        self._worker_types = tuple(worker_types)
        self._objective = objective
        self._rule = rule
        self._shadows = shadows
        self._fingerprint = fingerprint(policy, worker_types, objective, rule)
        self._link = link
        self._actuator = actuator
        self._store = store
        self._health_file = health_file
        self._clock = clock
        self._on_decision = on_decision
        #: Monotonic seconds of the last tick.
        self._ticked_at_s: float | None = None
        self.ownership = Ownership(owner)
        self._deciding = self._fresh()
        self._partition: int | None = None
        self._fleet: FleetStatus | None = None
        self._running: Mapping[str, int] = {}
        self._buffer: deque[tuple[int, TelemetryRecord]] = deque(maxlen=_BUFFERED)
        #: Offset of our newest sample: an older one on the tape is no reason to decide now.
        self._newest_sample = -1
        self._due: tuple[ArrivalSample, int] | None = None
        #: Decisions that no sample has taken along yet.
        self._unsaid: deque[Decided] = deque(maxlen=_UNSAID)
        self._said: tuple[Any, ...] | None = None
        self._remembered_at_s = -math.inf
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding_now = False
        #: Decisions in a row that raised something.
        self._failed = 0
        self._kafka_thread = ThreadPoolExecutor(1, "kafka")
        self._policy_thread = ThreadPoolExecutor(1, "policy")
        self._fleet_thread = ThreadPoolExecutor(1, "fleet")

    # --- called by the agent ---

    def owned(self, partitions: frozenset[int]) -> None:
        """These telemetry partitions are ours now."""
        if self._partition in partitions:
            self._claim()

    def lost(self, partitions: frozenset[int]) -> None:
        """These are not ours any more."""
        if self._partition in partitions:
            if self.ownership.epoch is not None:
                log.info("autoscaler.released", extra={"pipeline": self._pipeline})
            self.ownership.revoked()

    def lost_all(self) -> None:
        """The agent is gone, and with it its membership."""
        if self._partition is not None:
            self.lost(frozenset({self._partition}))

    def record(self, key: bytes | None, value: bytes | None, _partition: int, offset: int) -> None:
        """One record of the telemetry topic."""
        standing = self.ownership.standing
        if key != self._key or standing is Standing.SPECTATOR:
            return
        try:
            record = telemetry.decode(value)
        except MalformedTelemetry as error:
            trouble.warning("telemetry.malformed", extra={"offset": offset, "error": str(error)})
            return
        if record.pipeline != self._pipeline:
            trouble.warning("telemetry.wrong_key", extra={"offset": offset, "pipeline": record.pipeline})
        elif standing is Standing.OWNER:
            self._take(record, offset)
        else:
            self._buffer.append((offset, record))

    # --- the process's life ---

    async def run(self) -> None:
        """Tick until cancelled."""
        next_s = time.monotonic()
        while True:
            self._ticked_at_s = time.monotonic()
            self._in_background(self._reconcile(), "reconcile")
            if self._partition is None:
                self._in_background(self._prepare(), "prepare")
            elif self.ownership.standing is Standing.OWNER:
                self._in_background(self._sample(), "sample")
            elif self.ownership.may_reclaim(self._clock()):
                self._claim()
            # A late tick is not made up for: the next one comes a whole tick later.
            next_s = max(next_s + self._policy.tick_s, time.monotonic() + self._policy.tick_s / 2)
            await asyncio.sleep(next_s - time.monotonic())

    async def prepared(self) -> None:
        """Wait until the topics exist and the telemetry partition is known."""
        while self._partition is None:
            await self._prepare()
            if self._partition is None:
                await asyncio.sleep(_CLAIM_RETRY_S)

    def warm_up(self) -> None:
        """Import the forecast's libraries where decisions are made: seconds, which would else delay one under load."""
        self._policy_thread.submit(preload)

    async def stop(self, *, stop_workers: bool) -> None:
        """Decide no more; workers go on unless told otherwise. The loop of `run` has been cancelled."""
        self.ownership.revoked()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if stop_workers:
            await self._in(self._fleet_thread, self._actuator.stop_workers)
        for thread in (self._kafka_thread, self._policy_thread, self._fleet_thread):
            thread.shutdown(wait=True)

    def in_kafka_thread(self, call: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Run something with the link, in the only thread that may."""
        return self._in(self._kafka_thread, call, *arguments)

    # --- owning ---

    def _claim(self) -> None:
        self._buffer.clear()
        self._start(self._take_over(self.ownership.assigned()), "claim")

    async def _take_over(self, term: int) -> None:
        """Claim, learn from the tape, then decide."""
        while self.ownership.term == term:
            claim = Claim(self._pipeline, self._owner, self._clock(), self._rule, self._fingerprint)
            try:
                epoch = await self.in_kafka_thread(self._link.publish, claim)
                deciding = await self.in_kafka_thread(self._replayed, claim, epoch)
            except KafkaFailure as error:
                trouble.warning("autoscaler.claim_failed", extra={"pipeline": self._pipeline, "error": str(error)})
                await asyncio.sleep(_CLAIM_RETRY_S)
                continue
            except Exception:  # noqa: BLE001 - logged with its traceback
                # Nobody else takes over while this process lives: an owner that gives up would be one for ever.
                trouble.exception("autoscaler.take_over_failed", extra={"pipeline": self._pipeline})
                await asyncio.sleep(_CLAIM_RETRY_S)
                continue
            if self.ownership.claimed(term, epoch):
                self._deciding, self._newest_sample, self._due = deciding, -1, None
                if self._shadows is not None:
                    self._shadows.begin()
                self._running = _by_type(deciding.reports(self._clock()))
                log.info("autoscaler.owner", extra={"pipeline": self._pipeline, "epoch": epoch, "owner": self._owner})
                missed = [entry for entry in self._buffer if entry[0] > epoch]
                self._buffer.clear()
                for offset, record in missed:
                    if self.ownership.standing is Standing.OWNER:
                        self._take(record, offset)
                # At once: the next tick is up to a second away.
                self._in_background(self._sample(), "sample")
            return

    def _replayed(self, claim: Claim, epoch: int) -> Deciding:
        began_s = time.monotonic()
        tape = self._link.recent(claim.at_s - self._policy.history_s, epoch)
        try:
            history = self._store.recent_rates(self._policy.history_s)
        except StoreUnavailable as error:
            log.warning("autoscaler.no_history", extra={"error": str(error)})
            history = ()
        deciding, taken = replayed(self._fresh, tape, history, claim, epoch=epoch, remembered=self._recalled())
        facts = {
            "memory": taken,
            "records": len(tape),
            "rates": len(history),
            "took_s": round(time.monotonic() - began_s, 3),
        }
        log.info("autoscaler.replayed", extra={"pipeline": self._pipeline, **facts})
        return deciding

    def _recalled(self) -> Remembered | None:
        """What an owner before us left in Redis; `None` = nothing that can be used."""
        try:
            text = self._store.recall()
            return None if text is None else Remembered.read(text)
        except (StoreUnavailable, ValueError) as error:
            log.warning("autoscaler.no_memory", extra={"error": str(error)})
            return None

    def _fresh(self) -> Deciding:
        return Deciding(self._pipeline, self._policy, self._worker_types, self._objective, self._rule)

    # --- the tape ---

    def _take(self, record: TelemetryRecord, offset: int) -> None:
        self._deciding.fold(record, offset)
        if isinstance(record, Claim):
            if self.ownership.saw_claim(record.owner, offset, self._clock()):
                log.warning("autoscaler.superseded", extra={"pipeline": self._pipeline, "by": record.owner})
        elif (
            isinstance(record, ArrivalSample) and offset >= self._newest_sample and offset > (self.ownership.epoch or 0)
        ):
            self._due = record, offset
            if not self._deciding_now:
                self._start(self._decide(), "decide")

    async def _sample(self) -> None:
        """Take and publish one sample, with what was decided since the last; it comes back by the tape."""
        fleet, control, decided = self._fleet, self._store.control(), tuple(self._unsaid)

        def publish() -> int:
            return self._link.publish(dataclasses.replace(self._link.sample(fleet, control), decided=decided))

        try:
            self._newest_sample = await self.in_kafka_thread(publish)
            while self._unsaid and self._unsaid[0] in decided:
                self._unsaid.popleft()
        except StreamsError as error:
            trouble.warning("autoscaler.sample_failed", extra={"pipeline": self._pipeline, "error": str(error)})

    # --- deciding and acting ---

    async def _decide(self) -> None:
        """Decide on the newest sample until there is no newer one; samples that came meanwhile are only folded."""
        self._deciding_now = True
        try:
            while (due := self._due) is not None and (epoch := self.ownership.epoch) is not None:
                self._due = None
                if self._outdated(due[0]):
                    continue
                deciding = self._deciding
                look = deciding.look(*due)
                self._running = _by_type(look.observation.reports.values())
                decision = await self._in(self._policy_thread, deciding.conclude, look)
                if self.ownership.epoch != epoch:
                    return
                self._unsaid.append(_decided(look, decision, epoch, deciding.from_redis))
                if not decision.advisory:
                    await self._act(decision, epoch)
                self._record(look, decision, epoch)
        except Exception:  # noqa: BLE001 - logged with its traceback
            # The fleet stays as declared; the next sample is another chance.
            trouble.exception("autoscaler.decide_failed", extra={"pipeline": self._pipeline})
            self._failed += 1
            if self._failed >= _FAILED_MOST:
                # What is remembered may be what fails, and would for ever.
                self._failed = 0
                self._deciding.forget()
                log.warning("autoscaler.memory_forgotten", extra={"pipeline": self._pipeline})
        else:
            self._failed = 0
        finally:
            self._deciding_now = False

    def _outdated(self, sample: ArrivalSample) -> bool:
        """Whether it was taken before the fleet that is declared now was: what it shows would be changed once more.

        To carry a change out takes a moment, with a broker that is slow some seconds, and samples are taken meanwhile.
        """
        return (
            sample.fleet is not None
            and self._fleet is not None
            and dict(sample.fleet.declared) != dict(self._fleet.declared)
        )

    async def _act(self, decision: Decision, epoch: int) -> None:
        try:
            self._fleet = await self._in(self._fleet_thread, self._declare, decision.fleet, epoch)
        except StaleDecider as error:
            log.warning("autoscaler.stale", extra={"pipeline": self._pipeline, "error": str(error)})
            self.ownership.superseded(self._clock())
        except AutoscalerError as error:
            trouble.error("autoscaler.act_failed", extra={"pipeline": self._pipeline, "error": str(error)})

    def _declare(self, fleet: Mapping[str, int], epoch: int) -> FleetStatus:
        before = self._actuator.status().declared
        self._actuator.declare(fleet, epoch)
        if dict(before) != dict(fleet):
            # At once: the next tick's reconcile is up to a second away.
            self._actuator.reconcile()
        return self._actuator.status()

    async def _reconcile(self) -> None:
        sign = json.dumps({"state": self.ownership.standing.value, "pid": os.getpid(), "epoch": self.ownership.epoch})

        def step() -> FleetStatus:
            if self._health_file is not None:
                write_whole(self._health_file, sign)
            self._actuator.reconcile()
            return self._actuator.status()

        try:
            self._fleet = await self._in(self._fleet_thread, step)
        except (AutoscalerError, OSError) as error:
            trouble.error("autoscaler.reconcile_failed", extra={"error": str(error)})

    def _record(self, look: Look, decision: Decision, epoch: int) -> None:
        problems = self._actuator.problems()
        self._store.record(
            look.sample,
            look.observation,
            decision,
            {
                "owner": self._owner,
                "policy": self._rule,
                "epoch": epoch,
                "objective_within_s": self._objective.within_s,
                "objective_share": self._objective.share,
                "decided_after_s": self._clock() - look.sample.at_s,
                "problems": problems or None,
            },
        )
        if self._rule == OWN and not 0 <= look.sample.at_s - self._remembered_at_s < _REMEMBER_S:
            self._remembered_at_s = look.sample.at_s
            self._store.remember(self._deciding.remembered(look).written)
        self._on_decision(look.observation, decision)
        if self._shadows is not None:
            self._shadows.watch(look, decision)
        said = (decision.action, tuple(sorted(decision.fleet.items())), decision.bound, decision.advisory)
        if said != self._said:
            self._said = said
            level = logging.DEBUG if decision.action is Action.HOLD else logging.INFO
            facts = {"action": decision.action.value, "fleet": dict(decision.fleet), "bound": decision.bound}
            log.log(
                level,
                "autoscaler.decision",
                extra={"pipeline": self._pipeline, **facts, "advisory": decision.advisory, "reason": decision.reason},
            )

    def ticked_s_ago(self) -> float | None:
        """Seconds since the loop last came round; `None` = it has not yet. Callable from any thread."""
        return None if self._ticked_at_s is None else time.monotonic() - self._ticked_at_s

    def running(self) -> Mapping[str, int]:
        """Workers heard of lately, by type: what an advisory actuator goes by."""
        return self._running

    # --- threads and tasks ---

    async def _prepare(self) -> None:
        try:
            self._partition = await self.in_kafka_thread(self._link.prepare)
        except StreamsError as error:
            trouble.warning("autoscaler.not_ready", extra={"pipeline": self._pipeline, "error": str(error)})

    def _in(self, thread: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(thread, call, *arguments)

    def _start(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _in_background(self, work: Any, name: str) -> None:
        """Start it unless the one before still runs: a broker that is away must not pile up ticks."""
        if any(task.get_name() == name for task in self._tasks):
            work.close()
        else:
            self._start(work, name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            trouble.error("autoscaler.task_failed", extra={"task": task.get_name()}, exc_info=error)


def _decided(look: Look, decision: Decision, epoch: int, from_redis: int) -> Decided:
    return Decided(
        epoch=epoch,
        sample=look.offset,
        through=look.through,
        action=decision.action,
        fleet=decision.fleet,
        bound=decision.bound,
        reason=decision.reason,
        advisory=decision.advisory,
        from_redis=from_redis,
    )


def _by_type(reports: Iterable[WorkerReport]) -> dict[str, int]:
    count: dict[str, int] = {}
    for report in reports:
        count[report.worker_type] = count.get(report.worker_type, 0) + 1
    return count
