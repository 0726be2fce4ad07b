"""How the matrix sees that a results topic takes nothing."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from penstock.verify.errors import CannotVerify
from penstock.verify.faults import brokers
from penstock.verify.faults.brokers import ResultsUnavailable
from streams.errors import BrokerUnavailable, EndsUnknown

if TYPE_CHECKING:
    from collections.abc import Callable


class _Stopped(Exception):
    """The broker is started again: all that is asked here lies before it."""


def _strike(ends: Callable[[str], dict[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Strike at a topic with these ends, up to the start of the broker."""

    def start_node(_: int) -> None:
        raise _Stopped

    def until(condition: Callable[[], bool], *_: Any) -> None:
        for _look in range(3):
            if condition():
                return
        raise TimeoutError

    monkeypatch.setattr(brokers.time, "sleep", lambda _: None)
    cluster = SimpleNamespace(node_ids=(1, 2, 3), stop_node=lambda _: None, start_node=start_node)
    stage: Any = SimpleNamespace(
        cluster=cluster, pipeline="digits", admin=SimpleNamespace(end_offsets=ends), until=until
    )
    ResultsUnavailable().strike(stage, random.Random(1))


def test_a_topic_whose_end_stays_where_it_is_is_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is seen by the log."""
    with pytest.raises(_Stopped):
        _strike(lambda _: {0: 7}, monkeypatch)


def test_a_leader_that_cannot_tell_its_end_gives_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader newly elected with too few copies knows no end until they are back."""

    def ends(_: str) -> dict[int, int]:
        raise EndsUnknown("cannot read the offsets of digits.results: OffsetNotAvailableError")

    with pytest.raises(_Stopped):
        _strike(ends, monkeypatch)


def test_a_topic_that_goes_on_is_not_the_fault_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still while it is waited for, and written to again before the broker is back."""
    seen = iter([5, 5, 5, 9])
    with pytest.raises(CannotVerify, match="did not come about"):
        _strike(lambda _: {0: next(seen)}, monkeypatch)


def test_a_cluster_that_does_not_answer_is_not_taken_for_a_still_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other failure ends the run."""

    def ends(_: str) -> dict[int, int]:
        raise BrokerUnavailable("nobody is there")

    with pytest.raises(BrokerUnavailable):
        _strike(ends, monkeypatch)
