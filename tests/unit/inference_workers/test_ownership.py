"""Whose partitions, and what of them is in hand."""

from __future__ import annotations

from inference_workers.ownership import Ownership


def test_a_record_polled_before_a_partition_went_and_came_back_is_stale() -> None:
    """In a new epoch it is read again from the committed offset, so the old copy must not be answered."""
    ownership = Ownership()
    ownership.assigned({0})
    epoch = ownership.stamp(0, 10)
    assert epoch is not None
    ownership.revoked({0})
    ownership.assigned({0})
    assert not ownership.owns(0, epoch)
    assert not ownership.take(0, epoch)
    assert ownership.stamp(0, 10) not in (None, epoch)


def test_an_offset_polled_twice_in_one_epoch_is_taken_once() -> None:
    """Whatever the client does, no offset is answered twice."""
    ownership = Ownership()
    ownership.assigned({0})
    assert ownership.stamp(0, 5) is not None
    assert ownership.stamp(0, 5) is None
    assert ownership.stamp(0, 4) is None
    assert ownership.stamp(0, 7) is not None, "gaps are transaction markers"


def test_a_partition_being_revoked_gives_nothing_out_and_keeps_what_is_in_hand() -> None:
    """What was taken may be committed until the revocation is over; nothing more is taken."""
    ownership = Ownership()
    ownership.assigned({0, 1})
    epoch = ownership.stamp(0, 0)
    assert epoch is not None
    assert ownership.take(0, epoch)
    ownership.revoking({0})
    assert not ownership.take(0, epoch)
    assert ownership.owns(0, epoch)
    assert not ownership.drained({0})
    assert ownership.drained({1})
    ownership.settle([0])
    assert ownership.drained({0})
    ownership.revoked({0})
    assert not ownership.owns(0, epoch)
    assert ownership.partitions == (1,)


def test_a_partition_that_is_not_ours_is_not_stamped() -> None:
    """A record of a partition that is gone by the time the poll returns goes nowhere."""
    assert Ownership().stamp(3, 0) is None
