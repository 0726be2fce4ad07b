"""Partitions to members: in proportion, complete, stable, and moving as few as possible. Searched, not sampled."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation import assignment
from streams.placement import Member, Place, first_round, place, quotas, relief

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUESTS, BULK = "p.requests", "p.requests.bulk"

weight = st.one_of(
    st.sampled_from([1.0, 1.0, 2.0, 4.0, 1e-3, 1e12]), st.floats(min_value=1e-3, max_value=1e12, allow_nan=False)
)


@st.composite
def groups(draw: st.DrawFn, topics: tuple[str, ...] = (REQUESTS, BULK)) -> tuple[list[Member], dict[str, float], dict]:
    """Members with weights and what they hold: any of it unowned, some of it claimed by two or by nobody known."""
    names = [f"w{number}" for number in range(draw(st.integers(1, 6)))]
    weights = {name: draw(weight) for name in names}
    partitions = {topic: draw(st.integers(0, 12)) for topic in topics}
    owned: dict[str, set[Place]] = {name: set() for name in names}
    for topic, count in partitions.items():
        for number in range(count):
            for name in draw(st.lists(st.sampled_from(names), max_size=2)):
                owned[name].add((topic, number))
    members = [Member(name, frozenset(topics), frozenset(owned[name]), draw(st.integers(-1, 3))) for name in names]
    return members, weights, partitions


def holders(members: list[Member]) -> dict[Place, str]:
    """Who has each partition: of those who claim it, the one that joined last; by name where that is no answer."""
    found = {}
    for one in itertools.chain.from_iterable(member.owned for member in members):
        claimants = [member for member in members if one in member.owned]
        found[one] = max(claimants, key=lambda member: (member.generation, member.name)).name
    return found


def least_busy(weights: Mapping[str, float], count: int) -> Fraction:
    """Partitions over weight of the busiest member at best: the least of all n / w that leaves room for all."""
    exact = [Fraction(one) for one in weights.values()]
    tried = {number / one for one in exact for number in range(1, count + 1)}
    return min((one for one in tried if sum(math.floor(w * one) for w in exact) >= count), default=Fraction(0))


def least_moves(weights: Mapping[str, float], count: int, held: Mapping[str, int]) -> int:
    """By trying every way of giving out all partitions with nobody below its ideal rounded down or busier than need be.

    Only sums matter, so it is tried member by member.
    """
    total, busiest = sum(Fraction(one) for one in weights.values()), least_busy(weights, count)
    moves = {0: 0}
    for name, one in weights.items():
        low, high = math.floor(count * Fraction(one) / total), min(count, math.floor(Fraction(one) * busiest))
        after: dict[int, int] = {}
        for given_out, moved in moves.items():
            for number in range(low, high + 1):
                here = moved + max(0, held.get(name, 0) - number)
                after[given_out + number] = min(here, after.get(given_out + number, here))
        moves = after
    return moves[count]


@given(groups())
def test_every_partition_has_one_member(group: tuple) -> None:
    """All of them, none twice, whatever was claimed before."""
    members, weights, partitions = group
    placed = place(members, weights, partitions)
    given_out = [one for places in placed.values() for one in places]
    assert sorted(given_out) == sorted((t, n) for t, count in partitions.items() for n in range(count))
    assert set(placed) == {member.name for member in members}


@given(groups())
def test_the_busiest_is_as_little_busy_as_can_be(group: tuple) -> None:
    """In each topic by itself, exactly, and nobody has less than its ideal rounded down."""
    members, weights, partitions = group
    placed = place(members, weights, partitions)
    total = sum(Fraction(one) for one in weights.values())
    for topic, count in partitions.items():
        numbers = {name: sum(one[0] == topic for one in places) for name, places in placed.items()}
        busiest = max(number / Fraction(weights[name]) for name, number in numbers.items())
        assert busiest == least_busy(weights, count)
        assert all(number >= math.floor(count * Fraction(weights[name]) / total) for name, number in numbers.items())


@given(groups())
def test_as_few_move_as_can(group: tuple) -> None:
    """No other placement with such shares leaves more partitions where they are."""
    members, weights, partitions = group
    placed = place(members, weights, partitions)
    holder = holders(members)
    for topic, count in partitions.items():
        here = {one: name for one, name in holder.items() if one[0] == topic}
        held = {name: sum(other == name for other in here.values()) for name in weights}
        moved = sum(one not in placed[name] for one, name in here.items())
        assert moved == least_moves(weights, count, held)


@given(groups())
def test_nothing_moves_the_second_time(group: tuple) -> None:
    """Its own answer is its own answer, and so is the answer to it in another order of the members."""
    members, weights, partitions = group
    placed = place(members, weights, partitions)
    settled = [Member(one.name, one.topics, placed[one.name], 9) for one in members]
    assert place(settled, weights, partitions) == placed
    assert place(settled[::-1], weights, partitions) == placed
    assert place(members[::-1], weights, partitions) == placed


@given(groups())
def test_nobody_gets_what_another_still_owns(group: tuple) -> None:
    """Rounds go on until nothing is held back; on the way no partition is given to one while another has it."""
    members, weights, partitions = group
    for _ in range(4):
        final = place(members, weights, partitions)
        now = first_round(members, final)
        holder = holders(members)
        for name, places in now.items():
            assert places <= final[name]
            assert all(holder.get(one, name) == name for one in places)
        if now == final:
            break
        members = [Member(one.name, one.topics, now[one.name], one.generation + 1) for one in members]
    else:
        pytest.fail("four rounds were not enough")
    assert place(members, weights, partitions) == now


@given(groups(topics=(REQUESTS,)), st.integers(0, 5))
def test_a_member_that_leaves_gives_away_only_its_own(group: tuple, leaver: int) -> None:
    """With equal weights: the others keep all they have."""
    members, weights, partitions = group
    weights = dict.fromkeys(weights, 1.0)
    placed = place(members, weights, partitions)
    left = [Member(m.name, m.topics, placed[m.name]) for m in members if m.name != f"w{leaver}"]
    if left:
        again = place(left, {m.name: 1.0 for m in left}, partitions)
        assert all(placed[m.name] <= again[m.name] for m in left)


@given(groups())
def test_twins_are_together_where_nothing_speaks_against_it(group: tuple) -> None:
    """Two topics with equally many partitions, placed afresh: partition p of both is one worker's."""
    members, weights, partitions = group
    count = partitions[REQUESTS]
    fresh = [Member(one.name, one.topics) for one in members]
    placed = place(fresh, weights, {REQUESTS: count, BULK: count})
    for places in placed.values():
        assert {n for t, n in places if t == REQUESTS} == {n for t, n in places if t == BULK}


