"""From records to answers with several versions at hand: which one answers, what is compared, what fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference_workers import batching, serving_control
from inference_workers.buffer import RecordBuffer
from inference_workers.counters import Counters
from inference_workers.device import Device
from inference_workers.executor import Executor
from inference_workers.intake import Intake
from inference_workers.lanes import Lane
from inference_workers.model import ServedModel
from inference_workers.model_set import ModelSet
from inference_workers.model_versions import MARKER
from inference_workers.ownership import Ownership
from inference_workers.ready import ReadyQueue
from inference_workers.serving_control import Control, Shadow
from inference_workers.shadow import ShadowRunner
from inference_workers.warming import warm
from streams.records import Limits, Status, encode_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference_workers.answers import Answer

pytestmark = pytest.mark.tensorflow

_SIZES = batching.allowed_sizes(8)


@dataclass(frozen=True)
class _Record:
    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]
    topic: str = "t.requests"
    partition: int = 0
    timestamp: int = 1
    key: bytes = b"k"


class _Bench:
    """The decode and the execute thread's work, done in turn by the test."""

    def __init__(self, root: Path, *, fail_non_finite: bool = False) -> None:
        self.models = ModelSet(
            root,
            load=ServedModel,
            warm=lambda model: warm(model, Device(), _SIZES),
            pinned_models=1,
        )
        self.models.start()
        self.answers: list[Answer] = []
        self.counters, ownership, self.ready = Counters(), Ownership(), ReadyQueue(1000)
        ownership.assigned([0])
        self.epoch = 1
        self.intake = Intake(self.models, Limits())
        self.executor = Executor(
            urgent=Lane("t.requests", "g", ownership, RecordBuffer(1, 1), self.ready),
            bulk=None,
            bulk_share=0.0,
            models=self.models,
            shadow=ShadowRunner(self.models.shadow_stats, sizes=_SIZES, rtol=1e-3, atol=1e-5),
            fail_non_finite=fail_non_finite,
            device=Device(),
            max_batch=8,
            objective_s=1.0,
            counters=self.counters,
            broken_model_batches=3,
            deliver=self.answers.extend,
        )
        self.offset = 0

    def send(self, inputs: dict[str, np.ndarray], *headers: tuple[str, bytes]) -> None:
        """Decode one request, as the decode thread does."""
        value, content = encode_request(inputs, request_id=f"r{self.offset}")
        record: Any = _Record(self.offset, value, [*content, *headers])
        self.offset += 1
        self.models.swap_if_ready()
        self.ready.put([self.intake.decode(record, self.epoch)])

    def step(self) -> list[Answer]:
        """Run one batch; what it came to."""
        before = len(self.answers)
        self.executor.step(0.0)
        return self.answers[before:]

    def drain(self) -> list[Answer]:
        """Run until nothing waits."""
        while len(self.ready):
            self.step()
        return self.answers


def _x(rows: int = 1, value: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full((rows, 4), value, np.float32)}


def _versions(answers: list[Answer]) -> list[str]:
    return [answer.batch.model_version if answer.batch else answer.failure.reason for answer in answers]  # type: ignore[union-attr]


@pytest.fixture
def put(tmp_path: Path, times: Callable[[Path, float], Path]) -> Callable[[int], Path]:
    """Puts a version that multiplies by its number; the first is there."""

    def write(version: int) -> Path:
        path = times(tmp_path / f".making-{version}", float(version))
        (path / MARKER).touch()
        (tmp_path / "model").mkdir(exist_ok=True)
        return path.rename(tmp_path / "model" / str(version))

    write(1)
    return write


def test_requests_decoded_before_the_swap_are_answered_by_the_old_version_and_share_no_batch(
    put: Callable[[int], Path], tmp_path: Path
) -> None:
    """Six requests that would fit one batch become two, and each answer is wholly of one version."""
    bench = _Bench(tmp_path / "model")
    for _ in range(3):
        bench.send(_x())
    put(2)
    bench.models.look()
    for _ in range(3):
        bench.send(_x())
    assert _versions(bench.step()) == ["1", "1", "1"]
    assert _versions(bench.step()) == ["2", "2", "2"]
    for answer in bench.answers:
        assert answer.batch is not None
        assert np.all(answer.batch.outputs["y"] == float(answer.batch.model_version))
    assert bench.counters.snapshot().retraces == 0


