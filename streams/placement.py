"""Which member of a group gets which partitions: in proportion to weights, moving as few as that allows.

Pure: no client, no clock. `streams.kafka.assignor` brings it to Kafka's group protocol.

For each topic, n partitions, weights w: the ideal of member m is n * w_m / sum(w). Each member gets its ideal rounded
down; what is left goes where it makes the busiest member least busy, that is, max(quota_m / w_m) is as small as whole
partitions allow (D'Hondt's rule: the next one to the least (quota_m + 1) / w_m). Plain rounding would be wrong for
members that differ: a GPU with 52 partitions instead of 51 is 2 % busier, a CPU worker with 3 instead of 2 half as
busy again, and the busiest decides what the group can do. Within that, partitions stay with who holds them: each such
choice saves one move, so the moves are as few as they can be, the sum of max(0, held - quota).

A topic whose partitions are known to differ is shared out by their load instead (`autoscaler.queueing.dealing`).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from autoscaler.queueing import dealing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: A topic and the number of a partition.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group as it joins."""

    #: Unique and, where it can be, the same after a restart: the group instance id, else the member id.
    name: str
    topics: frozenset[str]
    #: What it says it owns.
    owned: frozenset[Place] = frozenset()
    #: The group's generation in which it got that; where two claim one partition the later one has it.
    generation: int = -1


def place(
    members: Collection[Member],
    weights: Mapping[str, float],
    partitions: Mapping[str, int],
    homes: Mapping[Place, str] | None = None,
    loads: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, frozenset[Place]]:
    """The placement to be reached. The same input gives the same answer; its own answer moves nothing.

    Args:
        members: all members, with names that differ.
        weights: above 0, by name.
        partitions: how many each topic has.
        homes: where partitions were last, by member's name. A member that has just restarted claims nothing; what
            nobody claims goes back to where it was.
        loads: Of each partition, by topic, of the topics that are skewed (`streams.partition_loads.placed_by`).

    Returns:
        All partitions of all topics that somebody reads, by member; each exactly once.
    """
    owners = _owners(members)
    homes = homes or {}
    found: dict[str, set[Place]] = {member.name: set() for member in members}
    elsewhere: dict[int, str] = {}
    for topic in sorted(partitions):
        readers = sorted(member.name for member in members if topic in member.topics)
        if not readers:
            continue
        held: dict[int, str] = {}
        for number in range(partitions[topic]):
            owner = owners.get((topic, number)) or homes.get((topic, number))
            if owner in readers:
                held[number] = owner
        placed = (
            _place_loads(loads[topic], readers, weights, held)
            if loads
            and len(loads.get(topic, ())) == partitions[topic]
            and partitions[topic] * len(readers) <= dealing.MOST
            else _place_topic(partitions[topic], readers, weights, held, elsewhere)
        )
        # A request and its bulk twin on one worker share a batch more often: later topics follow the earlier ones.
        elsewhere = {**placed, **elsewhere}
        for number, name in placed.items():
            found[name].add((topic, number))
    return {name: frozenset(places) for name, places in found.items()}


def first_round(members: Collection[Member], final: Mapping[str, frozenset[Place]]) -> dict[str, frozenset[Place]]:
    """What of a placement can be given now: nothing that another member may still be working on.

    Those who lose partitions give them back and join again; the next round hands them over (KIP-429).
    """
    owners = _owners(members)
    claims: dict[Place, set[str]] = {}
    for member in members:
        for claimed in member.owned:
            claims.setdefault(claimed, set()).add(member.name)
    return {
        name: frozenset(one for one in places if owners.get(one) == name or claims.get(one, set()) <= {name})
        for name, places in final.items()
    }


def relief(
    held: Mapping[str, Collection[Place]],
    placed: Mapping[str, Collection[Place]],
    weights: Mapping[str, float],
    loads: Mapping[str, Sequence[float]] | None = None,
) -> float:
    """By what factor the load of the busiest member would fall: 1 = nothing gained.

    Args:
        held: What each has now.
        placed: What it would have.
        weights: By member.
        loads: As in `place`; partitions of other topics are alike.
    """
    loads = loads or {}
    now, then = _busiest(held, weights, loads), _busiest(placed, weights, loads)
    return now / then if then > 0 else 1.0


