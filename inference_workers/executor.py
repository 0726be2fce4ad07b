"""The execute thread: forms a batch of what waits, runs the model, hands the answers on."""

from __future__ import annotations

import logging
import operator
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers import batching, forming, non_finite
from inference_workers.answers import Answer, BatchFacts, Failure
from inference_workers.curve import CurveFit
from inference_workers.direct_call import functions_known
from inference_workers.errors import BrokenModel
from inference_workers.forming import Situation, Waiting
from inference_workers.lanes import MOST_HOLD, BulkShare, Lane
from inference_workers.load import Load
from inference_workers.model import ComputeFailed
from inference_workers.shadow import Served, chosen
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from inference_workers.counters import Counters
    from inference_workers.device import Device
    from inference_workers.intake import Models, Pending
    from inference_workers.model import ServedModel
    from inference_workers.ready import Front
    from inference_workers.shadow import ShadowRunner

log = logging.getLogger(__name__)

#: Most records of one batch that need no device (malformed, expired): a flood of them must not delay good ones.
MOST_RECORDS = 1024
_place_of = operator.attrgetter("record.partition", "epoch")
#: Seconds between looks at whether to stop while nothing waits.
IDLE_LOOK_S = 0.5
#: Shapes of batches remembered as run before: open dimensions may take any size.
MOST_SHAPES = 4096