def test_a_pinned_request_is_answered_in_its_turn_by_its_version(put: Callable[[int], Path], tmp_path: Path) -> None:
    """In a batch of its own; one that cannot be had fails alone; the order of the partition holds."""
    put(2)
    bench = _Bench(tmp_path / "model")
    for pin in (None, b"1", None, b"9", b"2"):
        bench.send(_x(), *([("model-version", pin)] if pin else []))
    answers = bench.drain()
    assert _versions(answers) == ["2", "1", "2", "model-version-unavailable", "2"]
    assert [answer.record.offset for answer in answers] == [0, 1, 2, 3, 4]
    assert answers[3].failure is not None
    assert "pinned to version 9, this worker serves 2: there are 2, 1" in answers[3].failure.message


def test_the_curve_is_that_of_the_served_version(put: Callable[[int], Path], tmp_path: Path) -> None:
    """It starts anew from what warming measured, and is not touched by pinned requests."""
    bench = _Bench(tmp_path / "model")
    assert set(bench.executor.fit._seen) == set(_SIZES)
    put(2)
    bench.models.look()
    bench.send(_x(3))
    bench.step()
    seen = bench.executor.fit._seen
    assert {rows: len(times) for rows, times in seen.items()} == {1: 1, 2: 1, 4: 2, 8: 1}
    bench.send(_x(3), ("model-version", b"1"))
    bench.step()
    assert {rows: len(times) for rows, times in seen.items()} == {1: 1, 2: 1, 4: 2, 8: 1}


def test_no_version_that_was_served_is_held_on_to(put: Callable[[int], Path], tmp_path: Path) -> None:
    """After two more swaps and a few requests nothing refers to the first one any more."""
    import gc  # noqa: PLC0415 - this test only
    import weakref  # noqa: PLC0415

    bench = _Bench(tmp_path / "model")
    bench.send(_x())
    bench.drain()
    first = weakref.ref(bench.models.current)
    for version in (2, 3):
        put(version)
        bench.models.look()
        bench.send(_x())
        bench.drain()
    bench.answers.clear()
    bench.models.look()
    gc.collect()
    assert first() is None


def test_open_dimensions_are_batched_by_size_and_traced_never(
    tf: Any, export: Callable[..., Path], tmp_path: Path
) -> None:
    """Thirty lengths of text, each a batch of its own kind: retraces stay 0, by TensorFlow's own count."""
    export(
        tmp_path / "model" / "1",
        lambda words: {"count": tf.reduce_sum(tf.strings.length(words), 1)},
        {"words": tf.TensorSpec([None, None], tf.string)},
    )
    bench = _Bench(tmp_path / "model")
    for length in range(1, 31):
        for _ in range(2):
            bench.send({"words": np.full((1, length), b"ab", object)})
    answers = bench.drain()
    assert [answer.status for answer in answers] == [Status.OK] * 60
    assert [int(answer.batch.rows_of(answer.start, 1)["count"][0]) for answer in answers if answer.batch] == [
        2 * length for length in range(1, 31) for _ in range(2)
    ]
    counted = bench.counters.snapshot()
    assert (counted.batches, counted.retraces) == (30, 0)


def test_a_model_that_compiles_each_shape_is_counted(tf: Any, export: Callable[..., Path], tmp_path: Path) -> None:
    """Once a shape, not once a batch."""
    inner = tf.function(lambda x: x * 2.0, jit_compile=True, autograph=False)
    export(tmp_path / "model" / "1", lambda x: {"y": inner(x)}, {"x": tf.TensorSpec([None, None], tf.float32)})
    bench = _Bench(tmp_path / "model")
    for length in (1, 2, 3, 2, 3):
        bench.send({"x": np.ones((1, length), np.float32)})
    assert all(answer.status is Status.OK for answer in bench.drain())
    assert bench.counters.snapshot().retraces == 2