def test_shares_follow_the_weights() -> None:
    """The figures that were measured on a real group: 12, then 10 and 2, then 8, 2 and 2."""
    topic = frozenset({REQUESTS})
    alone = place([Member("a", topic)], {"a": 4.0}, {REQUESTS: 12})
    assert len(alone["a"]) == 12
    two = place([Member("a", topic, alone["a"]), Member("b", topic)], {"a": 4.0, "b": 1.0}, {REQUESTS: 12})
    assert {name: len(places) for name, places in two.items()} == {"a": 10, "b": 2}
    three = place(
        [Member("a", topic, two["a"]), Member("b", topic, two["b"]), Member("c", topic)],
        {"a": 4.0, "b": 1.0, "c": 1.0},
        {REQUESTS: 12},
    )
    assert {name: len(places) for name, places in three.items()} == {"a": 8, "b": 2, "c": 2}
    assert three["b"] == two["b"]


def test_more_members_than_partitions() -> None:
    """Some have none; those who have one keep it."""
    topic = frozenset({REQUESTS})
    members = [Member(f"w{n}", topic, frozenset({(REQUESTS, n - 3)}) if n >= 3 else frozenset()) for n in range(6)]
    placed = place(members, {m.name: 1.0 for m in members}, {REQUESTS: 3})
    assert [len(placed[f"w{n}"]) for n in range(6)] == [0, 0, 0, 1, 1, 1]


def test_who_comes_back_finds_its_own() -> None:
    """Static members restart and claim nothing: what nobody claims goes back to where it was."""
    topic = frozenset({REQUESTS})
    homes: dict[Place, str] = {(REQUESTS, number): name for number, name in enumerate("ccabacbab")}
    of = {name: frozenset(one for one, home in homes.items() if home == name) for name in "abc"}
    members = [Member("a", topic, of["a"]), Member("b", topic), Member("c", topic)]
    assert place(members, dict.fromkeys("abc", 1.0), {REQUESTS: 9}, homes) == of
    # A claim weighs more than a memory, and a home that is gone is none.
    members = [Member("a", topic, of["a"] | of["b"]), Member("c", topic)]
    placed = place(members, dict.fromkeys("ac", 1.0), {REQUESTS: 9}, homes)
    assert of["c"] <= placed["c"]
    assert placed["a"] <= of["a"] | of["b"]


def test_what_has_its_twin_elsewhere_is_given_up_first() -> None:
    """A worker that must give up two of four bulk partitions keeps those whose requests it has."""
    both = frozenset({REQUESTS, BULK})
    a = Member("a", both, frozenset({(REQUESTS, 2), (REQUESTS, 3), *((BULK, n) for n in range(4))}))
    b = Member("b", both, frozenset({(REQUESTS, 0), (REQUESTS, 1)}))
    placed = place([a, b], {"a": 1.0, "b": 1.0}, {REQUESTS: 4, BULK: 4})
    assert placed["a"] == {(topic, n) for topic in both for n in (2, 3)}


def test_a_topic_that_only_some_read_is_only_theirs() -> None:
    """During an upgrade the new lane is shared by those who know of it."""
    members = [Member("old", frozenset({REQUESTS})), Member("new", frozenset({REQUESTS, BULK}))]
    placed = place(members, {"old": 1.0, "new": 1.0}, {REQUESTS: 4, BULK: 4, "nobodys": 2})
    assert sum(t == BULK for t, _ in placed["new"]) == 4
    assert sum(t == REQUESTS for t, _ in placed["new"]) == 2
    assert all(t == REQUESTS for t, _ in placed["old"])


