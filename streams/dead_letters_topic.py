"""A pipeline's topic of dead letters: surveyed, replayed exactly once, purged. Decisions are in `dead_letters_plan`."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from streams import dead_letters, topics
from streams import headers as names
from streams.dead_letters_marks import mark
from streams.dead_letters_plan import (
    Cut,
    PurgeRule,
    ReplayPlan,
    Survey,
    due_after_s,
    most_at_once,
    plan_purge,
    plan_replay,
)
from streams.dead_letters_selection import LetterFacts, Place, Selection
from streams.errors import Fenced, KafkaFailure, OutcomeUnknown, TopicMissing
from streams.kafka import Admin, KafkaSettings, translate
from streams.kafka.ranges import RangeReader
from streams.kafka.transactions import TransactionalProducer

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from streams.record_types import ConsumedRecord, Outgoing

log = logging.getLogger(__name__)

#: Most letters, and most bytes of them, in one transaction. An open one holds up the workers of the partitions that it
#: writes to, so it must be short: this many take some 30 ms.
MOST_AT_ONCE = 256
MOST_BYTES = 4 * 1024 * 1024
#: Milliseconds after which Kafka aborts the transaction of a replay that was killed; until then the workers of its
#: partitions wait. Far above a transaction's 30 ms.
TRANSACTION_TIMEOUT_MS = 5_000
#: How often a transaction of unknown outcome is decided and gone on from before the replay gives up.
MOST_RECOVERIES = 5
#: Room for key and headers above the largest value, in bytes.
RECORD_ROOM_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What a person asks for.

    Raises:
        ValueError: a number is out of range.
    """

    selection: Selection = field(default_factory=Selection)
    #: Topic for the requests; `None` = where each was, if that is a requests topic of the pipeline.
    to: str | None = None
    limit: int = 10_000
    #: Requests a second; `None` = as fast as it goes.
    rate_per_s: float | None = None
    max_attempts: int = 5
    #: Keep each request's `deadline-ms`.
    keep_deadlines: bool = True

    def __post_init__(self) -> None:
        for name in ("limit", "max_attempts"):
            if getattr(self, name) < 1:
                msg = f"{name}={getattr(self, name)}: must be at least 1"
                raise ValueError(msg)
        if self.rate_per_s is not None and not self.rate_per_s > 0:
            msg = f"rate={self.rate_per_s}: must be above 0 letters a second"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What a replay did."""

    plan: ReplayPlan
    sent: int
    #: Told to stop before it was through.
    stopped: bool


class DeadLetterTopic:
    """One pipeline's dead letters. Belongs to one thread; close it, or use it as a context manager.

    Args:
        kafka: where to connect.
        pipeline: the pipeline's name.

    Raises:
        InvalidPipelineName: see `streams.topics.validate_pipeline_name`.
        TopicMissing: the topic does not exist.
        KafkaFailure: or one of its kinds, here and in each method.
    """

    def __init__(self, kafka: KafkaSettings, pipeline: str) -> None:
        self.pipeline = topics.validate_pipeline_name(pipeline)
        self.name = topics.dead_letters(pipeline)
        self._kafka = kafka
        self._client_id = f"penstock.{pipeline}.dlq"
        self._reader = RangeReader(kafka, self.name, client_id=self._client_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)

    def survey(self, selection: Selection, each: Callable[[ConsumedRecord, LetterFacts], None] | None = None) -> Survey:
        """Read all letters that there are now.

        Args:
            selection: which of them count.
            each: called with each letter that the selection takes, and its record.
        """
        starts, ends = self._reader.starts(), self._reader.ends()
        found = Survey(selection, ends)
        if selection.since_ms is not None:
            # Nothing before the first record of that time can be meant, and marks stand behind what they speak of.
            since = self._reader.since(selection.since_ms)
            starts = {
                partition: max(start, since.get(partition, ends[partition])) for partition, start in starts.items()
            }
        for record in self._reader.read(starts, ends):
            letter = found.add(record)
            if letter is not None and each is not None:
                each(record, letter)
        return found

    def find(self, place: Place) -> Iterator[ConsumedRecord]:
        """The letters at a place of this topic, or of the request at a place of another."""
        starts, ends = self._reader.starts(), self._reader.ends()
        if place.topic == self.name:
            at = max(place.offset, starts.get(place.partition, 0))
            if place.partition in ends and place.offset < ends[place.partition]:
                within = {place.partition: place.offset + 1}
                yield from self._reader.read({place.partition: at}, within)
            return
        for record in self._reader.read(starts, ends):
            if Place.parse(_source(record)) == place:
                yield record

    def target(self, letter: LetterFacts, to: str | None = None) -> str:
        """The topic that a letter's request goes to: `to`, else where it was, else the pipeline's requests."""
        requests = topics.requests(self.pipeline)
        if to is not None:
            return to
        # Lanes of requests are named after them; any other topic in a letter is nothing to write to unasked.
        if letter.source is not None and letter.source.topic.startswith(f"{requests}."):
            return letter.source.topic
        return requests

    def plan(self, order: ReplayOrder) -> ReplayPlan:
        """What a replay would do now; changes nothing."""
        return self._plan(self.survey(order.selection), order, order.limit)

    def replay(
        self, order: ReplayOrder, stop: threading.Event, progress: Callable[[int, int], None] = lambda _sent, _of: None
    ) -> ReplayOutcome:
        """Write the requests of letters to their topics again, each exactly once, whatever is killed when.

        Requests and the mark that they were replayed are in one transaction. The transactional name is the pipeline's:
        a second replay ends what the first has open, and the first stops.

        Args:
            order: which, where to, how many, how fast.
            stop: ends it between two transactions.
            progress: called with the letters sent so far and those planned.

        Raises:
            Fenced: another replay of this pipeline took over.
            OutcomeUnknown: the broker went away again and again; what was replayed is marked, so run it again.
            TopicMissing: a target does not exist.
        """
        run = uuid.uuid4().hex[:12]
        # First this, then the survey: once it stands, whatever a predecessor had open is decided and can be read.
        producer = TransactionalProducer(
            self._kafka,
            transactional_id=f"{self._client_id}-replay",
            timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_request_bytes=self._kafka.max_request_bytes + RECORD_ROOM_BYTES,
        )
        first: ReplayPlan | None = None
        began_at_s = time.monotonic()
        try:
            for tries_left in reversed(range(MOST_RECOVERIES + 1)):
                survey = self.survey(order.selection)
                sent = survey.replayed.by(run)
                plan = self._plan(survey, order, order.limit - sent)
                first = first or plan
                try:
                    sent, stopped = self._send(producer, plan, order, _Run(run, sent, began_at_s, stop, progress))
                except OutcomeUnknown as error:
                    self._decide(producer, error, tries_left)
                else:
                    return ReplayOutcome(first, sent, stopped)
            raise AssertionError  # unreachable: the last try raises
        finally:
            producer.discard()

    def plan_purge(self, rule: PurgeRule) -> tuple[Cut, ...]:
        """Where a purge would cut; changes nothing."""
        return plan_purge(self.survey(Selection()), rule)

    def purge(self, cuts: tuple[Cut, ...]) -> None:
        """Delete what lies before the cuts. It cannot be undone."""
        with Admin(self._kafka, self._client_id) as admin:
            admin.delete_records(self.name, {cut.partition: cut.before for cut in cuts})
        log.info("dead_letters.purged", extra={"topic": self.name, "letters": sum(cut.letters for cut in cuts)})

    def _plan(self, survey: Survey, order: ReplayOrder, limit: int) -> ReplayPlan:
        return plan_replay(
            survey,
            target=lambda letter: self.target(letter, order.to),
            limit=limit,
            max_attempts=order.max_attempts,
            now_ms=round(time.time() * 1000),
        )

    def _send(
        self, producer: TransactionalProducer, plan: ReplayPlan, order: ReplayOrder, run: _Run
    ) -> tuple[int, bool]:
        """Send what is planned; the letters sent by this run in all, and whether it was told to stop."""
        widths = self._widths({topic for offsets in plan.chosen.values() for topic in offsets.values()})
        starts = {partition: min(offsets) for partition, offsets in plan.chosen.items()}
        ends = {partition: max(offsets) + 1 for partition, offsets in plan.chosen.items()}
        most = most_at_once(order.rate_per_s, MOST_AT_ONCE)
        sent, of = run.sent, run.sent + plan.count
        chunk: list[tuple[ConsumedRecord, str]] = []

        def flush() -> bool:
            nonlocal sent
            wait_s = run.began_at_s + due_after_s(sent, order.rate_per_s) - time.monotonic()
            if run.stop.wait(max(wait_s, 0.0)):
                return False
            records = [self._again(record, topic, widths[topic], order) for record, topic in chunk]
            producer.send(records + self._marks(chunk, run.name), topic=self.name, group=None, offsets={})
            sent += len(chunk)
            chunk.clear()
            run.progress(sent, of)
            return True

        size = 0
        for record in self._reader.read(starts, ends):
            topic = plan.chosen[record.partition].get(record.offset)
            if topic is None:
                continue
            chunk.append((record, topic))
            size += len(record.value or b"")
            if len(chunk) >= most or size >= MOST_BYTES:
                size = 0
                if not flush():
                    return sent, True
        stopped = bool(chunk) and not flush()
        return sent, stopped

    def _again(self, record: ConsumedRecord, topic: str, width: int, order: ReplayOrder) -> Outgoing:
        source = Place.parse(_source(record))
        partition = record.partition if source is None else source.partition
        # Back to where its producer put it, whatever partitioner that had; the key decides where there is no such
        # partition.
        return dead_letters.replay(
            record, topic, partition if partition < width else None, deadline=order.keep_deadlines
        )

    def _marks(self, chunk: list[tuple[ConsumedRecord, str]], run: str) -> list[Outgoing]:
        offsets: dict[tuple[int, str], list[int]] = {}
        for record, topic in chunk:
            offsets.setdefault((record.partition, topic), []).append(record.offset)
        return [
            mark(self.name, partition, found, target=topic, run=run) for (partition, topic), found in offsets.items()
        ]

    def _widths(self, targets: set[str]) -> dict[str, int]:
        """Partition counts of the topics to write to.

        Raises:
            TopicMissing: one does not exist.
        """
        if not targets:
            return {}
        found = {}
        with Admin(self._kafka, self._client_id) as admin:
            for topic in targets:
                count = admin.partitions(topic)
                if count is None:
                    msg = f"cannot replay to {topic}: it does not exist; create it, or name another with --to"
                    raise TopicMissing(msg)
                found[topic] = count
        return found

    @staticmethod
    def _decide(producer: TransactionalProducer, error: OutcomeUnknown, tries_left: int) -> None:
        """After an unknown outcome: make it known, or raise what cannot get better."""
        cause = error if error.__cause__ is None else translate(error.__cause__, "replay dead letters")
        if isinstance(cause, Fenced):
            msg = (
                "another replay of this pipeline took over, and this one stopped; each letter was replayed at most "
                "once. Let one finish before you begin the next"
            )
            raise Fenced(msg) from error
        if not cause.retriable and type(cause) is not KafkaFailure:
            raise cause from error
        if not tries_left:
            raise error
        log.warning("dead_letters.replay_interrupted", extra={"error": str(error)[:300]})
        producer.recover()


@dataclass(frozen=True, slots=True)
class _Run:
    """One replay, over its recoveries."""

    name: str
    #: Letters that it had sent before.
    sent: int
    began_at_s: float
    stop: threading.Event
    progress: Callable[[int, int], None]


def _source(record: ConsumedRecord) -> str:
    return names.text_header(record.headers, names.DLQ_SOURCE) or ""