class Executor:
    """Batches are self-clocking: while the device computes, requests gather, and the next batch takes what waits.

    Belongs to one thread.

    Args:
        urgent: requests to be answered within the objective.
        bulk: requests that are served with what those leave; `None` = the pipeline has no such lane.
        bulk_share: share of the rows that bulk gets at least.
        models: the versions at hand, the current one warm.
        shadow: compares with another version when nothing waits.
        fail_non_finite: whether requests fail whose answers hold NaN or an infinity.
        device: what computes.
        max_batch: most rows at once.
        objective_s: seconds within which requests want their results.
        counters: told of each batch.
        broken_model_batches: batches in a row that fail whole before the model counts as broken.
        deliver: takes the answers of a batch; may wait.
        now_s: Unix seconds.

    """

    def __init__(
        self,
        *,
        urgent: Lane,
        bulk: Lane | None,
        bulk_share: float,
        models: Models,
        shadow: ShadowRunner,
        fail_non_finite: bool,
        device: Device,
        max_batch: int,
        objective_s: float,
        counters: Counters,
        broken_model_batches: int,
        deliver: Callable[[list[Answer]], None],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._urgent, self._bulk, self._device = urgent, bulk, device
        self._share = BulkShare(bulk_share)
        self._models, self._shadow, self._fail_non_finite = models, shadow, fail_non_finite
        self._cap = max_batch
        self._sizes = batching.allowed_sizes(max_batch)
        # An emulated device is held for the rows that are real, so padding costs nothing on it.
        self._padded_to = () if device.emulated else self._sizes
        self._objective_s = objective_s
        self._counters = counters
        self._broken_model_batches = broken_model_batches
        self._failed_in_a_row = 0
        self._deliver = deliver
        self._now_s = now_s
        self.load = Load()
        #: Version, padded rows and key of batches that have been run.
        self._run_before: set[tuple[Any, ...]] = set()
        #: What is to be compared once the batch has been handed on.
        self._to_compare: list[Served] = []
        self.fit = CurveFit(max_batch)
        self._fitted: ServedModel | None = None
        self._fit(models.current)

    def step(self, wait_s: float = IDLE_LOOK_S) -> bool:
        """Take one batch through the model.

        Returns:
            whether there was anything to take.

        Raises:
            BrokenModel: the model fails on everything; nothing of the batch is delivered.

        """
        if self._bulk is not None:
            self._urgent.ready.wait_for_any(self._bulk.ready, wait_s)
        answers, batch = self._next(0 if self._bulk is not None else wait_s)
        if not answers and not batch:
            self._compare()
            return False
        if batch:
            answers = _merged(answers, self._compute(batch))
        self._deliver(answers)
        self._compare()
        return True

    # --- form

    def _next(self, wait_s: float) -> tuple[list[Answer], list[Pending]]:
        """What to run next, taken in hand: urgent requests, with bulk in the rows they leave, or bulk alone."""
        ready, bulk = self._urgent.ready, self._bulk
        owed = self._share.reserved(self._cap) if bulk is not None and len(bulk.ready) else 0
        front = ready.front(self._cap - owed, MOST_RECORDS, wait_s)
        if not len(front):
            if bulk is None:
                return [], []
            return self._take(bulk, bulk.ready.front(self._alone(), MOST_RECORDS, 0))
        if front.batch:
            choice = self._choose(front.batch)
            if choice.count:
                front = front.first(choice.count)
            else:
                ready.more(len(front), choice.wait_s)
                # With whatever has come meanwhile, and no second wait for the same request.
                front = ready.front(self._cap - owed, MOST_RECORDS, 0)
        answers, batch = self._take(self._urgent, front)
        if bulk is not None and len(bulk.ready) and batch:
            more_answers, more = self._company(bulk, batch, owed)
            answers, batch = answers + more_answers, batch + more
        return answers, batch

    def _company(self, bulk: Lane, batch: list[Pending], owed: int) -> tuple[list[Answer], list[Pending]]:
        """Bulk for the pad slots of a batch, which cost nothing, and for the rows that it is owed."""
        rows = sum(one.rows for one in batch)
        padded = batching.padded_size(rows, self._padded_to) if self._padded_to and rows <= self._cap else rows
        room = min(max(padded - rows, owed), self._cap - rows)
        answers: list[Answer] = []
        more: list[Pending] = []
        if room > 0:
            front = bulk.ready.front(room, MOST_RECORDS, 0)
            # Of another kind, or larger than the room: its turn comes with more room, or when nothing urgent waits.
            fits = front.batch and front.batch[0].key == batch[0].key and front.batch[0].rows <= room
            front = front if fits else front.first(0)
            if len(front):
                answers, more = self._take(bulk, front)
        self._share.served(rows, sum(one.rows for one in more), self._cap)
        return answers, more

    def _alone(self) -> int:
        """Rows of a batch of bulk alone: no more than hold the device for a small part of the objective."""
        curve, most = self.fit.curve(), MOST_HOLD * self._objective_s
        if curve is None:
            return self._cap
        return max((size for size in self._sizes if size <= self._cap and curve.seconds(size) <= most), default=1)

    def _choose(self, batch: Sequence[Pending]) -> forming.Choice:
        """The decision; without the trouble of describing the situation where it is plain."""
        if all(one.headers.deadline_at_ms is None for one in batch):
            rows = sum(one.rows for one in batch)
            if rows >= self._cap and self.load.busy >= forming.PRESSED:
                return forming.Choice(len(batch))
        return forming.choose(self._situation(batch))

    def _situation(self, batch: Sequence[Pending]) -> Situation:
        return Situation(
            waiting=[
                Waiting(one.rows, one.deadline_s, one.record.timestamp / 1000 if one.record.timestamp >= 0 else None)
                for one in batch
            ],
            now_s=self._now_s(),
            sizes=self._padded_to,
            most_rows=self._cap,
            curve=self.fit.curve(),
            rate=self.load.rate,
            busy=self.load.busy,
            objective_s=self._objective_s,
        )

    def _take(self, lane: Lane, front: Front) -> tuple[list[Answer], list[Pending]]:
        """Take a front in hand: less what is no longer ours, and what has expired while it waited as answers."""
        lane.ready.take(len(front))
        answers, batch = front.answers, front.batch
        taken: list[Answer | Pending] = [*answers, *batch]
        places = Counter(map(_place_of, taken))
        lost = {place for place, number in places.items() if not lane.ownership.take(*place, number)}
        if lost:
            answers = [one for one in answers if _place_of(one) not in lost]
            batch = [one for one in batch if _place_of(one) not in lost]
        now_s = self._now_s()
        expired = [one for one in batch if one.headers.expired(now_s)]
        if expired:
            batch = [one for one in batch if one not in expired]
            answers = _merged(answers, [_answer(one, Status.EXPIRED) for one in expired])
        return answers, batch

    # --- run

    def _compute(self, batch: Sequence[Pending]) -> list[Answer]:
        formed_at_s = self._now_s()
        if batch[0].model is not self._fitted and batch[0].model is self._models.current:
            self._fit(batch[0].model)
        outcomes = batching.isolate(batch, lambda part: self._run(part, formed_at_s), ComputeFailed)
        if any(isinstance(outcome, Exception) for outcome in outcomes):
            self._suspect_model(batch[0].model, outcomes)
        else:
            self._failed_in_a_row = 0
        return [
            outcome
            if isinstance(outcome, Answer)
            else _answer(pending, Status.FAILED, failure=Failure("model-failed", str(outcome), "model"))
            for pending, outcome in zip(batch, outcomes, strict=True)
        ]

    def _run(self, part: Sequence[Pending], formed_at_s: float) -> list[Answer]:
        rows = sum(pending.rows for pending in part)
        # The cap may have fallen since this batch was formed, or since the other half of it was run.
        if len(part) == 1 or rows <= self._cap:
            try:
                return self._run_whole(part, rows, formed_at_s)
            except ComputeFailed as error:
                most = min(self._cap, rows)
                if not error.out_of_memory or most == 1:
                    raise
                # The size is at fault, not a record: the same again, in smaller batches from now on.
                self._cap = most // 2
                log.warning("worker.batch_halved", extra={"max_batch": self._cap})
        if len(part) == 1:
            return self._run(part, formed_at_s)
        half = len(part) // 2
        return self._run(part[:half], formed_at_s) + self._run(part[half:], formed_at_s)

    def _run_whole(self, part: Sequence[Pending], rows: int, formed_at_s: float) -> list[Answer]:
        model = part[0].model
        requests = [pending.inputs for pending in part]
        # Only a single request can have more rows than a batch takes.
        pieces = [(requests, rows)]
        if rows > self._cap:
            pieces = [
                ([chunk], len(next(iter(chunk.values())))) for chunk in batching.chunks(requests[0], rows, self._cap)
            ]
        outputs: list[Mapping[str, NDArray[Any]]] = []
        held_s = 0.0
        for piece, count in pieces:
            size = batching.padded_size(count, self._sizes)
            inputs = batching.stack(piece, count, size)
            shape = (model.version, size, *part[0].key[1:])
            functions = None if shape in self._run_before else functions_known()
            computed, seconds, held_rows = self._device.compute(model, inputs, count)
            if model is self._fitted:
                self.fit.add(held_rows, seconds)
            self.load.held.add(seconds)
            self._counters.ran(count, seconds, traced=functions is not None and self._traced(model, functions))
            self._remember(shape)
            held_s += seconds
            outputs.append({name: array[:count] for name, array in computed.items()})
        whole = (
            outputs[0]
            if len(outputs) == 1
            else {name: np.concatenate([piece[name] for piece in outputs]) for name in outputs[0]}
        )
        facts = BatchFacts(model.name, model.version, held_s, rows, formed_at_s, whole)
        answers, at = [], 0
        bad = non_finite.bad_rows(whole) if self._fail_non_finite else None
        for pending in part:
            answer = _answer(pending, Status.OK, batch=facts, start=at, rows=pending.rows)
            if bad is not None and bad[at : at + pending.rows].any():
                answer.failure = non_finite.failure(facts.rows_of(at, pending.rows), _named(model))
                answer.status = Status.FAILED
            answers.append(answer)
            at += pending.rows
        self._keep_to_compare(part, answers)
        return answers

    def _fit(self, model: ServedModel) -> None:
        """Begin with what was measured while the model was warmed: another one has another curve."""
        self._fitted = model
        self.fit.restart(self._models.timings)
        sample = model.check(model.sample(1))
        for size in self._sizes:
            self._remember((model.version, size, *batching.shape_key(sample)))

    def _remember(self, shape: tuple[Any, ...]) -> None:
        if len(self._run_before) >= MOST_SHAPES:
            self._run_before.clear()
        self._run_before.add(shape)

    def _traced(self, model: ServedModel, functions_before: int) -> bool:
        """Whether a shape that was run for the first time has made TensorFlow trace or compile anything."""
        # A version that is being loaded makes functions known too, in a thread of its own.
        return model.compiles_by_shape or (not self._models.loading and functions_known() > functions_before)

    # --- compare

    def _keep_to_compare(self, part: Sequence[Pending], answers: Sequence[Answer]) -> None:
        order, current = self._models.shadow, self._models.current
        if order is None or part[0].model is not current:
            return
        for pending, answer in zip(part, answers, strict=True):
            if answer.batch is not None and chosen(pending.request_id, order.share):
                outputs = answer.batch.rows_of(answer.start, answer.rows)
                self._to_compare.append(Served(pending.request_id, pending.inputs, outputs, pending.rows))

    def _compare(self) -> None:
        order = self._models.shadow
        if self._to_compare:
            kept, self._to_compare = self._to_compare, []
            if order is not None:
                self._shadow.offer(order.model, kept)
        self._shadow.step(backlog=lambda: len(self._urgent.ready))

    def _suspect_model(self, model: ServedModel, outcomes: Sequence[object]) -> None:
        """Tell a broken model from a bad record, before a single dead letter is written for it.

        Only the version that is served can stop the worker: one that requests name fails those requests.

        Raises:
            BrokenModel: the model fails on its own warm-up input, or has failed on every record for long.

        """
        if model is not self._models.current:
            return
        try:
            model.run(model.sample(1))
        except ComputeFailed as error:
            msg = (
                f"{_named(model)} no longer computes even zeros: {error}; "
                "nothing was answered for it; replace the version, then start the worker again"
            )
            raise BrokenModel(msg) from error
        everything = all(isinstance(outcome, Exception) for outcome in outcomes)
        self._failed_in_a_row = self._failed_in_a_row + 1 if everything else 0
        if self._failed_in_a_row >= self._broken_model_batches:
            msg = (
                f"{_named(model)} failed on every record of "
                f"{self._failed_in_a_row} batches in a row, the last with: {outcomes[0]}; compare what is sent with "
                "what the model takes, or raise worker.broken_model_batches"
            )
            raise BrokenModel(msg)


def _named(model: ServedModel) -> str:
    return f"model {model.name} version {model.version}"


def _answer(pending: Pending, status: Status, **facts: Any) -> Answer:
    return Answer(pending.record, pending.epoch, pending.headers, pending.request_id, pending.encoding, status, **facts)


def _merged(answers: list[Answer], more: list[Answer]) -> list[Answer]:
    """All answers of a batch in the order of their offsets, so that order within a partition holds."""
    if not answers or not more:
        return answers or more
    return sorted(
        [*answers, *more], key=lambda answer: (answer.record.topic, answer.record.partition, answer.record.offset)
    )
