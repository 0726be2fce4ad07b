"""Partitions in proportion to capacity, on a real broker: members come, go, change, are old, are doubles."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from streams import partition_loads, placement_review
from streams.errors import Fenced
from streams.kafka import new_reader
from tests.integration.kafka.conftest import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.kafka.conftest import Group

pytestmark = pytest.mark.services


def test_partitions_follow_capacity_and_nothing_is_lost_or_doubled(group: Group) -> None:
    """4 to 1 gives 10 and 2; a third gets its two from who has most; a leaver's go to the others and nothing else."""
    with group.load():
        group.start("fast", 4000.0)
        group.wait_shares({"fast": 12})
        group.start("slow", 1000.0)
        group.wait_shares({"fast": 10, "slow": 2})
        before = group.placement()
        group.start("third", 1040.0)
        group.wait_shares({"fast": 8, "slow": 2, "third": 2})
        after = group.placement()
        assert sum(before[number] != after[number] for number in before) == 2
        group.leave("third")
        group.wait_shares({"fast": 10, "slow": 2})
        assert {n: name for n, name in group.placement().items() if after[n] != "third"} == {
            n: name for n, name in after.items() if name != "third"
        }
    assert group.answers() == group.expected()


class Onlooker(threading.Thread):
    """A reader of the whole topic that is in no group: what the machine and the broker hold up, it sees too."""

    def __init__(self, group: Group) -> None:
        super().__init__(daemon=True)
        self._reader = new_reader(group.settings, [group.requests])
        self._over = threading.Event()
        self.read_at: dict[int, list[float]] = {}

    def run(self) -> None:
        """Read until over."""
        while not self._over.is_set():
            for place in self._reader.poll(100):
                self.read_at.setdefault(place.partition, []).append(time.monotonic())
        self._reader.close()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()


def worst_gap(times: Iterable[list[float]], since_s: float) -> float:
    """The longest time, in seconds, between two looks at one partition that gave records."""
    return max(
        later - earlier
        for one in times
        for earlier, later in itertools.pairwise([at for at in list(one) if at >= since_s])
    )


def test_kept_partitions_do_not_pause_while_one_of_four_leaves(group: Group) -> None:
    """No gap over 500 ms in what stays where it is, though every member joins anew.

    Beyond what a reader saw at the same time that has nothing to do with the group: tests share their machine.
    """
    with group.load():
        onlooker = Onlooker(group)
        onlooker.start()
        for name in "abcd":
            group.start(name)
        group.wait_shares(dict.fromkeys("abcd", 3))
        kept = {number: name for number, name in group.placement().items() if name != "d"}
        read_at = {number: group.members[name].read_at for number, name in kept.items()}

        def read_on(since_s: float) -> bool:
            return all(times.get(number, [0.0])[-1] > since_s for number, times in read_at.items())

        began = time.monotonic()
        group.wait(lambda: read_on(began + 0.5), "half a second before")
        group.leave("d")
        group.wait_shares(dict.fromkeys("abc", 4))
        left = time.monotonic()
        group.wait(lambda: read_on(left + 0.5), "half a second after")
        onlooker.stop()
        assert {n: name for n, name in group.placement().items() if n in kept} == kept
        seen_by_all = worst_gap([onlooker.read_at[number] for number in kept], began)
        assert worst_gap([times[number] for number, times in read_at.items()], began) < 0.5 + seen_by_all
    assert group.answers() == group.expected()


