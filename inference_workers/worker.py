"""A worker: four threads (poll, decode, execute, deliver) between two topics, and their orderly end.

The poll thread owns the consumer and does nothing but poll, so that joins and heartbeats never wait for a batch. The
decode thread makes requests of records while the device computes. The execute thread owns the model. The deliver thread
owns the transactional producer. The main thread reports and waits for the signal.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.model import WorkerState, WorkerType
from inference_workers import model as models
from inference_workers import preflight
from inference_workers import slot as slots
from inference_workers.answers import Answer, Writing
from inference_workers.buffer import Chunk, RecordBuffer
from inference_workers.busy import BusyShare
from inference_workers.cores import usual_threads
from inference_workers.counters import Counters
from inference_workers.delivery import Deliverer, Source, Transport
from inference_workers.device import parse_device
from inference_workers.errors import WorkerError
from inference_workers.executor import Executor
from inference_workers.intake import Intake
from inference_workers.lanes import Lane
from inference_workers.metrics import Identity
from inference_workers.model_notes import state_file
from inference_workers.model_set import ModelSet
from inference_workers.ownership import Ownership
from inference_workers.ready import ReadyQueue
from inference_workers.reporting import Life, Reporter
from inference_workers.settings import EXACTLY_ONCE, FAIL, WorkerSettings
from inference_workers.shadow import ShadowRunner
from inference_workers.transports import AtLeastOnce, CommitBox, ExactlyOnce
from inference_workers.warming import LARGEST_ROWS, Warming
from inference_workers.watch import Watch
from streams import topics
from streams.capacity import Capacity
from streams.data_path import open_consumer
from streams.errors import KafkaFailure, NotAuthorized
from streams.kafka import Admin, KafkaSettings, close_producer, new_producer
from streams.records import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from autoscaler.model import WorkerReport
    from streams.kafka.group_consumer import GroupConsumer

log = logging.getLogger(__name__)

#: Seconds of one poll: how soon a pause or a stop is seen while nothing arrives.
POLL_S = 0.5
#: Seconds for the other threads to end once one has failed.
FAILED_S = 2.0
#: Seconds between looks at whether to stop while there is nothing to decode, or no room for it.
LOOK_S = 0.5
#: Seconds for which a worker that has left the group waits for the end of a load.
LOAD_END_S = 10.0
#: Records decoded between two hand-overs: few enough that the device does not wait for the last of them.
MOST_AT_ONCE = 64
#: Suffixes of the lanes' threads.
LANES = ("", "-bulk")
#: Seconds that a thread may keep Python's lock while another wants it. The default of 5 ms is what a batch takes: the
#: device would stand idle for as long after each, until the thread that decodes or encodes lets go (measured: 17 % more
#: records a second).
SWITCH_INTERVAL_S = 0.001
#: Seconds for which it is remembered that a reply topic does or does not exist.
REPLY_TOPIC_MEMORY_S = 30.0
#: Batches before the fitted curve is told to the group: the first ones are slow, and two points make any line.
MEASURED_BATCHES = 32
#: Part of the time that the device works from which on a worker's measurement counts against its type's.
LOADED = 0.5
#: Bytes of a record that are not its value, left free below the topic's limit.
RECORD_OVERHEAD = 8192


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """All that one worker process is told."""

    pipeline: str
    model_dir: Path
    slot: str
    worker_type: WorkerType
    #: `cpu`, `gpu:N` or `emulated`.
    device: str
    kafka: KafkaSettings
    settings: WorkerSettings
    state_dir: Path
    asked_at_s: float
    #: Largest value that the results topic takes, in bytes.
    max_result_bytes: int
    #: Seconds within which requests want their results.
    objective_s: float


def run(spec: WorkerSpec, stop: threading.Event) -> None:
    """Serve until `stop` is set, then drain and leave the group. Blocks.

    Raises:
        WorkerError: see its kinds; each has an exit code.
        KafkaFailure: the broker cannot be reached at the start.

    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with slots.held(spec.state_dir, spec.slot):
        worker = _Worker(spec, stop)
        with worker.watch.open():
            worker.serve()


