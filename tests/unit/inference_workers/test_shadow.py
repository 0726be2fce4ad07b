"""Comparing with another version, and answers that are no numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inference_workers import non_finite
from inference_workers.model import ServedModel
from inference_workers.shadow import MOST_WAITING, Served, ShadowRunner, ShadowStats, chosen, compare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}


def test_the_share_is_chosen_by_the_id_alone() -> None:
    """About as many as asked for; the same ones each time; a larger share holds the smaller one."""
    ids = [f"r{number}" for number in range(20_000)]
    tenth = {one for one in ids if chosen(one, 0.1)}
    assert 1800 < len(tenth) < 2200
    assert tenth <= {one for one in ids if chosen(one, 0.5)}
    assert all(chosen(one, 1.0) for one in ids)


def test_outputs_are_compared_within_the_tolerances() -> None:
    """Numbers by closeness, text and names exactly, scores of classes by their largest place as well."""
    scores = np.array([[0.1, 0.9], [0.6, 0.4]], np.float32)
    same = compare({"p": scores}, {"p": scores * np.float32(1.0005)}, **_TOLERANCE)
    assert (same.same, same.argmax_different, same.argmax_rows) == (True, 0, 2)
    other = compare({"p": scores}, {"p": np.array([[0.1, 0.9], [0.45, 0.55]], np.float32)}, **_TOLERANCE)
    assert (other.same, other.argmax_different, other.argmax_rows) == (False, 1, 2)
    assert other.largest_difference == pytest.approx(0.15, abs=1e-6)
    assert not compare({"p": scores}, {"q": scores}, **_TOLERANCE).same
    assert not compare({"p": scores}, {"p": scores[:, :1]}, **_TOLERANCE).same
    words = np.array([b"a", b"b"], object)
    assert compare({"w": words}, {"w": words.copy()}, **_TOLERANCE).same
    assert not compare({"w": words}, {"w": np.array([b"a", b"c"], object)}, **_TOLERANCE).same
    numbers = np.array([np.nan, np.inf, 1.0])
    assert compare({"n": numbers}, {"n": numbers.copy()}, **_TOLERANCE) == compare(
        {"n": numbers}, {"n": numbers}, **_TOLERANCE
    )
    assert compare({"n": numbers}, {"n": numbers.copy()}, **_TOLERANCE).same
    counted = compare({"n": np.array([2**40])}, {"n": np.array([2**40 + 5])}, rtol=0.0, atol=0.0)
    assert (counted.same, counted.largest_difference) == (False, 5.0)


@pytest.fixture
def two_versions(tmp_path: Path, times: Callable[[Path, float], Path]) -> tuple[ServedModel, ServedModel]:
    """Two versions: y = 2 x, and y = 3 x."""
    times(tmp_path / "m" / "1", 2.0)
    times(tmp_path / "m" / "2", 3.0)
    return ServedModel(tmp_path / "m", "1"), ServedModel(tmp_path / "m", "2")


def _served(model: ServedModel, rows: list[int]) -> list[Served]:
    found = []
    for number, count in enumerate(rows):
        inputs = {"x": np.full((count, 4), number, np.float32)}
        found.append(Served(f"r{number}", inputs, model.run(inputs), count))
    return found


def _runner() -> tuple[ShadowRunner, ShadowStats]:
    stats = ShadowStats()
    return ShadowRunner(stats, sizes=(1, 2, 4), **_TOLERANCE), stats


@pytest.mark.tensorflow
def test_requests_of_any_rows_are_compared_one_by_one(two_versions: tuple[ServedModel, ServedModel]) -> None:
    """More than a batch takes in several; each request is judged on its own: 0 is 0 under both versions."""
    model, other = two_versions
    runner, stats = _runner()
    runner.offer(other, _served(model, [1, 3, 2, 1, 9]))
    assert runner.step(backlog=lambda: 0)
    facts = stats.facts()
    assert (facts["same"], facts["different"], facts["failed"], facts["skipped"]) == (1, 4, 0, 0)
    assert facts["largest_difference"] == 4.0
    assert facts["argmax_rows"] == 16
    runner.offer(model, _served(model, [1, 3]))
    runner.step(backlog=lambda: 0)
    assert stats.facts()["same"] == 3


@pytest.mark.tensorflow
def test_nothing_is_compared_while_others_wait(two_versions: tuple[ServedModel, ServedModel]) -> None:
    """What does not find a quiet moment is counted as skipped; memory is bounded."""
    model, other = two_versions
    runner, stats = _runner()
    for _ in range(MOST_WAITING + 3):
        runner.offer(other, _served(model, [1, 1]))
        assert not runner.step(backlog=lambda: 1)
    assert stats.facts()["skipped"] == 6
    while runner.step(backlog=lambda: 0):
        pass
    assert stats.facts()["compared"] == 2 * MOST_WAITING


@pytest.mark.tensorflow
def test_a_shadow_that_cannot_compute_is_a_finding(
    two_versions: tuple[ServedModel, ServedModel], tf: Any, export: Callable[..., Path], tmp_path: Path
) -> None:
    """Another signature, or a computation that fails: counted, nothing raised."""
    model, _ = two_versions
    runner, stats = _runner()

    def picky(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 1.0)]):
            return {"y": tf.identity(x)}

    export(tmp_path / "picky" / "1", picky, {"x": tf.TensorSpec([None, 4], tf.float32)})
    export(tmp_path / "other" / "1", lambda z: {"y": z}, {"z": tf.TensorSpec([None, 4], tf.float32)})
    for name in ("picky", "other"):
        runner.offer(ServedModel(tmp_path / name), _served(model, [1, 2]))
        assert runner.step(backlog=lambda: 0)
    runner.offer(SimpleNamespace(), _served(model, [1]))  # type: ignore[arg-type] # broken altogether
    assert runner.step(backlog=lambda: 0)
    assert stats.facts()["failed"] == 5
    assert stats.facts()["compared"] == 0


# --- answers that are no numbers


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 3)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_the_rows_that_are_no_numbers_are_found(scores: np.ndarray) -> None:
    """As a plain loop finds them; whole numbers and text are always fine."""
    outputs = {"n": np.arange(len(scores)), "w": np.full(len(scores), b"", object), "p": scores}
    expected = [not all(np.isfinite(value) for value in row) for row in scores]
    bad = non_finite.bad_rows(outputs)
    assert (bad is None) == (not any(expected))
    if bad is not None:
        assert bad.tolist() == expected


def test_the_failure_names_output_and_rows() -> None:
    """For the person who reads the dead letter."""
    scores = np.ones((7, 2))
    scores[1:, 1] = np.nan
    failure = non_finite.failure({"p": scores, "q": np.ones(7)}, "model m version 3")
    assert failure is not None
    assert (failure.reason, failure.stage) == ("non-finite-output", "model")
    assert "model m version 3" in failure.message
    assert "output 'p', 6 of 7 rows (row 1, 2, 3, 4, 5, ...)" in failure.message
    assert non_finite.failure({"q": np.ones(7)}, "m") is None