def test_quotas_of_thirds_are_whole() -> None:
    """A whole ideal is met exactly, though a third is no whole number in floating point."""
    assert quotas({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 9) == {"a": 3, "b": 3, "c": 3}
    assert quotas({"a": 2.0, "b": 2.0, "c": 1.0}, 4, {"b": 2, "c": 1}) == {"a": 1, "b": 2, "c": 1}
    # With two of four the slow one would be a third busier: a move is worth that.
    assert quotas({"a": 2.0, "b": 1.0}, 4, {"b": 2}) == {"a": 3, "b": 1}
    assert quotas({"a": 2.0, "b": 1.0}, 4) == {"a": 3, "b": 1}


def test_a_small_worker_beside_large_ones_does_not_hold_them_up() -> None:
    """Two GPUs worth 19 CPU workers each, and six of those: rounding gave a CPU worker two of 64, a seventh too busy.

    The ideals are 27.6 and 1.45. With 28 on a GPU the group carries 19 * 64 / 28 = 43 workers' worth, with 2 on a CPU
    worker 32, which is less than the GPUs alone.
    """
    weights = {"gpu0": 19.0, "gpu1": 19.0, **{f"cpu{n}": 1.0 for n in range(6)}}
    given = quotas(weights, 64)
    assert {given["gpu0"], given["gpu1"]} == {29}
    assert all(given[f"cpu{n}"] == 1 for n in range(6))


@given(
    st.lists(st.tuples(st.sampled_from([1.0, 1.0, 2.5, 19.0]), st.integers(0, 20)), min_size=1, max_size=12),
    st.integers(0, 64),
)
def test_the_simulator_shares_out_alike(members: list[tuple[float, int]], partitions: int) -> None:
    """As busy at most, and as many moves; equal workers get theirs in the order of what they hold."""
    weights, held = [one for one, _ in members], [number for _, number in members]
    simulated = assignment.quotas(partitions, weights, held)
    real = quotas({str(n): one for n, one in enumerate(weights)}, partitions, {str(n): h for n, h in enumerate(held)})

    def judged(given_out: list[int]) -> tuple[float, int]:
        busiest = max(number / weight for number, weight in zip(given_out, weights, strict=True))
        return busiest, sum(max(0, before - after) for before, after in zip(held, given_out, strict=True))

    assert sum(simulated) == partitions
    assert judged(simulated) == judged(list(real.values()))
    few, more = divmod(partitions, len(members))
    by_held = sorted(range(len(members)), key=lambda n: (-held[n], n))
    assert assignment.quotas(partitions, [1.0] * len(members), held) == [
        few + (n in by_held[:more]) for n in range(len(members))
    ]


def test_relief_is_the_fall_of_the_busiest_load() -> None:
    """One that became half as fast with half the partitions holds up its half: even loads would be a third less."""
    held = {"a": [(REQUESTS, n) for n in range(6)], "b": [(REQUESTS, n) for n in range(6, 12)]}
    placed = {"a": [(REQUESTS, n) for n in range(4)], "b": [(REQUESTS, n) for n in range(4, 12)]}
    assert relief(held, placed, {"a": 0.5, "b": 1.0}) == pytest.approx(1.5)
    assert relief(held, held, {"a": 0.5, "b": 1.0}) == 1.0
    assert relief({}, {}, {}) == 1.0


def test_a_skewed_topic_goes_by_load_and_the_other_by_number() -> None:
    """One partition of as much load as the eleven others together is alone; the bulk topic is six and six."""
    members = [Member("a", frozenset({REQUESTS, BULK})), Member("b", frozenset({REQUESTS, BULK}))]
    sizes = {REQUESTS: [11.0] + [1.0] * 11}
    placed = place(members, {"a": 1.0, "b": 1.0}, {REQUESTS: 12, BULK: 12}, loads=sizes)
    assert sorted(sum(topic == REQUESTS for topic, _ in places) for places in placed.values()) == [1, 11]
    assert [sum(topic == BULK for topic, _ in places) for places in placed.values()] == [6, 6]
    again = [Member(name, frozenset({REQUESTS, BULK}), places) for name, places in placed.items()]
    assert place(again, {"a": 1.0, "b": 1.0}, {REQUESTS: 12, BULK: 12}, loads=sizes) == placed


def test_relief_is_by_load_where_it_is_known() -> None:
    """By number these two are even; by load one has 16 of 22."""
    held = {"a": [(REQUESTS, n) for n in range(6)], "b": [(REQUESTS, n) for n in range(6, 12)]}
    placed = {"a": [(REQUESTS, 0)], "b": [(REQUESTS, n) for n in range(1, 12)]}
    sizes = {REQUESTS: [11.0] + [1.0] * 11}
    assert relief(held, placed, {"a": 1.0, "b": 1.0}, sizes) == pytest.approx(16 / 11)
    assert relief(held, placed, {"a": 1.0, "b": 1.0}) < 1
