"""A profile ends: whatever the machine does to its batches, and also where a measuring process does not."""

from __future__ import annotations

import queue
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from penstock.profile import child
from penstock.profile.job import Job, Noise
from penstock.profile.noise import KNOWN, doubts
from penstock.profile.run import _follow

JOB = Job("models/x", "1", "cpu", 2, False, 64, 2**30, 20.0, 4.0, 1.0, 1)  # noqa: FBT003
SIZES = child.tried_sizes(64)


@dataclass
class Played:
    """A device whose batches take as long as is said, in a time of its own; noise makes each a random factor longer."""

    seconds: float
    noise: float = 0.0
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(5)

    def batch(self, _: int) -> float:
        """One batch of any size."""
        took_s = self.seconds * float(self._rng.lognormal(0.0, self.noise))
        self.now_s += took_s
        return took_s

    def clock(self) -> float:
        """Its own time."""
        return self.now_s


def _closed_loop(device: Played) -> tuple[Any, float, int]:
    bench: Any = device
    return child._closed_loop(bench, SIZES, JOB, device.clock)


A_ROUND = (1 + child.BATCHES) * len(SIZES)


def test_quick_batches_fill_the_time_that_was_asked_for() -> None:
    """All rounds, and about 20 seconds of them."""
    device = Played(0.001)
    sizes, _, left_out = _closed_loop(device)
    assert left_out == 0
    assert device.now_s == pytest.approx(20, rel=0.1)
    assert [size.rows for size in sizes] == [rows for rows, _ in SIZES]


def test_a_noisy_machine_is_measured_until_the_sizes_are_known() -> None:
    """Batches that differ by a third: 20 seconds are too few to know each size within 3 %."""
    device = Played(0.002, noise=0.33)
    sizes, spread, _ = _closed_loop(device)
    assert 1.2 * JOB.seconds < device.now_s < child.LONGEST * JOB.seconds
    # Single batches differ by a third; the machine as such does not change.
    assert spread < 0.1
    assert all((size.high - size.low) / 2 <= KNOWN * size.seconds for size in sizes)
    # Never longer than this, however little is known by then.
    hopeless = Played(0.02, noise=1.0)
    _closed_loop(hopeless)
    assert hopeless.now_s == pytest.approx(child.LONGEST * JOB.seconds, rel=0.05)


def test_a_machine_that_changes_is_told_from_batches_that_are_unlucky() -> None:
    """A device that takes twice as long in each other five seconds."""

    @dataclass
    class Changing(Played):
        def batch(self, rows: int) -> float:
            self.seconds = 0.004 if int(self.now_s / 5) % 2 else 0.002
            return super().batch(rows)

    assert _closed_loop(Changing(0.002, noise=0.05))[1] > 0.5


def test_slow_batches_cost_rounds_and_not_the_evening() -> None:
    """Batches of a second, three a size and round: 12 rounds would take almost eight minutes."""
    device = Played(1.0)
    _, _, left_out = _closed_loop(device)
    assert left_out == child.ROUNDS - child.LEAST_ROUNDS
    assert device.now_s == child.LEAST_ROUNDS * A_ROUND
    middling = Played(0.3)
    assert 0 < _closed_loop(middling)[2] < left_out
    assert middling.now_s <= child.LONGEST * JOB.seconds + 0.3 * A_ROUND


def test_rounds_that_were_left_out_are_a_doubt() -> None:
    """The profile says so, and is not trusted."""
    quiet = Noise(round_spread=0.02, steal=0.0, other_cores=0.1, kept_waiting=0.01)
    assert doubts(quiet, cores=2) == ()
    (vague,) = doubts(replace(quiet, known_within=0.08), cores=2)
    assert "known within 8.0% only" in vague
    (said,) = doubts(replace(quiet, rounds_left_out=8), cores=2)
    assert said.startswith("8 rounds")


def test_a_process_that_says_nothing_more_is_given_up() -> None:
    """One that ends without a result is told apart."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            with pytest.raises(queue.Empty):
                _follow(process, lambda *_: None, 0.5)
        finally:
            process.kill()
    with subprocess.Popen([sys.executable, "-c", "print('no JSON')"], stdout=subprocess.PIPE, text=True) as process:
        assert _follow(process, lambda *_: None, 60.0) is None
