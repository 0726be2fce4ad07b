"""What a fault is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from penstock.verify.stage import Stage

#: What a fault measures beside the ledger, by name with its unit, e.g. `recovery_s`.
Facts = dict[str, float]


class Fault:
    """One kind of trouble. One object serves all runs of it, one after the other, on one pipeline.

    `strike` is called while the load runs and returns when the trouble is over and each partition serves again; the
    load goes on a little longer. Randomness comes from the generator that it is given, so that a seed repeats it.
    """

    name: ClassVar[str]
    #: What is done, for tables and pages.
    words: ClassVar[str]
    #: Embedded Kafka nodes that it takes; 0 = any cluster will do, also the user's own.
    nodes: ClassVar[int] = 0
    #: Workers under load.
    workers: ClassVar[int] = 3
    #: Whether it takes a Redis server of our own.
    redis: ClassVar[bool] = False
    #: Whether the workers' clocks are ours to set.
    clock: ClassVar[bool] = False
    #: Settings of the two topics that differ from the usual.
    requests_config: ClassVar[Mapping[str, str]] = {}
    results_config: ClassVar[Mapping[str, str]] = {}

    def prepare(self, stage: Stage) -> None:
        """Once, before the first run."""

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Bring the trouble about and see it over.

        Raises:
            CannotVerify: it did not come about, or the pipeline does not serve again.
        """
        raise NotImplementedError

    def finish(self, stage: Stage) -> None:
        """Once, after the last run, also where one has failed."""
