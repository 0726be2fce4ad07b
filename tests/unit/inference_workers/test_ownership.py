"""Whose partitions, and what of them is in hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from inference_workers.ownership import Ownership


def polled(*offsets: int) -> list[Any]:
    """Records of which only the place matters."""
    return [SimpleNamespace(offset=offset) for offset in offsets]


def epoch_of(ownership: Ownership, partition: int, *offsets: int) -> int:
    """The epoch that records are stamped with."""
    stamped = ownership.stamp(partition, polled(*offsets))
    assert stamped is not None
    return stamped[0]


def test_a_record_polled_before_a_partition_went_and_came_back_is_stale() -> None:
    """In a new epoch it is read again from the committed offset, so the old copy must not be answered."""
    ownership = Ownership()
    ownership.assigned({0})
    epoch = epoch_of(ownership, 0, 10)
    ownership.revoked({0})
    ownership.assigned({0})
    assert not ownership.owned({(0, epoch)})
    assert not ownership.take(0, epoch, 1)
    assert epoch_of(ownership, 0, 10) != epoch


def test_an_offset_polled_twice_in_one_epoch_is_taken_once() -> None:
    """Whatever the client does, no offset is answered twice."""
    ownership = Ownership()
    ownership.assigned({0})
    assert epoch_of(ownership, 0, 4, 5)
    assert ownership.stamp(0, polled(4, 5)) is None
    stamped = ownership.stamp(0, polled(5, 7, 8))
    assert stamped is not None, "gaps are transaction markers"
    assert [record.offset for record in stamped[1]] == [7, 8]


def test_a_partition_being_revoked_gives_nothing_out_and_keeps_what_is_in_hand() -> None:
    """What was taken may be committed until the revocation is over; nothing more is taken."""
    ownership = Ownership()
    ownership.assigned({0, 1})
    epoch = epoch_of(ownership, 0, 0, 1)
    assert ownership.take(0, epoch, 2)
    ownership.revoking({0})
    assert not ownership.take(0, epoch, 1)
    assert ownership.owned({(0, epoch), (1, epoch)}) == {(0, epoch)}
    assert not ownership.drained({0})
    assert ownership.drained({1})
    ownership.settle([0])
    assert not ownership.drained({0}), "one of two is still in hand"
    ownership.settle([0])
    assert ownership.drained({0})
    ownership.revoked({0})
    assert not ownership.owned({(0, epoch)})
    assert ownership.partitions == (1,)


def test_a_partition_that_is_not_ours_is_not_stamped() -> None:
    """A record of a partition that is gone by the time the poll returns goes nowhere."""
    assert Ownership().stamp(3, polled(0)) is None