@pytest.fixture
def logarithm(tf: Any, export: Callable[..., Path], tmp_path: Path) -> Path:
    """A model that has no finite answer for 0."""
    export(
        tmp_path / "model" / "1",
        lambda x: {"y": tf.math.log(x), "n": tf.cast(x, tf.int32)},
        {"x": tf.TensorSpec([None, 4], tf.float32)},
    )
    return tmp_path / "model"


def test_only_requests_without_a_finite_answer_fail(logarithm: Path) -> None:
    """One bad row among those of a batch: its request fails, and no other."""
    bench = _Bench(logarithm, fail_non_finite=True)
    bad = _x(3)
    bad["x"][1, 2] = 0.0
    for inputs in (_x(2), bad, _x(1)):
        bench.send(inputs)
    good, failed, other = bench.step()
    assert (good.status, failed.status, other.status) == (Status.OK, Status.FAILED, Status.OK)
    assert failed.failure is not None
    assert failed.failure.reason == "non-finite-output"
    assert "model model version 1 answered" in failed.failure.message
    assert "1 of 3 rows (row 1)" in failed.failure.message
    assert failed.batch is not None, "the result says which version could not answer"
    assert bench.counters.snapshot().batches == 1, "nothing was run again"


def test_padding_is_no_answer(logarithm: Path) -> None:
    """Rows that only fill the batch are not looked at, and many bad answers in a row do not stop the worker."""
    bench = _Bench(logarithm, fail_non_finite=True)
    for _ in range(10):
        bench.send(_x(3, 0.0))
        (answer,) = bench.step()
        assert answer.failure is not None
        assert "3 of 3 rows" in answer.failure.message


def test_by_default_answers_are_delivered_as_they_are(logarithm: Path) -> None:
    """The logarithm of 0 is minus infinity, and may be meant."""
    bench = _Bench(logarithm)
    bench.send(_x(1, 0.0))
    (answer,) = bench.step()
    assert answer.status is Status.OK
    assert answer.batch is not None
    assert np.all(answer.batch.outputs["y"] == -np.inf)


def test_the_shadow_is_compared_after_delivery_and_never_delivered(put: Callable[[int], Path], tmp_path: Path) -> None:
    """Every answer is of the served version; what is pinned elsewhere is not compared; counts say how it went."""
    put(2)
    serving_control.write(tmp_path / "model", Control(pin="1", shadow=Shadow("2", 1.0)))
    bench = _Bench(tmp_path / "model")
    for value in (0.0, 1.0, 2.0):
        bench.send(_x(2, value))
    bench.send(_x(), ("model-version", b"2"))
    answers = bench.drain()
    assert _versions(answers) == ["1", "1", "1", "2"]
    bench.step()
    counts = bench.models.shadow_counts()
    assert counts is not None
    assert (counts.version, counts.same, counts.different, counts.failed, counts.skipped) == ("2", 1, 2, 0, 0)
    facts = bench.models.status()["shadow"]
    assert facts["largest_difference"] == 2.0


def test_a_version_that_requests_name_cannot_stop_the_worker(
    put: Callable[[int], Path], tf: Any, export: Callable[..., Path], tmp_path: Path
) -> None:
    """It fails its own requests, batch after batch; those of the served version are answered."""

    def picky(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 1.0)]):
            return {"y": tf.identity(x)}

    export(tmp_path / "model" / "0", picky, {"x": tf.TensorSpec([None, 4], tf.float32)})
    (tmp_path / "model" / "0" / MARKER).touch()
    bench = _Bench(tmp_path / "model")
    for _ in range(5):
        bench.send(_x(), ("model-version", b"0"))
        bench.send(_x())
    answers = bench.drain()
    assert [answer.failure.reason if answer.failure else "ok" for answer in answers] == ["model-failed", "ok"] * 5
