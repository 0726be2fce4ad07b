"""What a policy remembers, written and read: equal, and nothing else is taken."""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler import remembering
from autoscaler.forecasting.rows import Rows
from autoscaler.planning.steps import Answered, Ceiling, Memory
from autoscaler.policies.penstock import PolicyState
from autoscaler.policies.penstock_policy import PenstockPolicy
from autoscaler.simulation.arrivals import of_pattern
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.run import run
from autoscaler.simulation.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Observation, WorkerType


def test_values_come_back_as_they_were() -> None:
    """Numbers, what is infinite, tuples, values in values."""
    memory = Memory(
        12.5, 3, -math.inf, 0.1, ((1.0, 2.0, True),), (Answered(3, 1 / 3, 9.0, saturated=True),),
        Ceiling(3, 8, 1.0, 3, 1.0, math.inf), 2,
    )  # fmt: skip
    assert remembering.read(remembering.written(memory)) == memory
    assert remembering.read(remembering.written(PolicyState())).needs == PolicyState().needs


def test_rows_go_on_as_before() -> None:
    """The newest are kept, how many there ever were is known, and appending leaves the old value alone."""
    rows = Rows(3, (2,))
    for number in range(5):
        rows = rows.append(np.array([number, -number]))
    again = remembering.read(remembering.written(rows))
    assert np.array_equal(again.array, rows.array)
    assert (len(again), again.total) == (3, 5)
    both = [one.append(np.array([9.0, 9.0])) for one in (rows, again)]
    assert np.array_equal(both[0].array, both[1].array)
    assert both[1].total == 6
    assert np.array_equal(again.array, rows.array)


class _Kept(PenstockPolicy):
    states: list[PolicyState] = []  # noqa: RUF012 - cleared by the test

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: PolicyState
    ) -> tuple[Decision, PolicyState]:
        """As its base."""
        decision, state = super().decide(observation, worker_types, state)
        self.states.append(state)
        return decision, state


def test_all_that_the_policy_ever_remembers_can_be_written() -> None:
    """A swing of seven minutes with fits, courses and steps: the text of what was read is the text that was read."""
    scenario = Scenario(mean_workers=2.0, partitions=16)
    _Kept.states.clear()
    run(_Kept(scenario.objective), of_pattern(PATTERNS["sawtooth6"], scenario, length_s=420, seed=1), scenario)
    last = _Kept.states[-1]
    assert last.foresight.learnt is not None
    assert last.foresight.forecast is not None
    text = remembering.written(last)
    assert remembering.written(remembering.read(text)) == text
    assert len(text) < 1_000_000


def packed(tree: object, data: bytes = b"") -> str:
    """Text of a tree, as a stranger would make it."""
    head = json.dumps(tree).encode()
    return base64.b64encode(zlib.compress(len(head).to_bytes(8, "big") + head + data)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"not packed").decode(),
        packed({"c": "os:system", "v": {}}),
        packed({"c": "autoscaler.redis_store:MetricsStore", "v": {}}),
        packed({"c": "autoscaler.planning.steps:look", "v": {}}),
        packed({"c": "autoscaler.planning.steps:math.inf", "v": {}}),
        packed({"c": "autoscaler.planning.nothing:Memory", "v": {}}),
        packed({"c": "autoscaler.planning.steps:Answered", "v": {"workers": 1}}),
        packed({"c": "autoscaler.planning.steps:Answered", "v": {"workers": 1, "per_s": 1.0, "at_s": 1.0, "new": 1}}),
        packed({"a": "O", "s": [1]}, b"12345678"),
        packed({"a": "f8", "s": [2]}, b"12345678"),
        packed({"a": "f8", "s": [-1]}, b"12345678"),
        packed({"r": 1, "n": 0, "v": {"a": "f8", "s": [1]}}, b"12345678"),
        packed({"e": "autoscaler.planning.steps:Memory", "v": 1}),
        remembering.written((1, 2, 3))[:-8],
    ],
)
def test_what_is_no_memory_is_refused(text: str) -> None:
    """With a ValueError, whatever it is: the caller goes on without."""
    with pytest.raises(ValueError, match=r"\w"):
        remembering.read(text)


@dataclass(frozen=True)
class _Foreign:
    value: int


def test_what_cannot_be_read_back_is_found_out() -> None:
    """A type of elsewhere is refused when it is read, an object when it is written."""
    with pytest.raises(ValueError, match="no part of a memory"):
        remembering.read(remembering.written(_Foreign(1)))
    with pytest.raises(ValueError, match="object cannot be remembered"):
        remembering.written((object(),))
    with pytest.raises(ValueError, match="array of"):
        remembering.written(np.array(["a"]))
