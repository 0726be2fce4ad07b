"""The deliver thread: encodes answers and commits them, with their offsets, exactly once (or at least once)."""

from __future__ import annotations

import logging
import operator
import queue
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inference_workers.answers import Answer, Failure, Writing, Written
from inference_workers.errors import WorkerError
from inference_workers.pacing import Pace
from streams.errors import GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge
from streams.records import Outgoing, Status

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from inference_workers.counters import Counters
    from inference_workers.ownership import Ownership

log = logging.getLogger(__name__)

#: Most answers in one transaction: what a rebalance may have to wait for, and what a kill repeats the work of.
MOST_ANSWERS = 8192
#: Seconds between tries while a rebalance is under way, and while the broker is away.
REBALANCE_RETRY_S = 0.02
BROKER_RETRY_S = 0.5
#: Seconds between looks at whether to stop while nothing is to be delivered.
IDLE_LOOK_S = 0.5
#: Seconds between looks at whether the worker is still busy while a transaction gathers.
BUSY_LOOK_S = 0.005


#: Of each of thousands of answers: a function in Python would cost more than what it looks up.
_partition_of = operator.attrgetter("record.partition")
_place_of = operator.attrgetter("answer.record.partition", "answer.epoch")


class Transport(Protocol):
    """How answers reach Kafka."""

    def send(self, records: Sequence[Outgoing], topic: str, offsets: Mapping[int, int], group: Any) -> None:
        """Write records and commit offsets of `topic`; see `streams.kafka.transactions.TransactionalProducer.send`."""

    def recover(self) -> None:
        """After an unknown outcome: make it known."""

    def idle(self) -> None:
        """Called about twice a second while there is nothing to send."""

    def close(self) -> None:
        """Release the connection; all that was sent is committed."""


class ReplyTopicExists(Protocol):
    """Who knows of reply topics."""

    def __call__(self, topic: str, *, anew: bool = False) -> bool:
        """See `inference_workers.reply_topics.ReplyTopics.there`."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where some of the answers' requests come from."""

    topic: str
    ownership: Ownership
    group_metadata: Callable[[], Any]
    #: Next offset by partition, as the group has it.
    committed: Callable[[], Mapping[int, int | None]]
    #: Whether its results count for the objective.
    timed: bool = True


