"""Trouble with brokers. They are killed and stopped, so this is for the embedded ones alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from penstock.verify.errors import CannotVerify
from penstock.verify.faults.base import Facts, Fault
from streams import topics
from streams.errors import EndsUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from penstock.local.cluster import LocalCluster
    from penstock.verify.stage import Stage

#: Seconds that a broker is away, at least and at most; its start comes on top.
LEAST_AWAY_S, MOST_AWAY_S = 0.5, 2.0
#: Seconds without a new result after which the results topic counts as refusing them, and seconds for that to begin:
#: the copies that remain agree on what was under way.
STILL_S, STILL_WITHIN_S = 0.5, 20.0
#: Seconds for a broker that is back to copy what it missed.
CAUGHT_UP_S = 60.0


class BrokerRestart(Fault):
    """The only broker is stopped in good order and started again, as for an upgrade."""

    name = "broker-restart"
    words = "the only broker is stopped (SIGTERM) and started again"
    nodes = 1

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `broker_away_s`."""
        cluster = _cluster(stage)
        (node,) = cluster.node_ids
        began_s = time.monotonic()
        cluster.stop_node(node)
        time.sleep(random.uniform(LEAST_AWAY_S, MOST_AWAY_S))
        cluster.start_node(node)
        cluster.wait_ready(node)
        back_at_s = time.monotonic()
        stage.healed(back_at_s)
        return {"broker_away_s": back_at_s - began_s}


class BrokerSigkill(Fault):
    """One of three brokers is killed: leader of some partitions, coordinator of some groups and transactions."""

    name = "broker-sigkill"
    words = "one of three brokers (3 copies, 2 in sync) gets SIGKILL, and is started again later"
    nodes = 3

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `broker_away_s`."""
        cluster = _cluster(stage)
        node = random.choice(cluster.node_ids)
        began_s = time.monotonic()
        cluster.kill_node(node)
        time.sleep(random.uniform(LEAST_AWAY_S, MOST_AWAY_S))
        # All partitions must serve with the broker away.
        stage.healed(time.monotonic())
        cluster.start_node(node)
        cluster.wait_ready(node)
        back_at_s = time.monotonic()
        _wait_copied(stage)
        stage.healed(time.monotonic())
        return {"broker_away_s": back_at_s - began_s}


class ResultsUnavailable(Fault):
    """The results topic takes nothing for a while; all else goes on.

    What a full disk does: the broker with the full disk goes offline, and a topic that needs as many copies in sync as
    there are brokers refuses every record (NOT_ENOUGH_REPLICAS) until it is back. Here the results topic asks for all
    three copies and one broker is stopped; requests, offsets and transactions need two and go on. A worker must wait
    with its answers, and give up neither them nor itself.
    """

    name = "results-unavailable"
    words = "one of three brokers is stopped; results need all three copies and refuse every record until it is back"
    nodes = 3
    results_config: ClassVar[Mapping[str, str]] = {"min.insync.replicas": "3"}

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `results_away_s`: how long not one result came."""
        cluster = _cluster(stage)
        node = random.choice(cluster.node_ids)
        began_s = time.monotonic()
        cluster.stop_node(node)
        # By the log and not by what was read: a reader on a busy machine sees late what was written before.
        stage.until(lambda: _still(stage), "the results topic refuses every record", STILL_WITHIN_S)
        still_s = time.monotonic()
        time.sleep(random.uniform(LEAST_AWAY_S, MOST_AWAY_S))
        if not _still(stage):
            raise CannotVerify("results were written with a copy missing: the fault did not come about", "report it")
        cluster.start_node(node)
        cluster.wait_ready(node)
        back_at_s = stage.healed(time.monotonic())
        back = [at for p in range(stage.partitions) for at in stage.watch.moments(p) if at > still_s]
        _wait_copied(stage)
        return {"results_away_s": min(back, default=back_at_s) - began_s}


def _still(stage: Stage) -> bool:
    """Whether nothing becomes readable in the results topic for a moment in which hundreds of results would."""
    name = topics.results(stage.pipeline)
    try:
        before = stage.admin.end_offsets(name)
        time.sleep(STILL_S)
        return stage.admin.end_offsets(name) == before
    except EndsUnknown:
        # A leader since the broker went that cannot tell how far is committed until the third copy is back. It was
        # asked for seconds; what it does not know to be committed it gives to nobody.
        return True


def _cluster(stage: Stage) -> LocalCluster:
    if stage.cluster is None:
        raise CannotVerify("this fault stops brokers, and these are not ours", "leave --bootstrap out")
    return stage.cluster


def _wait_copied(stage: Stage) -> None:
    names = (topics.requests(stage.pipeline), topics.results(stage.pipeline), topics.dead_letters(stage.pipeline))
    stage.until(
        lambda: not any(stage.admin.under_replicated(name) for name in names),
        "all copies are in sync again",
        CAUGHT_UP_S,
    )
