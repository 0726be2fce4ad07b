"""The execute thread: forms a batch of what waits, runs the model, hands the answers on."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers import batching, forming
from inference_workers.answers import Answer, BatchFacts, Failure
from inference_workers.curve import CurveFit
from inference_workers.errors import BrokenModel
from inference_workers.forming import Situation, Waiting
from inference_workers.load import Load
from inference_workers.model import ComputeFailed
from streams.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from inference_workers.counters import Counters
    from inference_workers.device import Device
    from inference_workers.intake import Pending
    from inference_workers.model import ServedModel
    from inference_workers.ownership import Ownership
    from inference_workers.ready import Front, ReadyQueue

log = logging.getLogger(__name__)

#: Most records of one batch that need no device (malformed, expired): a flood of them must not delay good ones.
MOST_RECORDS = 1024
#: Seconds between looks at whether to stop while nothing waits.
IDLE_LOOK_S = 0.5


class Executor:
    """Batches are self-clocking: while the device computes, requests gather, and the next batch takes what waits.

    Belongs to one thread.

    Args:
        ready: decoded requests.
        ownership: whose they are.
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
        ready: ReadyQueue,
        ownership: Ownership,
        device: Device,
        max_batch: int,
        objective_s: float,
        counters: Counters,
        broken_model_batches: int,
        deliver: Callable[[list[Answer]], None],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._ready, self._ownership, self._device = ready, ownership, device
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
        self._warmed: set[tuple[Any, ...]] = set()
        self.fit = CurveFit(max_batch)

    def warm_up(self, model: ServedModel) -> None:
        """Run each allowed size, so that nothing is traced or allocated for the first time under load.

        Raises:
            BrokenModel: the model fails on an input that its own signature asks for.

        """
        for size in self._sizes:
            sample = model.sample(size)
            try:
                self._device.compute(model, sample, size, hold=lambda _s: None)
                _, seconds, held_rows = self._device.compute(model, sample, size, hold=lambda _s: None)
            except ComputeFailed as error:
                msg = f"{_named(model)} fails on zeros of its own signature: {error}; export it again"
                raise BrokenModel(msg) from error
            emulated = self._device.emulated
            self.fit.add(held_rows, seconds if emulated is None else max(seconds, emulated.seconds(size)))
            self._warmed.add((size, model, *batching.shape_key(sample)))

    def step(self, wait_s: float = IDLE_LOOK_S) -> bool:
        """Take one batch through the model.

        Returns:
            whether there was anything to take.

        Raises:
            BrokenModel: the model fails on everything; nothing of the batch is delivered.

        """
        front = self._ready.front(self._cap, MOST_RECORDS, wait_s)
        if not len(front):
            return False
        if front.batch:
            choice = forming.choose(self._situation(front.batch))
            if choice.count:
                front = front.first(choice.count)
            else:
                self._ready.more(len(front), choice.wait_s)
                # With whatever has come meanwhile, and no second wait for the same request.
                front = self._ready.front(self._cap, MOST_RECORDS, 0)
        answers, batch = self._take(front)
        if batch:
            answers = _merged(answers, self._compute(batch))
        if answers:
            self._deliver(answers)
        return True

    # --- form

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

    def _take(self, front: Front) -> tuple[list[Answer], list[Pending]]:
        """Take a front in hand: less what is no longer ours, and what has expired while it waited as answers."""
        self._ready.take(len(front))
        answers, batch = front.answers, front.batch
        taken: list[Answer | Pending] = [*answers, *batch]
        places = Counter((one.record.partition, one.epoch) for one in taken)
        lost = {place for place, number in places.items() if not self._ownership.take(*place, number)}
        if lost:
            answers = [one for one in answers if (one.record.partition, one.epoch) not in lost]
            batch = [one for one in batch if (one.record.partition, one.epoch) not in lost]
        now_s = self._now_s()
        expired = [one for one in batch if one.deadline_s is not None and one.deadline_s <= now_s]
        if expired:
            batch = [one for one in batch if one not in expired]
            answers = _merged(answers, [_answer(one, Status.EXPIRED) for one in expired])
        return answers, batch

    # --- run

    def _compute(self, batch: Sequence[Pending]) -> list[Answer]:
        formed_at_s = self._now_s()
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
        try:
            return self._run_whole(part, rows, formed_at_s)
        except ComputeFailed as error:
            if not error.out_of_memory or rows == 1:
                raise
            # The size is at fault, not a record: the same again, in smaller batches from now on.
            self._cap = max(min(self._cap, rows) // 2, 1)
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
            computed, seconds, held_rows = self._device.compute(model, inputs, count)
            self.fit.add(held_rows, seconds)
            self.load.held.add(seconds)
            shape = (size, *part[0].key)
            self._counters.ran(count, seconds, traced=shape not in self._warmed)
            self._warmed.add(shape)
            held_s += seconds
            outputs.append({name: array[:count] for name, array in computed.items()})
        whole = (
            outputs[0]
            if len(outputs) == 1
            else {name: np.concatenate([piece[name] for piece in outputs]) for name in outputs[0]}
        )
        facts = BatchFacts(model.name, model.version, held_s, rows, formed_at_s, whole)
        answers, at = [], 0
        for pending in part:
            answers.append(_answer(pending, Status.OK, batch=facts, start=at, rows=pending.rows))
            at += pending.rows
        return answers

    def _suspect_model(self, model: ServedModel, outcomes: Sequence[object]) -> None:
        """Tell a broken model from a bad record, before a single dead letter is written for it.

        Raises:
            BrokenModel: the model fails on its own warm-up input, or has failed on every record for long.

        """
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
    return sorted([*answers, *more], key=lambda answer: (answer.record.partition, answer.record.offset))
