"""The weighted placement in Kafka's group protocol: what members say to the leader, and what it answers.

The leader is a member like any other, so all of it must be there in each. What it decided goes to every member with its
assignment, so that the next leader, whoever it is, knows where partitions were and what members said.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from streams.capacity import FORMAT, Capacity, SteadyCapacity, decode, encode, weights
from streams.partition_loads import decoded, encoded, merged, placed_by, told
from streams.placement import Member, Place, first_round, place, relief

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kafka import TopicPartition

log = logging.getLogger(__name__)

#: Subscriptions from this version on name the generation of what is owned: where two claim a partition, the later one
#: has it.
_SUBSCRIPTION_VERSION = 2
_ASSIGNMENT_VERSION = 1
#: Bytes of what a leader tells; beyond it (thousands of partitions) members get their assignment without it.
_LONGEST_MEMORY = 256 * 1024
#: Bytes of it over all members up to which it holds the partitions' loads: brokers keep a group's assignments in one
#: record, by default of 1 MiB at most. Beyond it the next leader knows what its members say, and no more.
_LONGEST_WITH_LOADS = 256 * 1024

#: What a member may claim when it joins, and the generation in which it got it.
Claims = tuple["Collection[TopicPartition]", int]


def _nothing() -> Claims:
    return (), -1


class WeightedAssignor(AbstractPartitionAssignor):  # type: ignore[misc] # kafka-python is untyped
    """Partitions in proportion to capacity, stickily and cooperatively; see `streams.placement`.

    Runs on the client's I/O thread, except `relief_by`.

    Args:
        capacity: what this member can do now.
    """

    name = "penstock-weighted"

    def __init__(self, capacity: Callable[[], Capacity]) -> None:
        self._capacity = capacity
        self._steady = SteadyCapacity(capacity())
        #: What this member owns; set once the consumer exists.
        self.claims: Callable[[], Claims] = _nothing
        #: As the last leader told: where each partition belongs, and what each member said.
        self._homes: dict[Place, str] = {}
        self._said: dict[str, Capacity | None] = {}
        #: Records a second by partition, as the last leader knew them; and as this member measures what it owns.
        self._loads: dict[Place, float] = {}
        self._measured: dict[Place, float] = {}

    def measured(self, rates: Mapping[Place, float]) -> None:
        """What this member measures of its partitions; replaced whole, called on the polling thread."""
        self._measured = dict(rates)

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Members keep what they own while they join."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolSubscription:
        """This member's word for the leader."""
        claimed, generation = self.claims()
        return ConsumerProtocolSubscription(
            version=_SUBSCRIPTION_VERSION,
            topics=sorted(topics),
            user_data=encode(self._steady.update(self._capacity()), self._measured),
            owned_partitions=_on_the_wire(claimed),
            generation_id=generation,
        )

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """The leader's decision, by member id."""
        joined: dict[str, Member] = {}
        ids: dict[str, str] = {}
        said: dict[str, Capacity | None] = {}
        rates: list[dict[Place, float]] = []
        for one in members:
            name = one.group_instance_id or one.member_id
            ids[name] = one.member_id
            said[name] = decode(one.metadata.user_data)
            rates.append(told(one.metadata.user_data))
            owned = {
                (entry.topic, number) for entry in one.metadata.owned_partitions or () for number in entry.partitions
            }
            joined[name] = Member(name, frozenset(one.metadata.topics), frozenset(owned), one.metadata.generation_id)
        topics = {topic for member in joined.values() for topic in member.topics}
        partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        weighed = weights(said)
        known = {at: rate for at, rate in merged(self._loads, rates).items() if at[1] < partitions.get(at[0], 0)}
        loads = placed_by(known, partitions)
        final = place(joined.values(), weighed, partitions, self._homes, loads)
        now = first_round(joined.values(), final)
        memory = _remembered(final, said, known)
        log.info(
            "group.placed",
            extra={
                "weights": {name: round(weight, 3) for name, weight in weighed.items()},
                "partitions": {name: len(places) for name, places in final.items()},
                "by_load": sorted(loads),
                "held_back": sum(len(final[name]) - len(now[name]) for name in final),
            },
        )
        return {
            ids[name]: ConsumerProtocolAssignment(_ASSIGNMENT_VERSION, _by_topic(places), memory)
            for name, places in now.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolAssignment, generation: int) -> None:  # noqa: ARG002
        """Keep what the leader told beside the assignment."""
        self._homes, self._said, self._loads = _recalled(assignment.user_data)

    def relief_by(self, name: str) -> float:
        """By what factor the busiest member's load would fall, were all placed anew by what `name` knows now.

        1 = nothing gained, nothing known of the others, or idle. Called on the polling thread.
        """
        homes, said, now = self._homes, dict(self._said), self._capacity()
        # An idle member needs no relief, and a loaded one asks for itself.
        if name not in said or not now.loaded:
            return 1.0
        said[name] = now
        held: dict[str, set[Place]] = {member: set() for member in said}
        counts: dict[str, int] = defaultdict(int)
        for one, member in homes.items():
            held.setdefault(member, set()).add(one)
            counts[one[0]] += 1
        topics = frozenset(counts)
        members = [Member(member, topics, frozenset(places)) for member, places in held.items() if member in said]
        weighed, loads = weights(said), placed_by(merged(self._loads, [self._measured]), counts)
        return relief(held, place(members, weighed, counts, loads=loads), weighed, loads)


