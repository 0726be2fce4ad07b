"""The execute thread: takes what waits, decodes, forms a batch, runs the model, hands the answers on."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers import batching
from inference_workers.answers import Answer, Failure
from inference_workers.curve import CurveFit
from inference_workers.errors import BrokenModel, RejectedInput
from inference_workers.model import ComputeFailed, ServedModel
from streams.errors import MalformedRequest
from streams.headers import RequestHeaders, request_id_of
from streams.records import Encoding, InferRequest, Limits, Status, decode_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from inference_workers.buffer import Polled, RecordBuffer
    from inference_workers.counters import Counters
    from inference_workers.device import Device
    from inference_workers.ownership import Ownership

log = logging.getLogger(__name__)

#: Most records of one batch that need no device (malformed, expired): a flood of them must not delay good ones.
MOST_RECORDS = 1024
#: Seconds between looks at whether to stop while nothing waits.
IDLE_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A decoded request that fits the model."""

    polled: Polled
    headers: RequestHeaders
    request_id: str
    request: InferRequest
    inputs: dict[str, NDArray[Any]]


class Executor:
    """Batches are self-clocking: while the device computes, requests gather, and the next batch takes what waits."""

    def __init__(
        self,
        *,
        buffer: RecordBuffer,
        ownership: Ownership,
        model: ServedModel,
        device: Device,
        max_batch: int,
        limits: Limits,
        counters: Counters,
        broken_model_batches: int,
        deliver: Callable[[list[Answer]], None],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._buffer, self._ownership, self._model, self._device = buffer, ownership, model, device
        self._cap = max_batch
        self._sizes = batching.allowed_sizes(max_batch)
        self._limits = limits
        self._counters = counters
        self._broken_model_batches = broken_model_batches
        self._failed_in_a_row = 0
        self._deliver = deliver
        self._now_s = now_s
        self._carry: Answer | Pending | None = None
        self._warmed: set[tuple[Any, ...]] = set()
        self._named = f"model {model.name} version {model.version}"
        self.fit = CurveFit(max_batch)

    def warm_up(self) -> None:
        """Run each allowed size, so that nothing is traced or allocated for the first time under load.

        Raises:
            BrokenModel: the model fails on an input that its own signature asks for.

        """
        for size in self._sizes:
            sample = self._model.sample(size)
            try:
                self._device.compute(self._model, sample, size, hold=lambda _s: None)
                _, seconds, held_rows = self._device.compute(self._model, sample, size, hold=lambda _s: None)
            except ComputeFailed as error:
                msg = f"{self._named} fails on zeros of its own signature: {error}; export it again"
                raise BrokenModel(msg) from error
            emulated = self._device.emulated
            self.fit.add(held_rows, seconds if emulated is None else max(seconds, emulated.seconds(size)))
            self._warmed.add((size, batching.shape_key(sample)))

    def step(self, wait_s: float = IDLE_LOOK_S) -> bool:
        """Take one batch through the model.

        Returns:
            whether there was anything to take.

        Raises:
            BrokenModel: the model fails on everything; nothing of the batch is delivered.

        """
        answers, batch = self._gather(wait_s)
        if not answers and not batch:
            return False
        if batch:
            answers = self._merged(answers, self._compute(batch))
        self._deliver(answers)
        return True

    # --- take and decode

    def _gather(self, wait_s: float) -> tuple[list[Answer], list[Pending]]:
        answers: list[Answer] = []
        batch: list[Pending] = []
        rows, key = 0, None
        while len(answers) + len(batch) < MOST_RECORDS:
            item = self._next(wait_s if not answers and not batch else 0.0)
            if item is None:
                break
            if isinstance(item, Answer):
                answers.append(item)
                continue
            item_key = batching.shape_key(item.inputs)
            if batch and (item_key != key or rows + item.request.rows > self._cap):
                self._carry = item
                break
            batch.append(item)
            rows, key = rows + item.request.rows, item_key
            if rows >= self._cap:
                break
        return answers, batch

    def _next(self, wait_s: float) -> Answer | Pending | None:
        if self._carry is not None:
            item, self._carry = self._carry, None
            return item
        while True:
            polled = self._buffer.get(wait_s)
            if polled is None:
                return None
            if self._ownership.take(polled.record.partition, polled.epoch):
                return self._decode(polled)

    def _decode(self, polled: Polled) -> Answer | Pending:
        record = polled.record
        headers, encoding, body_id = RequestHeaders(), Encoding.JSON, None
        try:
            headers = RequestHeaders.parse(record.headers)
            request = decode_request(record.value, record.headers, limits=self._limits)
            encoding, body_id = request.encoding, request.id
            request_id = request_id_of(record.headers, body_id, record.topic, record.partition, record.offset)
            if headers.deadline_at_ms is not None and headers.deadline_at_ms <= self._now_s() * 1000:
                return Answer(record, polled.epoch, headers, request_id, encoding, Status.EXPIRED)
            self._check_pin(headers)
            return Pending(polled, headers, request_id, request, self._model.check(request.inputs))
        except MalformedRequest as error:
            failure = Failure(error.code.value, error.message, "decode")
            body_id = error.request_id
        except RejectedInput as error:
            failure = Failure(error.code, str(error), "batch")
        request_id = request_id_of(record.headers, body_id, record.topic, record.partition, record.offset)
        return Answer(record, polled.epoch, headers, request_id, encoding, Status.FAILED, failure=failure)

    def _check_pin(self, headers: RequestHeaders) -> None:
        if headers.model_version not in (None, self._model.version):
            msg = f"the request is pinned to version {headers.model_version}, this worker serves {self._model.version}"
            raise RejectedInput("model-version-unavailable", msg)

    # --- run

    def _compute(self, batch: Sequence[Pending]) -> list[Answer]:
        formed_at_s = self._now_s()
        outcomes = batching.bisect(batch, lambda part: self._run(part, formed_at_s), ComputeFailed)
        if any(isinstance(outcome, Exception) for outcome in outcomes):
            self._suspect_model(outcomes)
        else:
            self._failed_in_a_row = 0
        return [
            outcome
            if isinstance(outcome, Answer)
            else self._answer(pending, Status.FAILED, failure=Failure("model-failed", str(outcome), "model"))
            for pending, outcome in zip(batch, outcomes, strict=True)
        ]

    def _run(self, part: Sequence[Pending], formed_at_s: float) -> list[Answer]:
        rows = [pending.request.rows for pending in part]
        total = sum(rows)
        pieces: list[tuple[dict[str, NDArray[Any]], int]]
        if total <= self._sizes[-1]:
            size = batching.padded_size(total, self._sizes)
            pieces = [(batching.stack([pending.inputs for pending in part], size), total)]
        else:
            # Only a single request can have more rows than a batch takes.
            chunks = batching.chunks(part[0].inputs, total, self._sizes[-1])
            pieces = []
            for chunk in chunks:
                count = len(next(iter(chunk.values())))
                pieces.append((batching.stack([chunk], batching.padded_size(count, self._sizes)), count))
        outputs: list[dict[str, NDArray[Any]]] = []
        held_s = 0.0
        for inputs, count in pieces:
            shape = (len(next(iter(inputs.values()))), batching.shape_key(inputs))
            try:
                computed, seconds, held_rows = self._device.compute(self._model, inputs, count)
            except ComputeFailed as error:
                if error.out_of_memory and self._cap > 1:
                    self._cap //= 2
                    log.warning("worker.batch_halved", extra={"max_batch": self._cap})
                raise
            self.fit.add(held_rows, seconds)
            self._counters.ran(count, seconds, traced=shape not in self._warmed)
            self._warmed.add(shape)
            held_s += seconds
            outputs.append({name: array[:count] for name, array in computed.items()})
        if len(outputs) == 1:
            sliced = batching.split(outputs[0], rows)
        else:
            sliced = [{name: np.concatenate([piece[name] for piece in outputs]) for name in outputs[0]}]
        return [
            self._answer(
                pending, Status.OK, outputs=answer, compute_s=held_s, batch_rows=total, formed_at_s=formed_at_s
            )
            for pending, answer in zip(part, sliced, strict=True)
        ]

    def _suspect_model(self, outcomes: Sequence[object]) -> None:
        """Tell a broken model from a bad record, before a single dead letter is written for it.

        Raises:
            BrokenModel: the model fails on its own warm-up input, or has failed on every record for long.

        """
        try:
            self._model.run(self._model.sample(1))
        except ComputeFailed as error:
            msg = (
                f"{self._named} no longer computes even zeros: {error}; "
                "nothing was answered for it; replace the version, then start the worker again"
            )
            raise BrokenModel(msg) from error
        everything = all(isinstance(outcome, Exception) for outcome in outcomes)
        self._failed_in_a_row = self._failed_in_a_row + 1 if everything else 0
        if self._failed_in_a_row >= self._broken_model_batches:
            msg = (
                f"{self._named} failed on every record of "
                f"{self._failed_in_a_row} batches in a row, the last with: {outcomes[0]}; compare what is sent with "
                "what the model takes, or raise worker.broken_model_batches"
            )
            raise BrokenModel(msg)

    @staticmethod
    def _answer(pending: Pending, status: Status, **facts: Any) -> Answer:
        return Answer(
            pending.polled.record,
            pending.polled.epoch,
            pending.headers,
            pending.request_id,
            pending.request.encoding,
            status,
            **facts,
        )

    @staticmethod
    def _merged(undecoded: list[Answer], computed: list[Answer]) -> list[Answer]:
        """All answers of a batch in the order of their offsets, so that order within a partition holds."""
        if not undecoded:
            return computed
        return sorted([*undecoded, *computed], key=lambda answer: (answer.record.partition, answer.record.offset))
