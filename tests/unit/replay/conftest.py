"""A tape as an autoscaler writes it: samples, reports, claims, and what was decided, decided by the product itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import (
    ArrivalSample,
    Claim,
    Decided,
    FleetStatus,
    Objective,
    ServiceCurve,
    TelemetryRecord,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.settings import PolicySettings
from penstock.deciding import Deciding, fingerprint
from penstock.replay.course import Rules, Taped

if TYPE_CHECKING:
    from collections.abc import Sequence

START_S = 1_795_612_300.0
CPU = WorkerType("cpu", "emulated", 0.5, 1, 8, ServiceCurve(0.02, 0.02, 8), 4.0)
RULES = Rules(PolicySettings(scale_in_patience_s=40.0), (CPU,), Objective(1.0, 0.99))
PARTITIONS = 8


class Lived:
    """An autoscaler in simulated time.

    Seconds of load become samples; a report of each worker comes between a sample and its decision; every seventh
    sample is skipped, as under load; decisions ride on the next sample.
    """

    def __init__(self, rules: Rules = RULES) -> None:
        self.tape: list[Taped] = []
        self.decisions: list[tuple[float, dict[str, int], str]] = []
        self._rules = rules
        self._ends = np.zeros(PARTITIONS, int)
        self._fleet = {"cpu": 1}
        self._unsaid: list[Decided] = []
        self._random = np.random.default_rng(7)
        self.second = 0
        self.claim("a")

    def claim(self, owner: str) -> None:
        """An autoscaler takes over, having read the tape."""
        rules, at_s = self._rules, START_S + self.second - 0.5
        said = fingerprint(rules.policy, rules.worker_types, rules.objective, rules.rule)
        claim = Claim("p", owner, at_s, rules.rule, said)
        since_ms = (at_s - rules.policy.history_s) * 1000
        before = [(one.offset, one.record) for one in self.tape if one.timestamp_ms >= since_ms]
        self._epoch = self.write(claim, at_s)
        self._deciding = Deciding("p", rules.policy, rules.worker_types, rules.objective, rules.rule)
        self._deciding.replay(before, (), claim, self._epoch)

    def write(self, record: TelemetryRecord, at_s: float) -> int:
        """Onto the tape, with a gap in the offsets as another pipeline's record leaves it."""
        offset = self.tape[-1].offset + 2 if self.tape else 100
        self.tape.append(Taped(offset, round(at_s * 1000), record))
        return offset

    def live(self, rates: Sequence[float]) -> None:
        """So many seconds at these rates."""
        for rate in rates:
            at_s = START_S + self.second
            self._ends += self._random.poisson(rate / PARTITIONS, PARTITIONS)
            ends = {p: int(end) for p, end in enumerate(self._ends)}
            status = FleetStatus(dict(self._fleet), dict(self._fleet))
            sample = ArrivalSample("p", at_s, ends, dict(ends), status, None, tuple(self._unsaid))
            self._unsaid.clear()
            offset = self.write(sample, at_s)
            self._deciding.fold(sample, offset)
            for number in range(self._fleet["cpu"]):
                report = self._report(number, at_s + 0.01)
                self._deciding.fold(report, self.write(report, at_s + 0.01))
            if self.second % 7:
                self._decide(sample, offset)
            self.second += 1

    def _decide(self, sample: ArrivalSample, offset: int) -> None:
        look = self._deciding.look(sample, offset)
        made = self._deciding.conclude(look)
        self._fleet = dict(made.fleet)
        self.decisions.append((look.observation.at_s, dict(made.fleet), made.reason))
        self._unsaid.append(
            Decided(self._epoch, look.offset, look.through, made.action, made.fleet, made.bound, made.reason)
        )

    def _report(self, number: int, at_s: float) -> WorkerReport:
        return WorkerReport(
            pipeline="p", worker=f"p-cpu-{number}", worker_type="cpu", device="emulated", at_s=at_s, pid=number + 1,
            host="h", state=WorkerState.READY, asked_at_s=START_S - 9, ready_at_s=START_S - 5 + number / 8,
            partitions=tuple(range(number, PARTITIONS, self._fleet["cpu"])), batches=self.second, rows=self.second,
            ok=self.second, failed=0, expired=0, busy_s=0.1 * self.second, curve=ServiceCurve(0.021, 0.02, 8),
            latency_counts=(1,) * 42, rebalances=1, retraces=0, model_version="1",
        )  # fmt: skip


def wave(seconds: int) -> list[float]:
    """A load that swings, with a step in the second third."""
    return [
        60 + 30 * math.sin(second / 17) + (90 if seconds / 3 < second < 2 * seconds / 3 else 0)
        for second in range(seconds)
    ]


@pytest.fixture(scope="session")
def lived() -> Lived:
    """Five minutes, of which the first autoscaler has four; both kinds of fit come into it."""
    whole = Lived()
    whole.live(wave(230))
    whole.claim("b")
    whole.live(wave(60))
    return whole


@pytest.fixture(scope="session")
def rules() -> Rules:
    """By which it lived."""
    return RULES
