"""A worker: four threads (poll, decode, execute, deliver) between two topics, and their orderly end.

The poll thread owns the consumer and does nothing but poll, so that joins and heartbeats never wait for a batch. The
decode thread makes requests of records while the device computes. The execute thread owns the model. The deliver thread
owns the transactional producer. The main thread reports and waits for the signal. What each of them does is in
`inference_workers.stages` and `inference_workers.delivery`; here they are wired together.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING

from autoscaler.model import WorkerState
from inference_workers import model as models
from inference_workers import preflight, stages
from inference_workers import slot as slots
from inference_workers.answers import Writing
from inference_workers.cores import usual_threads
from inference_workers.counters import Counters
from inference_workers.crew import Crew
from inference_workers.delivery import Deliverer, Source, Transport
from inference_workers.device import parse_device
from inference_workers.executor import Executor
from inference_workers.intake import Intake
from inference_workers.lane_setup import bulk_lane, consumer_of, urgent_lane
from inference_workers.metrics import Identity
from inference_workers.model_notes import state_file
from inference_workers.model_set import ModelSet
from inference_workers.reply_topics import ReplyTopics
from inference_workers.reporting import Life, Reporter
from inference_workers.settings import EXACTLY_ONCE, FAIL
from inference_workers.shadow import ShadowRunner
from inference_workers.told_capacity import ToldCapacity
from inference_workers.transports import AtLeastOnce, ExactlyOnce
from inference_workers.warming import LARGEST_ROWS, Warming
from inference_workers.watch import Watch
from inference_workers.worker_spec import WorkerSpec
from streams import topics
from streams.errors import KafkaFailure
from streams.kafka import Admin, close_producer, new_producer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference_workers.answers import Answer
    from inference_workers.lanes import Lane
    from streams.kafka.group_consumer import GroupConsumer

__all__ = ["WorkerSpec", "run"]

log = logging.getLogger(__name__)

#: Seconds between looks at whether the group has taken us in: the actuation delay is measured by it.
READY_LOOK_S = 0.05
#: Seconds for which a worker that has left the group waits for the end of a load.
LOAD_END_S = 10.0
#: Suffixes of the lanes' threads.
LANES = ("", "-bulk")
#: Seconds that a thread may keep Python's lock while another wants it. The default of 5 ms is what a batch takes: the
#: device would stand idle for as long after each, until the thread that decodes or encodes lets go (measured: 17 % more
#: records a second).
SWITCH_INTERVAL_S = 0.001
#: Objects made, less those let go, after which Python looks for circles among them; then after how many looks it looks
#: among older ones too. A record is half a dozen objects, none of them in a circle, and ten thousand records may be in
#: hand: with the default of 700 a quarter of the worker's time went into looking (measured).
COLLECT_AFTER = (100_000, 10, 10)
#: Bytes of a record that are not its value, left free below the topic's limit.
RECORD_OVERHEAD = 8192


def run(spec: WorkerSpec, stop: threading.Event) -> None:
    """Serve until `stop` is set, then drain and leave the group. Blocks.

    Raises:
        WorkerError: see its kinds; each has an exit code.
        KafkaFailure: the broker cannot be reached at the start.

    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*COLLECT_AFTER)
    with slots.held(spec.state_dir, spec.slot):
        worker = _Worker(spec, stop)
        with worker.watch.open():
            worker.serve()


