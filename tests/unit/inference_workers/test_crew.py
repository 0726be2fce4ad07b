"""A worker's threads as one: what ends one ends all; and what a worker remembers of reply topics."""

from __future__ import annotations

import threading

import pytest

from inference_workers import crew as crews
from inference_workers.crew import Crew
from inference_workers.errors import BrokenModel, WorkerError
from inference_workers.reply_topics import MEMORY_S, ReplyTopics
from streams.errors import BrokerUnavailable

#: Longest wait in these tests, in seconds.
WITHIN_S = 30.0


def test_a_thread_that_fails_ends_the_others_and_is_told_at_the_end() -> None:
    """As itself where the worker's errors foresee it."""
    crew = Crew("digits-cpu-0", threading.Event())
    other = crew.start("poll", lambda: crew.stop_now.wait(WITHIN_S) and None)

    def execute() -> None:
        raise BrokenModel("it fails on everything")

    failing = crew.start("execute", execute)
    crew.drain([other, failing], drain_s=WITHIN_S)
    assert crew.stop.is_set()
    assert not other.is_alive()
    assert not crew.well
    with pytest.raises(BrokenModel, match="everything"):
        crew.raise_failure()


def test_a_failure_that_nobody_foresaw_is_told_with_its_kind() -> None:
    """And the first of several counts."""
    crew = Crew("digits-cpu-0", threading.Event())

    def decode() -> None:
        raise ZeroDivisionError("by zero")

    crew.start("decode", decode).join(WITHIN_S)
    crew.start("execute", lambda: int("late") and None).join(WITHIN_S)
    with pytest.raises(WorkerError, match="ZeroDivisionError: by zero"):
        crew.raise_failure()


def test_a_drain_that_takes_too_long_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is left behind; what looks ends."""
    monkeypatch.setattr(crews, "NOTICE_S", 0.01)
    crew = Crew("digits-cpu-0", threading.Event())
    free = threading.Event()
    hanging = crew.start("deliver", lambda: free.wait(WITHIN_S) and None)
    crew.drain([hanging], drain_s=0.01)
    assert crew.stop_now.is_set()
    assert not crew.well
    # Nothing failed: a drain that was broken off is no error, what was not committed is answered elsewhere.
    crew.raise_failure()
    free.set()
    hanging.join(WITHIN_S)


def test_threads_that_end_in_time_leave_it_well() -> None:
    """The usual end."""
    crew = Crew("digits-cpu-0", threading.Event())
    threads = [crew.start(role, lambda: crew.stop.wait(WITHIN_S) and None) for role in ("poll", "decode")]
    crew.stop.set()
    crew.drain(threads, drain_s=WITHIN_S)
    assert crew.well
    assert not any(thread.is_alive() for thread in threads)
    crew.raise_failure()


class _Admin:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False
        self.there = {"replies"}

    def writable(self, topic: str) -> bool:
        """As the broker says."""
        self.asked.append(topic)
        if self.away:
            raise BrokerUnavailable("nobody answers")
        return topic in self.there


def test_a_reply_topic_is_asked_for_once_in_a_while() -> None:
    """One that is made later is found when the memory of it has ended."""
    admin, now = _Admin(), [0.0]
    known = ReplyTopics(admin, lambda: now[0])
    assert [known.there("replies"), known.there("later"), known.there("replies"), known.there("later")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert admin.asked == ["replies", "later"]
    admin.there.add("later")
    now[0] = MEMORY_S + 1
    assert known.there("later")


def test_a_broker_that_is_away_forbids_no_reply_topic() -> None:
    """The send will find out; and nothing is remembered of it."""
    admin = _Admin()
    admin.away = True
    known = ReplyTopics(admin, lambda: 0.0)
    assert known.there("unknown")
    admin.away = False
    assert not known.there("unknown")