class StickyFallback(CooperativeStickyAssignor):  # type: ignore[misc] # kafka-python is untyped
    """What a group with members that know no weights agrees on: even shares. For rolling upgrades."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: Callable[[], Claims] = _nothing

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolSubscription:
        """The library's form, with what is owned now: its own memory is old after the other assignor's turn."""
        claimed, _ = self.claims()
        return ConsumerProtocolSubscription(
            version=self.version, topics=sorted(topics), user_data=b"", owned_partitions=_on_the_wire(claimed)
        )


def _on_the_wire(claimed: Collection[TopicPartition]) -> list[Any]:
    by_topic = _by_topic({(one.topic, one.partition) for one in claimed})
    return [ConsumerProtocolSubscription.TopicPartition(topic=topic, partitions=numbers) for topic, numbers in by_topic]


def _by_topic(places: Iterable[Place]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = defaultdict(list)
    for topic, number in sorted(places):
        found[topic].append(number)
    return list(found.items())


def _remembered(
    final: Mapping[str, Iterable[Place]], said: Mapping[str, Capacity | None], loads: Mapping[Place, float]
) -> bytes:
    memory = {
        "penstock": FORMAT,
        "homes": {name: dict(_by_topic(places)) for name, places in final.items()},
        "said": {name: encode(one).decode() if one else None for name, one in said.items()},
    }
    whole = json.dumps({**memory, "loads": encoded(loads)}, separators=(",", ":")).encode()
    if len(whole) * max(1, len(said)) <= _LONGEST_WITH_LOADS:
        return whole
    data = json.dumps(memory, separators=(",", ":")).encode()
    return data if len(data) <= _LONGEST_MEMORY else b""


def _recalled(data: Any) -> tuple[dict[Place, str], dict[str, Capacity | None], dict[Place, float]]:
    """What a leader told; nothing where it was another version's, or another program's."""
    try:
        memory = json.loads(bytes(data or b""))
        if memory["penstock"] != FORMAT:
            return {}, {}, {}
        homes = {
            (str(topic), int(number)): str(name)
            for name, topics in memory["homes"].items()
            for topic, numbers in topics.items()
            for number in numbers
        }
        said = {str(name): decode(one.encode()) if one else None for name, one in memory["said"].items()}
        loads = decoded(memory.get("loads"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}, {}, {}
    return homes, said, loads