def _limits(settings: WorkerSettings) -> Limits:
    """What one request may ask for."""
    return Limits(
        max_record_bytes=settings.max_record_bytes,
        max_rows=settings.max_request_rows,
        max_json_depth=settings.max_json_depth,
        max_inputs=settings.max_inputs,
        max_headers=settings.max_headers,
        max_header_bytes=settings.max_header_bytes,
    )


class _Worker:
    def __init__(self, spec: WorkerSpec, stop: threading.Event) -> None:
        self._spec, self._stop = spec, stop
        #: Set when the drain's time is up, or a thread has failed: nothing is worth waiting for.
        self._stop_now = threading.Event()
        #: Set when the deliver thread is done: the poll thread may close the consumer.
        self._drained = threading.Event()
        self._failure: BaseException | None = None
        self._life = Life(asked_at_s=spec.asked_at_s)
        self._counters = Counters()
        self._device = parse_device(spec.device, spec.worker_type.curve)
        emulated = self._device.emulated
        told = emulated.max_batch if emulated else spec.settings.max_batch
        self._warming = Warming(self._device, told, spec.objective_s)
        #: Known for good once a model is warm.
        self._max_batch = told or LARGEST_ROWS
        self._changed = threading.Condition()
        self._urgent = self._lane(topics.requests(spec.pipeline), topics.group(spec.pipeline))
        #: Where each topic's consumer finds what the deliver thread wants committed (at-least-once only).
        self._commits: dict[str, CommitBox] = {}
        #: What the group is told of us; replaced whole by the main thread, read by the client's threads.
        self._capacity = Capacity(spec.worker_type.name, spec.worker_type.curve.capacity_per_s)
        self._busy = BusyShare()
        self._reply_topics: dict[str, tuple[bool, float]] = {}
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
        self._deliverer: Deliverer
        self._admin: Admin

    def serve(self) -> None:
        spec, settings = self._spec, self._spec.settings
        device = self._device
        self._admin = Admin(spec.kafka, f"{spec.slot}-admin")
        # Before the model, which may take minutes to load: who may not do the work is told at once.
        preflight.check(self._admin, spec.kafka, pipeline=spec.pipeline, slot=spec.slot, settings=settings)
        inside = settings.intra_op_threads or (1 if device.emulated else usual_threads())
        models.configure_tensorflow(inside, gpu=device.gpu)
        model_set = ModelSet(
            spec.model_dir,
            load=models.ServedModel,
            warm=self._warming,
            pinned_models=settings.pinned_models,
            state_file=state_file(spec.state_dir, spec.slot),
        )
        # Warm before joining: a member that is not ready would take partitions away from those that are.
        model_set.start()
        if self._ended_while_booting():
            # No member yet, unless this slot was one a moment ago.
            with contextlib.suppress(KafkaFailure):
                self._admin.remove_static_members(self._urgent.group, [spec.slot])
            self._admin.close()
            return
        sizes = self._warming.sizes
        self._max_batch = max_batch = sizes[-1]
        self._urgent.ready.hold(2 * max_batch)
        lanes = [self._urgent, *self._bulk_lane()]
        executor = Executor(
            urgent=self._urgent,
            bulk=lanes[1] if len(lanes) > 1 else None,
            bulk_share=settings.bulk_share,
            models=model_set,
            shadow=ShadowRunner(
                model_set.shadow_stats, sizes=sizes, rtol=settings.shadow_rtol, atol=settings.shadow_atol
            ),
            fail_non_finite=settings.non_finite == FAIL,
            device=device,
            max_batch=max_batch,
            objective_s=spec.objective_s,
            counters=self._counters,
            broken_model_batches=settings.broken_model_batches,
            deliver=self._hand_on,
        )
        self.watch.serving(model=lambda: (model_set.current.name, model_set.current.version), curve=executor.fit.curve)
        limits = _limits(settings)
        consumers = [self._consumer(lane) for lane in lanes]
        transport = self._new_transport()
        self._deliverer = Deliverer(
            transport=transport,
            sources=[
                Source(
                    lane.topic,
                    lane.ownership,
                    consumer.metadata,
                    functools.partial(self._admin.committed, lane.group, lane.topic),
                    timed=lane is self._urgent,
                )
                for lane, consumer in zip(lanes, consumers, strict=True)
            ],
            reply_topic_exists=self._reply_topic_exists,
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
            stop_now=self._stop_now,
        )
        telemetry_producer = new_producer(spec.kafka, f"{spec.slot}-telemetry", acks=1, enable_idempotence=False)
        reporter = Reporter(
            pipeline=spec.pipeline,
            slot=spec.slot,
            worker_type=spec.worker_type.name,
            device_label=device.label,
            models=model_set,
            life=self._life,
            ownership=self._urgent.ownership,
            counters=self._counters,
            fit=executor.fit,
            producer=telemetry_producer,
            health_file=spec.state_dir / "health" / f"{spec.slot}.json",
            address=self.watch.address,
        )
        threads = [
            *(
                self._thread(f"poll{name}", functools.partial(self._poll, f"poll{name}", lane, consumer))
                for name, lane, consumer in zip(LANES, lanes, consumers, strict=False)
            ),
            # The lane's own intake, and one of them alone decides when a new version takes over.
            self._thread(
                "decode", lambda: self._decode("decode", lanes[0], Intake(model_set, limits), executor, model_set)
            ),
            *(
                self._thread(
                    "decode-bulk",
                    lambda: self._decode("decode-bulk", lanes[1], Intake(model_set, limits), executor, None),
                )
                for _ in lanes[1:]
            ),
            self._thread("execute", lambda: self._execute(executor)),
            self._thread("deliver", self._deliver),
        ]
        looking = self._thread("models", lambda: model_set.watch(self._stop, settings.model_poll_s))
        version = model_set.current.version
        log.info("worker.warm", extra={"worker": spec.slot, "model_version": version, "device": device.label})
        self._report_until_stopped(reporter)
        self._drain(threads)
        if self._failure is None and not self._stop_now.is_set():
            self._leave(transport)
        self._life.state = WorkerState.STOPPED
        reporter.send()
        close_producer(telemetry_producer, 2)
        # It may be in the middle of a load, which cannot be broken off; a process that ends under it may crash.
        looking.join(LOAD_END_S)
        if self._failure is not None:
            if isinstance(self._failure, (WorkerError, KafkaFailure)):
                raise self._failure
            msg = f"a worker thread failed: {type(self._failure).__name__}: {self._failure}"
            raise WorkerError(msg) from self._failure
        log.info("worker.stopped", extra={"worker": spec.slot, "drained": not self._stop_now.is_set()})

    # --- the four threads

    def _poll(self, name: str, lane: Lane, consumer: GroupConsumer) -> None:
        paused = False
        while not self._drained.is_set() and not self._stop_now.is_set():
            self.watch.beats.beat(name)
            draining = self._stop.is_set()
            # Paused partitions must be polled on: heartbeats, joins and revocations happen here.
            paused = draining or not lane.buffer.wants_more(paused=paused)
            consumer.set_paused(paused)
            polled = consumer.poll(0.02 if draining or paused else POLL_S)
            self._commits[lane.topic].serve(consumer.commit)
            if polled and not draining:
                chunks = []
                for partition, records in polled.items():
                    stamped = lane.ownership.stamp(partition, records)
                    if stamped is not None:
                        chunks.append(Chunk(partition, *stamped))
                lane.buffer.put(chunks)
        self.watch.beats.rest(name)
        if not self._stop_now.is_set():
            consumer.close()

    def _decode(self, name: str, lane: Lane, intake: Intake, executor: Executor, model_set: ModelSet | None) -> None:
        while not self._stop.is_set() and not self._stop_now.is_set():
            self.watch.beats.beat(name)
            room = lane.ready.room(LOOK_S)
            if not room:
                continue
            items = []
            rows = 0
            chunks = lane.buffer.get(min(room, MOST_AT_ONCE), LOOK_S)
            if model_set is not None:
                # Here, so that all that is decoded from now on is for the new version, and nothing before it.
                model_set.swap_if_ready()
            for chunk in chunks:
                for record in chunk.records:
                    item = intake.decode(record, chunk.epoch)
                    items.append(item)
                    rows += 1 if isinstance(item, Answer) else item.rows
            if items:
                if lane is self._urgent:
                    executor.load.arrived.add(rows)
                lane.ready.put(items)
        self.watch.beats.rest(name)
        lane.buffer.close()
        lane.ready.close()

    def _execute(self, executor: Executor) -> None:
        while not self._urgent.ready.closed and not self._stop_now.is_set():
            self.watch.beats.beat("execute")
            executor.step()
        self.watch.beats.rest("execute")
        self._deliverer.finish()

    def _hand_on(self, answers: list[Answer]) -> None:
        # Not the bound method: the deliverer needs the consumer, which must not exist before the model is warm.
        self.watch.batch(answers)
        with self.watch.beats.waiting("execute"):
            self._deliverer.put(answers)

    def _deliver(self) -> None:
        self._deliverer.run()
        self._drained.set()

    # --- life

    def _ended_while_booting(self) -> bool:
        """Wait for the rest of an emulated boot; whether this worker is wanted no more.

        One that was told to stop before it joined must not join: every join and leave moves partitions.
        """
        boot_s = self._spec.settings.emulated_boot_s if self._device.emulated else 0.0
        left_s = max(0.0, self._life.asked_at_s + boot_s - time.time())
        log.info("worker.booting", extra={"worker": self._spec.slot, "left_s": round(left_s, 3)})
        stopped = self._stop.wait(left_s)
        if stopped:
            log.info("worker.stopped", extra={"worker": self._spec.slot, "drained": True})
        return stopped

    def _report_until_stopped(self, reporter: Reporter) -> None:
        interval_s = self._spec.settings.report_interval_s
        # Looked at more often until ready: the actuation delay that the autoscaler learns is measured by it.
        while not self._stop.wait(interval_s if self._life.ready_at_s else 0.05):
            if self._life.ready_at_s is None:
                if not self._urgent.ownership.joined.is_set():
                    continue
                self._life.ready_at_s = time.time()
                self._life.state = WorkerState.READY
                boot_s = self._life.ready_at_s - self._life.asked_at_s
                log.info("worker.ready", extra={"worker": self._spec.slot, "boot_s": round(boot_s, 3)})
            self._note_capacity(reporter.send())
        self._life.state = WorkerState.DRAINING
        reporter.send()

    def _note_capacity(self, report: WorkerReport) -> None:
        share = self._busy.update(report.at_s, report.busy_s)
        if report.curve is not None and report.batches >= MEASURED_BATCHES:
            said, loaded = self._capacity, share is not None and share >= LOADED
            self._capacity = Capacity(said.kind, said.stated, report.curve.capacity_per_s, loaded=loaded)

    def _drain(self, threads: list[threading.Thread]) -> None:
        """Take no more, finish the batch, commit, hand back: all within one deadline."""
        # After a failure nothing is delivered any more: the others are given the time to notice, and no more.
        patience_s = FAILED_S if self._stop_now.is_set() else self._spec.settings.drain_s
        deadline = time.monotonic() + patience_s
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in threads):
            log.warning("worker.drain_deadline", extra={"worker": self._spec.slot})
            self._stop_now.set()
            for thread in threads:
                thread.join(1.0)

    def _leave(self, transport: Transport) -> None:
        """A static member stays in the group when it closes; one that will not come back has to be taken out."""
        try:
            transport.close()
            self._admin.remove_static_members(self._urgent.group, [self._spec.slot])
            if topics.bulk(self._spec.pipeline) in self._commits:
                self._admin.remove_static_members(topics.bulk_group(self._spec.pipeline), [self._spec.slot])
        except KafkaFailure as error:
            log.warning("worker.leave_failed", extra={"worker": self._spec.slot, "error": str(error)})
        finally:
            self._admin.close()

    def _thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - whatever ends a thread ends the worker
                log.error("worker.thread_failed", extra={"role": name, "error": f"{type(error).__name__}: {error}"})  # noqa: TRY400
                self._failure = self._failure or error
                self._stop_now.set()
                self._stop.set()

        # Daemons: after the drain's deadline the process must be able to end whatever a thread hangs on.
        thread = threading.Thread(target=guarded, name=f"{self._spec.slot}-{name}", daemon=True)
        thread.start()
        return thread

    def _lane(self, topic: str, group: str) -> Lane:
        settings = self._spec.settings
        return Lane(
            topic,
            group,
            Ownership(),
            RecordBuffer(settings.buffer_records, settings.buffer_bytes),
            # Two batches: one to run next, and one that is being decoded meanwhile.
            ReadyQueue(2 * self._max_batch, self._changed),
        )

    def _bulk_lane(self) -> list[Lane]:
        """The lane for bulk, where the pipeline has its topic."""
        pipeline = self._spec.pipeline
        try:
            wide = self._admin.partitions(topics.bulk(pipeline))
        except NotAuthorized:
            # What a cluster that denies by default says of a topic that does not exist, too: most pipelines have none.
            log.info("worker.no_bulk_lane", extra={"worker": self._spec.slot, "topic": topics.bulk(pipeline)})
            return []
        if wide is None:
            return []
        if wide > (self._admin.partitions(topics.results(pipeline)) or 0):
            msg = (
                f"{topics.bulk(pipeline)} has {wide} partitions, more than {topics.results(pipeline)}: a result is "
                "written to the partition of its request; add partitions to the results, or delete the bulk topic"
            )
            raise WorkerError(msg)
        return [self._lane(topics.bulk(pipeline), topics.bulk_group(pipeline))]

    def _consumer(self, lane: Lane) -> GroupConsumer:
        spec, settings = self._spec, self._spec.settings
        commits = self._commits[lane.topic] = CommitBox()
        consumer: GroupConsumer = open_consumer(
            spec.kafka,
            topic=lane.topic,
            group=lane.group,
            instance_id=spec.slot,
            hooks=lane.ownership,
            session_timeout_ms=settings.session_timeout_ms,
            revoke_drain_s=settings.revoke_drain_s,
            max_poll_records=max(self._max_batch, settings.buffer_records // 2),
            capacity=lambda: self._capacity,
            meanwhile=lambda: commits.serve(consumer.commit),
        )
        return consumer

    def _new_transport(self) -> Transport:
        spec = self._spec
        if spec.settings.delivery == EXACTLY_ONCE:
            return ExactlyOnce(spec.kafka, slot=spec.slot, timeout_ms=spec.settings.transaction_timeout_ms)
        return AtLeastOnce(spec.kafka, slot=spec.slot, commits=self._commits, stop_now=self._stop_now)

    def _reply_topic_exists(self, topic: str) -> bool:
        known, asked_at = self._reply_topics.get(topic, (False, float("-inf")))
        if time.monotonic() - asked_at > REPLY_TOPIC_MEMORY_S:
            try:
                # Names come from strangers: one that we may not write to must not stop the worker.
                known = self._admin.writable(topic)
            except KafkaFailure:
                # Not to be had now: the send will say so, and try again.
                return True
            if len(self._reply_topics) > 1000:  # noqa: PLR2004 - names come from strangers: keep memory bounded
                self._reply_topics.clear()
            self._reply_topics[topic] = (known, time.monotonic())
        return known