class Deliverer:
    """Takes batches of answers from a bounded queue; several that wait share one transaction."""

    def __init__(
        self,
        *,
        transport: Transport,
        sources: Sequence[Source],
        reply_topic_exists: ReplyTopicExists,
        writing: Writing,
        queue_size: int,
        busy: Callable[[], bool],
        counters: Counters,
        stop_now: threading.Event,
    ) -> None:
        self._transport = transport
        self._sources = {source.topic: source for source in sources}
        self._alone = len(self._sources) == 1
        self._reply_topic_exists = reply_topic_exists
        self._writing = writing
        self._busy, self._pace = busy, Pace()
        self._queue: queue.Queue[list[Answer] | None] = queue.Queue(queue_size)
        self._counters = counters
        self._stop_now = stop_now
        self._done = False

    def put(self, answers: list[Answer]) -> None:
        """Hand a batch over; waits while the queue is full, which is what holds the model back.

        Raises:
            WorkerError: the worker is being ended hard; the answers are given up and will be computed elsewhere.

        """
        while not self._stop_now.is_set():
            try:
                self._queue.put(answers, timeout=0.1)
            except queue.Full:
                continue
            return
        self._settle(answers)
        msg = "the worker ends before its last batch could be delivered; another worker answers it"
        raise WorkerError(msg)

    def finish(self) -> None:
        """Deliver what is queued, then end `run`."""
        while not self._stop_now.is_set():
            try:
                self._queue.put(None, timeout=0.1)
            except queue.Full:
                continue
            return

    def run(self) -> None:
        """Deliver until `finish`, or until told to stop at once."""
        while not self._done and not self._stop_now.is_set():
            try:
                answers = self._queue.get(timeout=IDLE_LOOK_S)
            except queue.Empty:
                self._transport.idle()
                continue
            if answers is None:
                break
            answers = list(answers)
            try:
                written = self._with_waiting(answers)
                for topic, source in self._sources.items():
                    self._deliver(
                        source, written if self._alone else [one for one in written if one.answer.record.topic == topic]
                    )
            finally:
                self._settle(answers)

    def _settle(self, answers: Sequence[Answer]) -> None:
        for topic, source in self._sources.items():
            of_topic = answers if self._alone else [one for one in answers if one.record.topic == topic]
            source.ownership.settle(map(_partition_of, of_topic))

    def _with_waiting(self, answers: list[Answer]) -> list[Written]:
        """All that waits, and under load what comes in the time that the pace gives.

        Each batch is written as it comes, so that the transaction can be sent as soon as the wait is over.

        Args:
            answers: the first batch; what comes is added to it.

        """
        written, rest = self._written(answers), list[Answer]()
        while len(answers) < MOST_ANSWERS and not self._stop_now.is_set():
            # Looked at again after each batch: the last of a surge must not wait for more that will not come.
            left_s = self._pace.left_s() if self._busy() else 0.0
            try:
                more = self._queue.get(timeout=min(left_s, BUSY_LOOK_S)) if left_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                if left_s > 0:
                    continue
                break
            if more is None:
                self._done = True
                break
            answers += more
            if left_s > 0 and not rest:
                written += self._written(more)
            else:
                # The time is over: what waits is taken along, and written after. Writing it here would let the next
                # batch come meanwhile, and so on for ever where results take longer to write than to compute.
                rest += more
        return self._still_in_time(written + self._written(rest))

    def _written(self, answers: Sequence[Answer]) -> list[Written]:
        now_s, write = time.time(), self._writing.write
        return [
            write(answer, now_s=now_s) if answer.headers.reply_to is None else self._write(answer, now_s)
            for answer in answers
        ]

    def _still_in_time(self, written: list[Written]) -> list[Written]:
        """Those whose deadline passed while others were waited for, written anew."""
        now_s = time.time()
        return [
            self._write(one.answer, now_s)
            if one.answer.status is Status.OK and one.answer.headers.expired(now_s)
            else one
            for one in written
        ]

    def _write(self, answer: Answer, now_s: float) -> Written:
        reply_to = answer.headers.reply_to
        if reply_to is not None and not self._reply_topic_exists(reply_to):
            # A topic that is not there would fail the whole transaction, again and again, for everybody in it.
            answer = _without_reply(answer, "does not exist, or takes no results")
        return self._writing.write(answer, now_s=now_s)

    def _deliver(self, source: Source, written: Sequence[Written]) -> None:
        tried = 0
        while written and not self._stop_now.is_set():
            try:
                # The order matters: a membership snapshot taken first, then a check that each partition has been ours
                # without a break since its record was polled. So it was ours at the snapshot, and the broker refuses
                # the commit if the group has moved on since.
                group = source.group_metadata()
                places = set(map(_place_of, written))
                owned = source.ownership.owned(places)
                if owned != places:
                    written = [one for one in written if _place_of(one) in owned]
                self._send(source, written, group)
            except GenerationChanged:
                log.info("worker.generation_changed", extra={"answers": len(written)})
                self._stop_now.wait(REBALANCE_RETRY_S)
            except RecordTooLarge as error:
                written = self._smaller(written, error)
            except OutcomeUnknown as error:
                log.warning("worker.outcome_unknown", extra={"answers": len(written), "error": str(error)[:300]})
                written = self._left(source, written, error, again=tried > 0)
                tried += 1
            else:
                self._count(source, written)
                return

    def _send(self, source: Source, written: Sequence[Written], group: Any) -> None:
        if not written:
            return
        offsets: dict[int, int] = {}
        for one in written:
            record = one.answer.record
            if record.offset >= offsets.get(record.partition, 0):
                offsets[record.partition] = record.offset + 1
        with self._pace.sending():
            self._transport.send([record for one in written for record in one.records], source.topic, offsets, group)

    def _left(
        self, source: Source, written: Sequence[Written], error: OutcomeUnknown, *, again: bool
    ) -> Sequence[Written]:
        """What is to be sent again once the last transaction is decided, away from reply topics that refuse it."""
        left = self._decided(source, written)
        if self._stop_now.is_set():
            return ()
        if len(left) < len(written):
            still = {id(one) for one in left}
            self._count(source, [one for one in written if id(one) not in still])
        elif again:
            # The same has failed before: nobody is helped by a worker that tries as fast as it can.
            self._stop_now.wait(BROKER_RETRY_S)
        return self._elsewhere(left, error.topic)

    def _count(self, source: Source, written: Sequence[Written]) -> None:
        stamps = np.array([one.answer.record.timestamp for one in written], dtype=np.float64)
        latencies_s = np.maximum(time.time() - stamps / 1000, 0.0) if source.timed else np.empty(0)
        others = [one.status for one in written if one.status is not Status.OK]
        self._counters.delivered(Counter({Status.OK: len(written) - len(others)}) + Counter(others), latencies_s)

    def _smaller(self, written: Sequence[Written], error: RecordTooLarge) -> Sequence[Written]:
        """Written anew, with less where a topic took a record for too large.

        A reply topic may take less than the results topic does, and a request that came compressed may be larger than
        the topic of dead letters takes.

        Raises:
            RecordTooLarge: there is no less, or it is not known which record it was.

        """
        records = [record for one in written for record in one.records]
        if error.index is None:
            raise error
        refused = records[error.index]
        # Those of the topic that are as large would be refused next, one transaction for each.
        answers = [_with_less(one, refused.topic, _size(refused), str(error)) for one in written]
        changed = sum(answer is not one.answer for answer, one in zip(answers, written, strict=True))
        if not changed:
            raise error
        log.info("worker.record_too_large", extra={"answers": changed, "error": str(error)[:300]})
        now_s = time.time()
        return [
            one if answer is one.answer else self._writing.write(answer, now_s=now_s)
            for answer, one in zip(answers, written, strict=True)
        ]

    def _elsewhere(self, written: Sequence[Written], refused: str | None) -> Sequence[Written]:
        """Written anew where the reply topic refused the last try, or, if nobody said who did, is not what it was."""
        asked = {one.answer.headers.reply_to for one in written} - {None}
        gone = {refused} & asked
        if refused is None:
            gone = {topic for topic in asked if topic and not self._reply_topic_exists(topic, anew=True)}
        if not gone:
            return written
        log.warning("worker.reply_topic_refuses", extra={"topics": sorted(map(str, gone))[:10]})
        now_s = time.time()
        return [
            self._writing.write(_without_reply(one.answer, "does not take its result"), now_s=now_s)
            if one.answer.headers.reply_to in gone
            else one
            for one in written
        ]

    def _decided(self, source: Source, written: Sequence[Written]) -> Sequence[Written]:
        """What of `written` is not committed, once the transport has decided the last transaction."""
        while not self._stop_now.is_set():
            try:
                self._transport.recover()
                committed = source.committed()
            except KafkaFailure as error:
                log.warning("worker.broker_away", extra={"error": str(error)[:300]})
                self._stop_now.wait(BROKER_RETRY_S)
                continue
            return [
                one for one in written if one.answer.record.offset >= (committed.get(one.answer.record.partition) or 0)
            ]
        return ()


def _with_less(one: Written, topic: str, size: int, message: str) -> Answer:
    """The answer with less to be written where a record of it for `topic` has `size` bytes or more; else the same."""
    answer = one.answer
    for number, record in enumerate(one.records):
        if record.topic != topic or _size(record) < size:
            continue
        if number > 0 and not answer.cut:
            return replace(answer, cut=True)
        if number == 0 and (answer.headers.reply_to is not None or one.status is Status.OK):
            return _failed(answer, Failure("result-too-large", message, "encode"))
    return answer


def _size(record: Outgoing) -> int:
    return len(record.key or b"") + len(record.value or b"")


def _without_reply(answer: Answer, why: str) -> Answer:
    message = f"the topic {answer.headers.reply_to!r} named by reply-to {why}"
    return _failed(answer, Failure("reply-topic-missing", message, "encode"))


def _failed(answer: Answer, failure: Failure) -> Answer:
    """The answer as a failed one, in the pipeline's own topic."""
    return replace(
        answer, status=Status.FAILED, batch=None, failure=failure, headers=replace(answer.headers, reply_to=None)
    )
