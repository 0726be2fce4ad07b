"""Which partitions make no progress: records wait in them, and their committed offset stands still.

More workers do not help such a partition: a partition has one owner, and that one is hung, or there is none. So what
waits there is told and not sized for. Once it moves again, only its owner can work off what has piled up; until then it
is *recovering* and is not sized for either, unless so many were stuck at once that it was the whole group.

Time is counted only while the group works (a worker serves, or some offset moves), so that the start of a group, or an
autoscaler that looked away, accuses nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.model import StuckPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.model import ArrivalSample, Observation

#: Records that are no backlog however slow the arrivals are.
_FEW = 10
#: Seconds of a partition's own arrivals that wait for their commit in ordinary times: a commit every 5 s and a batch.
_ORDINARY_S = 6.0
#: Part of the partitions above which it is the group that is stuck, and its recovery everybody's.
_GROUP = 0.5


class ProgressTracker:
    """Folds the samples of one pipeline, newest last. Bounded by the number of partitions; reads no clock.

    Args:
        stuck_after_s: Seconds without progress after which a partition is stuck.
        longest_s: Seconds between two samples that count as seen; a longer gap, or a clock that jumped, counts as that.
    """

    def __init__(self, stuck_after_s: float, longest_s: float) -> None:
        self._after_s, self._longest_s = stuck_after_s, longest_s
        self._sampled_at_s: float | None = None
        #: Seconds that the group was seen to work.
        self._worked_s = 0.0
        self._committed: dict[int, int | None] = {}
        #: Where each partition ended when its committed offset last moved.
        self._end_then: dict[int, int] = {}
        #: Of `_worked_s`, when each partition last moved or had nothing to do.
        self._moved: dict[int, float] = {}
        self._backlog: dict[int, int] = {}
        #: Partitions that were stuck and move again: when they began to, and their end offset then.
        self._recovering: dict[int, tuple[float, int]] = {}

    def add(self, sample: ArrivalSample, *, serving: bool) -> None:
        """Take the newest sample.

        Args:
            sample: Where the partitions stand; those whose commits it does not know are left as they were.
            serving: Whether a worker says that it serves.
        """
        first = self._sampled_at_s is None
        passed_s = 0.0 if self._sampled_at_s is None else sample.at_s - self._sampled_at_s
        self._sampled_at_s = sample.at_s
        moved, idle = self._noted(sample)
        if serving or (moved and not first):
            self._worked_s += min(max(0.0, passed_s), self._longest_s)
        self._recover([partition for partition in moved if self._still_s(partition) >= self._after_s], sample)
        for partition in (*moved, *idle):
            self._moved[partition] = self._worked_s
        for partition in self._backlog:
            self._moved.setdefault(partition, self._worked_s)
        for partition in [one for one, since in self._recovering.items() if self._caught_up(one, since, sample)]:
            del self._recovering[partition]

    def _noted(self, sample: ArrivalSample) -> tuple[list[int], list[int]]:
        """Partitions whose committed offset is another than before, and of the others those with nothing to do."""
        moved, idle = [], []
        for partition, committed in sample.committed.items():
            end = sample.end_offsets.get(partition)
            if end is None:
                continue
            waiting = max(0, end - (committed or 0))
            if committed != self._committed.get(partition):
                moved.append(partition)
                self._end_then[partition] = end
            elif waiting == 0 or (waiting == 1 and end == self._end_then.get(partition)):
                # The marker that ends a transaction takes an offset too, and a worker commits the offset after the
                # record's: behind the last answer a lag of 1 stays until the next request, and nothing waits.
                idle.append(partition)
            self._committed[partition] = committed
            self._backlog[partition] = waiting
        return moved, idle

    def _recover(self, released: list[int], sample: ArrivalSample) -> None:
        """What was stuck moves again: it is recovering, unless it was the whole group that stood still."""
        still = sum(self._still_s(partition) >= self._after_s for partition in self._backlog) if released else 0
        if still + len(self._recovering) <= _GROUP * len(self._backlog):
            self._recovering.update({one: (self._worked_s, sample.end_offsets[one]) for one in released})

    def stuck(self, owners: Mapping[int, str]) -> tuple[StuckPartition, ...]:
        """Partitions that are stuck or recovering, the longest still first.

        Args:
            owners: Workers by the partition that they say they own.
        """
        found = [
            StuckPartition(partition, self._still_s(partition), self._backlog[partition], owners.get(partition))
            for partition in self._backlog
            if self._still_s(partition) >= self._after_s
        ]
        names = {one.partition for one in found}
        found += [
            StuckPartition(partition, 0.0, self._backlog[partition], owners.get(partition), recovering=True)
            for partition in self._recovering
            if partition not in names
        ]
        return tuple(sorted(found, key=lambda one: (-one.still_s, one.partition)))

    def _still_s(self, partition: int) -> float:
        return self._worked_s - self._moved.get(partition, self._worked_s)

    def _caught_up(self, partition: int, since: tuple[float, int], sample: ArrivalSample) -> bool:
        """Whether no more waits there than its own arrivals explain."""
        from_s, end = since
        passed_s = self._worked_s - from_s
        per_s = (sample.end_offsets.get(partition, end) - end) / passed_s if passed_s > 0 else 0.0
        return self._backlog[partition] <= max(_FEW, per_s * _ORDINARY_S)


def sized_backlog(observation: Observation) -> int | None:
    """Records that wait and that more workers could work off; `None` = not known."""
    if observation.backlog is None:
        return None
    left_out = {one.partition for one in observation.stuck}
    return sum(waiting for partition, waiting in observation.backlog.items() if partition not in left_out)


def words(stuck: tuple[StuckPartition, ...], named: int = 3) -> str:
    """What is stuck as one clause, the first `named` of them by name; empty where nothing is."""
    still = [one for one in stuck if not one.recovering]
    recovering = [one for one in stuck if one.recovering]
    parts = []
    if still:
        told = ", ".join(
            f"{one.partition} for {one.still_s:.0f} s ({one.backlog} records, "
            f"{f'owned by {one.owner}' if one.owner else 'no worker owns it'})"
            for one in still[:named]
        )
        more = f" and {len(still) - named} more" if len(still) > named else ""
        parts.append(f"no progress on partition{'s' if len(still) > 1 else ''} {told}{more}")
    if recovering:
        told = ", ".join(f"{one.partition} ({one.backlog} records)" for one in recovering[:named])
        more = f" and {len(recovering) - named} more" if len(recovering) > named else ""
        parts.append(f"partition{'s' if len(recovering) > 1 else ''} {told}{more} was stuck and catches up")
    return "; ".join(parts) + ("; what waits there is not sized for" if parts else "")