class _Worker:
    def __init__(self, spec: WorkerSpec, stop: threading.Event) -> None:
        self._spec = spec
        self._crew = Crew(spec.slot, stop)
        self._life = Life(asked_at_s=spec.asked_at_s)
        self._counters = Counters()
        self._device = parse_device(spec.device, spec.worker_type.curve)
        emulated = self._device.emulated
        told = emulated.max_batch if emulated else spec.settings.max_batch
        self._warming = Warming(self._device, told, spec.objective_s)
        self._changed = threading.Condition()
        # How large a batch may be is known once a model is warm.
        self._urgent = urgent_lane(spec, told or LARGEST_ROWS, self._changed)
        self._capacity = ToldCapacity(spec.worker_type)
        self.watch = Watch(
            Identity(spec.pipeline, spec.slot, spec.worker_type.name, spec.device),
            spec.settings,
            spec.state_dir,
            life=self._life,
            counters=self._counters,
            ownership=self._urgent.ownership,
            buffer=self._urgent.buffer,
            ready=self._urgent.ready,
        )

    def serve(self) -> None:
        spec, settings, crew = self._spec, self._spec.settings, self._crew
        admin = Admin(spec.kafka, f"{spec.slot}-admin")
        # Before the model, which may take minutes to load: who may not do the work is told at once.
        preflight.check(admin, spec.kafka, pipeline=spec.pipeline, slot=spec.slot, settings=settings)
        # Warm before joining: a member that is not ready would take partitions away from those that are.
        model_set = self._warm_models()
        if self._ended_while_booting():
            # No member yet, unless this slot was one a moment ago.
            with contextlib.suppress(KafkaFailure):
                admin.remove_static_members(self._urgent.group, [spec.slot])
            admin.close()
            return
        max_batch = self._warming.sizes[-1]
        self._urgent.ready.hold(2 * max_batch)
        bulk = bulk_lane(spec, admin, max_batch, self._changed)
        lanes = [self._urgent] if bulk is None else [self._urgent, bulk]
        consumers = [consumer_of(lane, spec, max_batch, lambda: self._capacity.now) for lane in lanes]
        transport = self._new_transport(lanes)
        deliverer = self._deliverer(transport, lanes, consumers, admin, model_set)
        executor = self._executor(model_set, bulk, max_batch, deliverer)
        self.watch.serving(model=lambda: (model_set.current.name, model_set.current.version), curve=executor.fit.curve)
        telemetry_producer = new_producer(spec.kafka, f"{spec.slot}-telemetry", acks=1, enable_idempotence=False)
        reporter = Reporter(
            pipeline=spec.pipeline,
            slot=spec.slot,
            worker_type=spec.worker_type.name,
            device_label=self._device.label,
            models=model_set,
            life=self._life,
            ownership=self._urgent.ownership,
            counters=self._counters,
            fit=executor.fit,
            producer=telemetry_producer,
            health_file=spec.state_dir / "health" / f"{spec.slot}.json",
            address=self.watch.address,
        )
        threads = self._start(lanes, consumers, model_set, executor, deliverer)
        looking = crew.start("models", lambda: model_set.watch(crew.stop, settings.model_poll_s))
        version = model_set.current.version
        log.info("worker.warm", extra={"worker": spec.slot, "model_version": version, "device": self._device.label})
        self._report_until_stopped(reporter)
        crew.drain(threads, settings.drain_s)
        if crew.well:
            self._leave(transport, lanes, admin)
        self._life.state = WorkerState.STOPPED
        reporter.send()
        close_producer(telemetry_producer, 2)
        # It may be in the middle of a load, which cannot be broken off; a process that ends under it may crash.
        looking.join(LOAD_END_S)
        crew.raise_failure()
        log.info("worker.stopped", extra={"worker": spec.slot, "drained": crew.well})

    # --- the parts

    def _warm_models(self) -> ModelSet:
        spec, settings, device = self._spec, self._spec.settings, self._device
        inside = settings.intra_op_threads or (1 if device.emulated else usual_threads())
        models.configure_tensorflow(inside, gpu=device.gpu)
        model_set = ModelSet(
            spec.model_dir,
            load=models.ServedModel,
            warm=self._warming,
            pinned_models=settings.pinned_models,
            state_file=state_file(spec.state_dir, spec.slot),
        )
        model_set.start()
        return model_set

    def _new_transport(self, lanes: Sequence[Lane]) -> Transport:
        spec = self._spec
        if spec.settings.delivery == EXACTLY_ONCE:
            return ExactlyOnce(spec.kafka, slot=spec.slot, timeout_ms=spec.settings.transaction_timeout_ms)
        boxes = {lane.topic: lane.commits for lane in lanes}
        return AtLeastOnce(spec.kafka, slot=spec.slot, commits=boxes, stop_now=self._crew.stop_now)

    def _deliverer(
        self,
        transport: Transport,
        lanes: Sequence[Lane],
        consumers: Sequence[GroupConsumer],
        admin: Admin,
        model_set: ModelSet,
    ) -> Deliverer:
        spec, settings = self._spec, self._spec.settings
        return Deliverer(
            transport=transport,
            sources=[
                Source(
                    lane.topic,
                    lane.ownership,
                    consumer.metadata,
                    functools.partial(admin.committed, lane.group, lane.topic),
                    timed=lane is self._urgent,
                )
                for lane, consumer in zip(lanes, consumers, strict=True)
            ],
            reply_topic_exists=ReplyTopics(admin).there,
            writing=Writing(
                results_topic=topics.results(spec.pipeline),
                model_name=spec.model_dir.name,
                model_version=lambda: model_set.current.version,
                max_bytes=spec.max_result_bytes - RECORD_OVERHEAD,
            ),
            queue_size=settings.delivery_queue,
            # Not a full batch: a poll brings several at half of the load that would be too much.
            busy=lambda: sum(lane.waiting for lane in lanes) >= settings.buffer_records // 4,
            counters=self._counters,
            stop_now=self._crew.stop_now,
        )

    def _executor(self, model_set: ModelSet, bulk: Lane | None, max_batch: int, deliverer: Deliverer) -> Executor:
        spec, settings = self._spec, self._spec.settings

        def hand_on(answers: list[Answer]) -> None:
            self.watch.batch(answers)
            with self.watch.beats.waiting("execute"):
                deliverer.put(answers)

        return Executor(
            urgent=self._urgent,
            bulk=bulk,
            bulk_share=settings.bulk_share,
            models=model_set,
            shadow=ShadowRunner(
                model_set.shadow_stats, sizes=self._warming.sizes, rtol=settings.shadow_rtol, atol=settings.shadow_atol
            ),
            fail_non_finite=settings.non_finite == FAIL,
            device=self._device,
            max_batch=max_batch,
            objective_s=spec.objective_s,
            counters=self._counters,
            broken_model_batches=settings.broken_model_batches,
            deliver=hand_on,
        )

    # --- the threads

    def _start(
        self,
        lanes: Sequence[Lane],
        consumers: Sequence[GroupConsumer],
        model_set: ModelSet,
        executor: Executor,
        deliverer: Deliverer,
    ) -> list[threading.Thread]:
        crew, beats, limits = self._crew, self.watch.beats, self._spec.limits

        def execute() -> None:
            stages.execute("execute", self._urgent, executor, crew, beats)
            deliverer.finish()

        def deliver() -> None:
            deliverer.run()
            crew.drained.set()

        threads = []
        for name, lane, consumer in zip(LANES, lanes, consumers, strict=False):
            poll, decode = f"poll{name}", f"decode{name}"
            polling = functools.partial(stages.poll, poll, lane, consumer, crew, beats)
            threads.append(crew.start(poll, polling))
            intake = Intake(model_set, limits)
            decoding = functools.partial(stages.decode, decode, lane, intake, crew, beats)
            if lane is self._urgent:
                # One lane alone decides when a new version takes over: all that is decoded from then on is for it.
                decoding = functools.partial(decoding, swap=model_set.swap_if_ready, arrived=executor.load.arrived.add)
            threads.append(crew.start(decode, decoding))
        threads += [crew.start("execute", execute), crew.start("deliver", deliver)]
        return threads

    # --- life

    def _ended_while_booting(self) -> bool:
        """Wait for the rest of an emulated boot; whether this worker is wanted no more.

        One that was told to stop before it joined must not join: every join and leave moves partitions.
        """
        boot_s = self._spec.settings.boot_s(self._spec.worker_type.name) if self._device.emulated else 0.0
        left_s = max(0.0, self._life.asked_at_s + boot_s - time.time())
        log.info("worker.booting", extra={"worker": self._spec.slot, "left_s": round(left_s, 3)})
        stopped = self._crew.stop.wait(left_s)
        if stopped:
            log.info("worker.stopped", extra={"worker": self._spec.slot, "drained": True})
        return stopped

    def _report_until_stopped(self, reporter: Reporter) -> None:
        interval_s, stop = self._spec.settings.report_interval_s, self._crew.stop
        # Looked at more often until ready: the actuation delay that the autoscaler learns is measured by it.
        while not stop.wait(interval_s if self._life.ready_at_s else READY_LOOK_S):
            if self._life.ready_at_s is None:
                if not self._urgent.ownership.joined.is_set():
                    continue
                self._life.ready_at_s = time.time()
                self._life.state = WorkerState.READY
                boot_s = self._life.ready_at_s - self._life.asked_at_s
                log.info("worker.ready", extra={"worker": self._spec.slot, "boot_s": round(boot_s, 3)})
            self._capacity.note(reporter.send())
        self._life.state = WorkerState.DRAINING
        reporter.send()

    def _leave(self, transport: Transport, lanes: Sequence[Lane], admin: Admin) -> None:
        """A static member stays in the group when it closes; one that will not come back has to be taken out."""
        try:
            transport.close()
            for lane in lanes:
                admin.remove_static_members(lane.group, [self._spec.slot])
        except KafkaFailure as error:
            log.warning("worker.leave_failed", extra={"worker": self._spec.slot, "error": str(error)})
        finally:
            admin.close()
