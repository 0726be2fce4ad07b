"""What a member is told of its partitions: what a join brings, and nothing that is gone again by then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kafka import TopicPartition

from streams.kafka.group_consumer import _Listener

if TYPE_CHECKING:
    from collections.abc import Collection


class Hooks:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []

    def assigned(self, partitions: Collection[int]) -> None:
        """Ours."""
        self.told.append(("assigned", sorted(partitions)))

    def revoking(self, partitions: Collection[int]) -> None:
        """About to go."""
        self.told.append(("revoking", sorted(partitions)))

    def drained(self, _partitions: Collection[int]) -> bool:
        """Nothing is in hand."""
        return True

    def revoked(self, partitions: Collection[int]) -> None:
        """Gone."""
        self.told.append(("revoked", sorted(partitions)))


def places(*partitions: int) -> list[TopicPartition]:
    """Of one topic."""
    return [TopicPartition("t", partition) for partition in partitions]


def test_what_comes_and_is_revoked_between_two_polls_is_not_announced() -> None:
    """A rebalance follows the one before at once: partition 1 was ours, and is not any more."""
    hooks = Hooks()
    listener = _Listener(hooks, 1.0, "me")
    asyncio.run(listener.on_partitions_assigned(places(0, 1)))
    asyncio.run(listener.on_partitions_revoked(places(1)))
    listener.tell_assigned()
    listener.tell_assigned()
    assert [what for what in hooks.told if what[0] == "assigned"] == [("assigned", [0])]


def test_what_comes_and_is_lost_between_two_polls_is_not_announced() -> None:
    """Lost, with the membership: none of it is ours."""
    hooks = Hooks()
    listener = _Listener(hooks, 1.0, "me")
    asyncio.run(listener.on_partitions_assigned(places(0, 1)))
    listener.lose(places(0, 1))
    listener.tell_assigned()
    assert hooks.told == [("revoked", [0, 1])]
    assert not listener.told