def quotas(weights: Mapping[str, float], partitions: int, held: Mapping[str, int] | None = None) -> dict[str, int]:
    """How many partitions each member gets: as the busiest is least busy, moving as few as that allows.

    Args:
        weights: above 0, by name; at least one.
        partitions: to be shared out.
        held: how many each has now.
    """
    held = held or {}
    # Exact: sums of rounded numbers would round a whole ideal down on one machine and up on another.
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    total = sum(exact.values())
    down = {name: math.floor(partitions * weight / total) for name, weight in exact.items()}
    rest = partitions - sum(down.values())
    if not rest:
        return down
    evened = _given(dict(down), rest, exact)
    busiest = max(number / exact[name] for name, number in evened.items())
    # Who holds more keeps more, as far as nobody gets busier than that.
    found = dict(down)
    for name in sorted(found):
        kept = min(held.get(name, 0), math.floor(exact[name] * busiest)) - found[name]
        kept = max(0, min(kept, rest))
        found[name] += kept
        rest -= kept
    return _given(found, rest, exact)


def _given(found: dict[str, int], rest: int, exact: Mapping[str, Fraction]) -> dict[str, int]:
    """The rest, one by one, to whom it makes least busy; changes and returns `found`."""
    heap = [((number + 1) / exact[name], name) for name, number in found.items()]
    heapq.heapify(heap)
    for _ in range(rest):
        _, name = heap[0]
        found[name] += 1
        heapq.heapreplace(heap, ((found[name] + 1) / exact[name], name))
    return found


def _owners(members: Collection[Member]) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for member in sorted(members, key=lambda one: (one.generation, one.name)):
        found.update(dict.fromkeys(member.owned, member.name))
    return found


def _place_topic(
    count: int,
    readers: Collection[str],
    weights: Mapping[str, float],
    held: Mapping[int, str],
    elsewhere: Mapping[int, str],
) -> dict[int, str]:
    holds: dict[str, list[int]] = {name: [] for name in readers}
    for number, name in held.items():
        holds[name].append(number)
    quota = quotas(
        {name: weights[name] for name in readers}, count, {name: len(numbers) for name, numbers in holds.items()}
    )
    found: dict[int, str] = {}
    for name, numbers in holds.items():
        # Given up first: what has its twin elsewhere.
        numbers.sort(key=lambda number: (elsewhere.get(number) != name, number))
        found.update(dict.fromkeys(numbers[: quota[name]], name))
    room = dict(quota)
    for name in found.values():
        room[name] -= 1
    free = [number for number in range(count) if number not in found]
    for number in free:
        twin = elsewhere.get(number)
        if twin is not None and room.get(twin, 0) > 0:
            found[number] = twin
            room[twin] -= 1
    for number in free:
        if number not in found:
            name = min(room, key=lambda one: (-room[one], one))
            found[number] = name
            room[name] -= 1
    return found


def _place_loads(
    loads: Sequence[float], readers: Sequence[str], weights: Mapping[str, float], held: Mapping[int, str]
) -> dict[int, str]:
    owner = [readers.index(held[number]) if number in held else -1 for number in range(len(loads))]
    return {n: readers[at] for n, at in enumerate(dealing.dealt(loads, [weights[name] for name in readers], owner))}


def _busiest(
    held: Mapping[str, Collection[Place]], weights: Mapping[str, float], loads: Mapping[str, Sequence[float]]
) -> float:
    def load(places: Collection[Place]) -> float:
        return sum(_sized(loads[topic], number) if topic in loads else 1.0 for topic, number in places)

    return max((load(held.get(name, ())) / weight for name, weight in weights.items()), default=0.0)


def _sized(loads: Sequence[float], number: int) -> float:
    """One partition's load over the mean of its topic's, so that topics add up."""
    total = sum(loads)
    return loads[number] * len(loads) / total if number < len(loads) and total > 0 else 1.0
