"""The group's leader: what members say goes into the placement, and what it knew goes on to the next leader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from streams.capacity import Capacity, encode
from streams.kafka.assignor import WeightedAssignor

if TYPE_CHECKING:
    from collections.abc import Mapping

T = "p.requests"
PARTITIONS = 12
CLUSTER = SimpleNamespace(partitions_for_topic=lambda _: set(range(PARTITIONS)))


def member(name: str, owned: list[int], rates: Mapping[int, float]) -> Any:
    """A member as it joins."""
    places = [ConsumerProtocolSubscription.TopicPartition(topic=T, partitions=owned)] if owned else []
    word = encode(Capacity("cpu", 100.0), {(T, number): rate for number, rate in rates.items()})
    metadata = ConsumerProtocolSubscription(
        version=2, topics=[T], user_data=word, owned_partitions=places, generation_id=3
    )
    return SimpleNamespace(member_id=f"{name}-id", group_instance_id=name, metadata=metadata)


def given(assignments: Mapping[str, Any]) -> dict[str, list[int]]:
    """Numbers by member id."""
    return {
        name: [number for _, numbers in assignment.assigned_partitions for number in numbers]
        for name, assignment in assignments.items()
    }


def leader() -> WeightedAssignor:
    """One that knows nothing yet."""
    return WeightedAssignor(lambda: Capacity("cpu", 100.0))


def test_hot_partitions_go_by_what_their_owners_say() -> None:
    """Three hot of twelve, all with one member: by number nothing would move, by load it gives some back."""
    rates = dict.fromkeys(range(3), 80.0) | dict.fromkeys(range(3, 12), 10.0)
    one = member("one", list(range(6)), {number: rates[number] for number in range(6)})
    other = member("other", list(range(6, 12)), {number: rates[number] for number in range(6, 12)})
    kept = given(leader().assign(CLUSTER, [one, other]))
    assert sum(rates[number] for number in kept["one-id"]) < 200
    assert kept["other-id"] == list(range(6, 12))
    quiet = dict.fromkeys(rates, 10.0)
    even = [member("one", list(range(6)), quiet), member("other", list(range(6, 12)), quiet)]
    assert given(leader().assign(CLUSTER, even))["one-id"] == list(range(6))


def test_the_next_leader_knows_of_partitions_that_nobody_owns() -> None:
    """Their owner is gone and says nothing more; what it said was handed on with the assignment."""
    rates = dict.fromkeys(range(3), 80.0) | dict.fromkeys(range(3, 12), 10.0)
    first = leader()
    told = first.assign(
        CLUSTER,
        [
            member("one", list(range(6)), {number: rates[number] for number in range(6)}),
            member("other", list(range(6, 12)), {number: rates[number] for number in range(6, 12)}),
        ],
    )
    second = leader()
    second.on_assignment(told["other-id"], 4)
    found = given(second.assign(CLUSTER, [member("other", list(range(6, 12)), {}), member("new", [], {})]))
    loads = [sum(rates[number] for number in numbers) for numbers in found.values()]
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(12))
    assert max(loads) < 200
