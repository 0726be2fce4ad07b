"""Arrival samples: what is asked for, and what a partition without a commit counts from."""

from __future__ import annotations

from collections import Counter

import pytest

from autoscaler.model import Control, FleetStatus
from streams.arrivals import ArrivalSampler
from streams.errors import BrokerUnavailable


class Cluster:
    """Offsets of an imagined cluster, and how often each was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.commits: dict[int, int | None] = {0: 3, 1: None}
        self.ends = {0: 10, 1: 20}
        self.led = {0, 1}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Next to be written."""
        self.asked[f"ends {topic}"] += 1
        if self.led != self.ends.keys():
            raise BrokerUnavailable("no leader")
        return dict(self.ends)

    def led_end_offsets(self, topic: str) -> dict[int, int]:
        """Next to be written, where there is a leader."""
        self.asked[f"led {topic}"] += 1
        return {partition: self.ends[partition] for partition in self.led}

    def start_offsets(self, topic: str) -> dict[int, int]:
        """First kept."""
        self.asked[f"starts {topic}"] += 1
        if self.led != self.ends.keys():
            raise BrokerUnavailable("no leader")
        return {0: 0, 1: 7}

    def committed(self, group: str, topic: str) -> dict[int, int | None]:
        """Next to be answered."""
        self.asked[f"commits {group} {topic}"] += 1
        return dict(self.commits)


def test_a_sample_costs_one_question_for_ends_and_one_for_commits() -> None:
    """Fleet and control ride along; the number of questions does not depend on the traffic."""
    cluster = Cluster()
    cluster.commits = {0: 3, 1: 4}
    fleet, control = FleetStatus({"cpu": 1}, {}), Control(paused=True)
    sample = ArrivalSampler(cluster, "digits", lambda: 5.0).sample(fleet, control)
    assert (sample.at_s, sample.end_offsets, sample.committed) == (5.0, {0: 10, 1: 20}, {0: 3, 1: 4})
    assert (sample.fleet, sample.control) == (fleet, control)
    assert cluster.asked == {"ends digits.requests": 1, "commits penstock.digits digits.requests": 1}


def test_a_partition_without_a_commit_counts_from_its_start() -> None:
    """What retention has removed was never backlog; the starts are asked for rarely, a start of 0 stays unknown."""
    cluster = Cluster()
    now_s = [100.0]
    sampler = ArrivalSampler(cluster, "digits", lambda: now_s[0])
    assert sampler.sample().committed == {0: 3, 1: 7}
    now_s[0] = 129.0
    sampler.sample()
    assert cluster.asked["starts digits.requests"] == 1
    now_s[0] = 131.0
    sampler.sample()
    assert cluster.asked["starts digits.requests"] == 2
    cluster.commits = {0: None, 1: 9}
    assert sampler.sample().committed == {0: None, 1: 9}


def test_a_partition_without_a_leader_stands_where_it_stood() -> None:
    """The others are counted on, without a question that fails first each time, until it is led again."""
    cluster = Cluster()
    cluster.commits = {0: 3, 1: 4}
    sampler = ArrivalSampler(cluster, "digits", lambda: 5.0)
    sampler.sample()
    cluster.led, cluster.ends[0] = {0}, 12
    assert sampler.sample().end_offsets == {0: 12, 1: 20}
    cluster.ends[0] = 15
    assert sampler.sample().end_offsets == {0: 15, 1: 20}
    assert cluster.asked["ends digits.requests"] == 2
    cluster.led, cluster.ends = {0, 1}, {0: 16, 1: 21}
    assert sampler.sample().end_offsets == {0: 16, 1: 21}
    sampler.sample()
    assert cluster.asked["ends digits.requests"] == 3


def test_a_partition_never_seen_led_counts_from_its_commit() -> None:
    """It is no narrower a pipeline; without a commit nothing is known of it, and 0 would be a burst later."""
    cluster = Cluster()
    cluster.led = {0}
    with pytest.raises(BrokerUnavailable):
        ArrivalSampler(cluster, "digits", lambda: 5.0).sample()
    cluster.commits = {0: 3, 1: 4}
    assert ArrivalSampler(cluster, "digits", lambda: 5.0).sample().end_offsets == {0: 10, 1: 4}


def test_starts_are_not_asked_for_while_a_partition_has_no_leader() -> None:
    """The question would fail for all: what was read before is used, however old."""
    cluster, now_s = Cluster(), [100.0]
    sampler = ArrivalSampler(cluster, "digits", lambda: now_s[0])
    sampler.sample()
    cluster.led = {0}
    now_s[0] = 200.0
    assert sampler.sample().committed == {0: 3, 1: 7}
    assert cluster.asked["starts digits.requests"] == 1


@pytest.mark.parametrize("led", [set(), {0, 1, 2}])
def test_a_cluster_that_does_not_answer_is_a_failure(led: set[int]) -> None:
    """No leader at all, or all of them and still no answer: nothing is known, and nothing is made up."""
    cluster = Cluster()
    cluster.commits = {0: 3, 1: 4}
    cluster.ends, cluster.led = {0: 10, 1: 20, 2: 5}, led
    if led:
        cluster.ends[3] = 1
    with pytest.raises(BrokerUnavailable):
        ArrivalSampler(cluster, "digits", lambda: 5.0).sample()
