"""Who decides for a pipeline: who has its telemetry partition by Kafka's word, and of several the youngest claim.

Kafka's assignment alone is not enough: a process that was stopped for a minute still believes in the one it had. So a
new owner writes a claim, whose offset is its epoch; who reads a younger claim than its own stops, and actuators refuse
lower epochs.
"""

from __future__ import annotations

import enum


class Standing(enum.StrEnum):
    """Where a process stands with a pipeline."""

    #: The partition belongs to another member.
    SPECTATOR = "spectator"
    #: The partition was given to us; our claim is not written, or the tape not read yet.
    CLAIMING = "claiming"
    #: We decide.
    OWNER = "owner"
    #: The partition seems ours, but another has claimed the pipeline after us.
    SUPERSEDED = "superseded"


class Ownership:
    """The standing of one process with one pipeline. No I/O.

    Args:
        owner: This process; another name in each life.
        reclaim_after_s: Seconds after which a superseded process that still has the partition claims again. Longer than
            the group's session time-out: by then a true successor would have got the partition.
    """

    def __init__(self, owner: str, reclaim_after_s: float = 15.0) -> None:
        self._owner = owner
        self._reclaim_after_s = reclaim_after_s
        self._epoch: int | None = None
        self._superseded_at_s: float | None = None
        self.standing = Standing.SPECTATOR
        #: Counts assignments, so that the answer to an old claim is told from that to the present one.
        self.term = 0

    @property
    def epoch(self) -> int | None:
        """Offset of our claim while we own the pipeline; `None` = we do not."""
        return self._epoch if self.standing is Standing.OWNER else None

    def assigned(self) -> int:
        """The partition is ours: a claim is to be written. Returns the term that it is for."""
        self.standing = Standing.CLAIMING
        self._epoch = None
        self.term += 1
        return self.term

    def revoked(self) -> None:
        """The partition is another's, or nobody's."""
        self.standing = Standing.SPECTATOR
        self._epoch = None
        self.term += 1

    def claimed(self, term: int, epoch: int) -> bool:
        """Our claim lies at offset `epoch` and the tape before it was read. Returns whether we own the pipeline now."""
        if term != self.term or self.standing is not Standing.CLAIMING:
            return False
        self.standing, self._epoch = Standing.OWNER, epoch
        return True

    def saw_claim(self, owner: str, epoch: int, now_s: float) -> bool:
        """A claim was read from the tape. Returns whether it has ended our ownership."""
        if self.standing is not Standing.OWNER or owner == self._owner or epoch < (self._epoch or 0):
            return False
        self.superseded(now_s)
        return True

    def superseded(self, now_s: float) -> None:
        """Another decider is ahead of us."""
        if self.standing in (Standing.OWNER, Standing.CLAIMING):
            self.standing = Standing.SUPERSEDED
            self._superseded_at_s = now_s
            self._epoch = None
            self.term += 1

    def may_reclaim(self, now_s: float) -> bool:
        """Whether to claim again: superseded for long, and yet nobody has taken the partition from us."""
        return (
            self.standing is Standing.SUPERSEDED
            and self._superseded_at_s is not None
            and now_s - self._superseded_at_s >= self._reclaim_after_s
        )