def test_workers_without_weights_are_joined_and_replaced(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling upgrade: even shares while one member knows cooperative-sticky only, weights once it is gone."""
    with group.load():
        with monkeypatch.context() as old:
            old.setattr("streams.kafka.group_consumer.offered", lambda *_: [CooperativeStickyAssignor()])
            group.start("old-1")
            group.start("old-2")
        group.wait_shares({"old-1": 6, "old-2": 6})
        group.leave("old-1")
        group.start("fast", 3000.0)
        group.wait_shares({"old-2": 6, "fast": 6})
        group.leave("old-2")
        group.start("slow", 1000.0)
        group.wait_shares({"fast": 9, "slow": 3})
    assert group.answers() == group.expected()


def test_a_member_that_became_slow_gets_less(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks by itself, as soon as asking is allowed; a small change moves nothing."""
    monkeypatch.setattr(placement_review, "LOOK_S", 0.1)
    monkeypatch.setattr(placement_review, "CALM_S", 0.5)
    with group.load():
        one, other = group.start("one", 1000.0), group.start("other", 1000.0)
        group.wait_shares({"one": 6, "other": 6})
        before = group.placement(), len(other.holdings.told)
        one.rows_per_s = 900.0
        waited = time.monotonic() + 2
        group.wait(lambda: time.monotonic() > waited, "two seconds")
        assert (group.placement(), len(other.holdings.told)) == before
        one.rows_per_s = 500.0
        group.wait_shares({"one": 4, "other": 8})
    assert group.answers() == group.expected()


def test_hot_partitions_are_shared_out_by_their_load(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three partitions of one member turn eight times as hot as the rest: it asks, and keeps less than its half."""
    monkeypatch.setattr(placement_review, "LOOK_S", 0.1)
    monkeypatch.setattr(placement_review, "CALM_S", 0.5)
    monkeypatch.setattr("streams.kafka.group_consumer.LOOK_S", 0.1)
    monkeypatch.setattr(partition_loads, "_LEAST_S", 1.0)
    group.start("one", 1000.0)
    group.start("other", 1000.0)
    group.wait_shares({"one": 6, "other": 6})
    hot = sorted(group.members["one"].partitions)[:3]
    with group.load(hot):
        # 33 parts of load: by number 27 and 6; by load nobody has more than 19.
        group.wait(
            lambda: (
                len(group.placement()) == PARTITIONS
                and sorted(group.members[group.placement()[number]].member for number in hot)
                in (["one", "one", "other"], ["one", "other", "other"])
            ),
            "hot partitions on both members",
        )
    assert group.answers() == group.expected()


def test_a_static_member_that_restarts_finds_its_partitions(group: Group) -> None:
    """Within the session's time-out nothing moves, not even while another joins or leaves meanwhile."""
    with group.load():
        for name in "abc":
            group.start(name)
        group.wait_shares(dict.fromkeys("abc", 4))
        before = group.placement()
        group.members.pop("b").stop()
        group.start("b")
        group.wait_shares(dict.fromkeys("abc", 4))
        assert group.placement() == before
    assert group.answers() == group.expected()


def test_a_double_of_a_name_stops_the_elder(group: Group) -> None:
    """Two processes under one name, as on two hosts: the elder learns of it by itself, though it has nothing to do."""
    elder = group.start("twin")
    group.wait_shares({"twin": 12})
    younger = group.start("twin")
    deadline = time.monotonic() + 5
    while elder.failure is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert isinstance(elder.failure, Fenced), elder.failure
    assert "another process" in str(elder.failure)
    group.wait(lambda: len(younger.partitions) == 12, "the younger has them")
    elder.consumer.close()


def test_a_member_without_partitions_is_told_so(group: Group) -> None:
    """Members beyond the partitions are members: ready, and in reserve."""
    group.start("all", 1e6)
    group.wait_shares({"all": 12})
    spare = group.start("spare", 1.0)
    group.wait(spare.holdings.joined.is_set, "the spare one is told")
    assert group.shares() == {"all": 12, "spare": 0}


def test_a_member_thrown_out_in_the_middle_of_a_join_claims_nothing(group: Group) -> None:
    """Between its join and its sync the group removes it: what it had may be somebody else's by the time it is back."""
    with group.load():
        one = group.start("one")
        group.wait_shares({"one": 12})
        coordinator = one.consumer._consumer._coordinator
        answered = coordinator._process_join_group_response
        lost: list[frozenset[int]] = []
        revoked = one.holdings.revoked

        def thrown_out(*args: Any) -> Any:
            coordinator._process_join_group_response = answered
            response = answered(*args)
            group.admin.remove_static_members(group.name, ["one"])
            one.holdings.revoked = lambda partitions: (lost.append(frozenset(partitions)), revoked(partitions))  # type: ignore[method-assign]
            return response

        coordinator._process_join_group_response = thrown_out
        group.start("two")
        group.wait_shares({"one": 6, "two": 6})
    assert lost[0] == frozenset(range(12))
    assert group.answers() == group.expected()
