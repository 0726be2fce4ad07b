"""Who decides: assignments, claims and epochs."""

from __future__ import annotations

from streams.ownership import Ownership, Standing


def owner(epoch: int = 10) -> Ownership:
    """An owner."""
    ownership = Ownership("me", reclaim_after_s=15)
    assert ownership.claimed(ownership.assigned(), epoch)
    return ownership


def test_an_assignment_alone_gives_no_epoch() -> None:
    """Only a written claim makes an owner."""
    ownership = Ownership("me")
    assert ownership.epoch is None
    term = ownership.assigned()
    assert ownership.epoch is None
    assert ownership.claimed(term, 5)
    assert ownership.epoch == 5


def test_an_answer_to_an_old_claim_is_void() -> None:
    """A claim acknowledged after the partition went, or after it came again, makes no owner."""
    ownership = Ownership("me")
    old = ownership.assigned()
    ownership.revoked()
    assert not ownership.claimed(old, 5)
    new = ownership.assigned()
    assert not ownership.claimed(old, 5)
    assert ownership.claimed(new, 7)
    assert ownership.epoch == 7


def test_a_younger_claim_of_another_ends_it() -> None:
    """Older claims and our own do nothing; a younger one by another does."""
    ownership = owner(10)
    assert not ownership.saw_claim("other", 9, now_s=0)
    assert not ownership.saw_claim("me", 12, now_s=0)
    assert ownership.saw_claim("other", 11, now_s=0)
    assert ownership.standing is Standing.SUPERSEDED
    assert ownership.epoch is None


def test_a_superseded_owner_that_keeps_the_partition_claims_again() -> None:
    """A claim by one that had lost the partition before must not leave the pipeline without a decider."""
    ownership = owner(10)
    ownership.saw_claim("other", 11, now_s=100)
    assert not ownership.may_reclaim(114)
    assert ownership.may_reclaim(115)
    ownership.revoked()
    assert not ownership.may_reclaim(200)
