"""What a fault has at hand: one pipeline with its workers under load, and the services around it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.verify.errors import CannotVerify
from streams import topics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from penstock.local.cluster import LocalCluster
    from penstock.verify.fleet import Fleet, Worker
    from penstock.verify.load import Watch
    from penstock.verify.redis_server import RedisServer
    from streams.kafka import Admin, KafkaSettings

#: Seconds between looks at a condition that a coordinator or a log must be asked about.
LOOK_S = 0.05
#: Seconds for the pipeline to serve all partitions again after a fault: every time-out there is lies well below.
HEALED_S = 60.0


@dataclass(slots=True)
class Stage:
    """One pipeline under load."""

    #: First part of the requests' ids.
    session: str
    pipeline: str
    partitions: int
    kafka: KafkaSettings
    admin: Admin
    fleet: Fleet
    watch: Watch
    #: For files of its own.
    directory: Path
    config: Path
    #: Embedded nodes, where the Kafka is ours to break.
    cluster: LocalCluster | None = None
    redis: RedisServer | None = None
    #: The workers' clock; see `penstock.verify.shifted_clock`.
    clock: Path | None = None

    def owned(self) -> dict[str, frozenset[int]]:
        """Partitions of requests by worker, as the group's coordinator says; empty during a rebalance."""
        asked = topics.requests(self.pipeline)
        return {
            member: frozenset(partition for topic, partition in places if topic == asked)
            for member, places in self.admin.assignments(topics.group(self.pipeline)).items()
        }

    def settled(self) -> bool:
        """Whether the workers that are meant to run, and no others, own all partitions."""
        owned = self.owned()
        return set(owned) == {worker.slot for worker in self.fleet.workers} and self.partitions == sum(
            map(len, owned.values())
        )

    def victim(self, random: Random) -> tuple[Worker, frozenset[int]]:
        """One of the workers that own partitions, and what it owns: shares follow capacity, so some may own none.

        Raises:
            CannotVerify: none owns any, for long.
        """
        owned: dict[str, frozenset[int]] = {}

        def known() -> bool:
            owned.clear()
            owned.update(self.owned())
            return any(owned.get(worker.slot) for worker in self.fleet.workers)

        self.until(known, "a worker owns partitions")
        owners = [worker for worker in self.fleet.workers if owned.get(worker.slot)]
        chosen = random.choice(owners)
        return chosen, owned[chosen.slot]

    @staticmethod
    def until(condition: Callable[[], bool], what: str, timeout_s: float = HEALED_S) -> None:
        """Wait for a condition.

        Raises:
            CannotVerify: it does not come about.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise CannotVerify(f"not within {timeout_s:g} s: {what}", "see the workers' logs (--report keeps them)")
            time.sleep(LOOK_S)

    def healed(self, from_s: float) -> float:
        """Wait until every partition has given a result at or after a moment; when the last of them did.

        Raises:
            CannotVerify: one gives none.
        """
        at_s = self.watch.first_after(range(self.partitions), from_s, HEALED_S)
        if at_s is None:
            silent = [p for p in range(self.partitions) if not [at for at in self.watch.moments(p) if at >= from_s]]
            raise CannotVerify(
                f"no result of the partitions {silent} for {HEALED_S:g} s after the fault was over",
                "see the workers' logs (--report keeps them)",
            )
        return at_s
