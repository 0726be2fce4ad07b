"""The broker is made warm before anybody is measured, the same for all.

A broker that has just started runs interpreted: its compilers take the cores for minutes, and what is measured first is
measured beside them (seen at 200 requests a second: a p99 of 137 ms in the first run, of 18 ms in the sixth). No user's
broker is minutes old. So the ways of three clients are gone first, thousands of times, and none of it counts: few
requests on their way, each answered in a small transaction, which is what a light load asks of a broker.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.bench import candidates as names
from penstock.bench.children import absent
from penstock.bench.errors import CandidateFailed
from penstock.bench.kafka_side import PARTITIONS, Results, new_producer, send
from penstock.bench.saturation import FIRST_RESULT_S, QUIET_S

if TYPE_CHECKING:
    from penstock.bench.candidates import Candidate
    from penstock.bench.children import Child
    from penstock.bench.ground import Ground
    from penstock.bench.kafka_side import Topics
    from penstock.bench.workload import Workload

#: Requests on their way: enough that the next transaction follows at once, few enough that each is a small one.
AT_ONCE = 8
#: The ways that are gone: librdkafka's, our worker's and kafka-python's, all exactly once. librdkafka first, since it
#: waits for as long as a cold broker takes to make its log of transactions; our worker gives up after half a minute.
WAYS = (
    (names.BEST_TUNED,),
    (names.PENSTOCK, names.EXACTLY_ONCE, names.BINARY, "1"),
    (names.HANDWRITTEN, names.BINARY),
)
#: Seconds of one look for results.
LOOK_S = 0.2


def ways() -> list[Candidate]:
    """Who warms the broker: those of `WAYS` that can be run here, whoever is to be measured."""
    found = [names.select([":".join(way)])[0] for way in WAYS]
    return [one for one in found if absent(one) is None]


def warm_up(ground: Ground, one: Candidate, seconds: float) -> int:
    """Let one candidate answer for so long, from its first answer on.

    Args:
        ground: what the candidates share.
        one: whose way to go.
        seconds: for how long.

    Returns:
        how many requests it answered.

    Raises:
        CandidateFailed: it ended, or stands still.
    """
    topics = ground.new_topics()
    try:
        with ground.child(one, topics, ground.directory / topics.pipeline) as child:
            return _ask_on(child, ground.bootstrap, topics, ground.workload(one), seconds)
    finally:
        ground.admin.delete_topics(topics.all)


def _ask_on(child: Child, bootstrap: str, topics: Topics, workload: Workload, seconds: float) -> int:
    """Keep `AT_ONCE` requests on their way."""
    producer = new_producer(bootstrap, linger_ms=0)
    sent, began_s = 0, time.monotonic()
    newest_s, until_s = began_s, float("inf")
    with Results(bootstrap, topics.results) as results:
        while (now_s := time.monotonic()) < until_s:
            while sent - results.count < AT_ONCE:
                send(producer, topics.requests, workload.request(sent), sent % PARTITIONS)
                sent += 1
            if results.follow(LOOK_S):
                newest_s = time.monotonic()
                until_s = min(until_s, newest_s + seconds)
                # None of them is looked at: their memory is not needed.
                results.arrivals.clear()
                continue
            child.check()
            if now_s - newest_s > (QUIET_S if results.count else FIRST_RESULT_S):
                raise CandidateFailed(f"{child.name} stands still: {child.said()}", f"read {child.log_path}")
        producer.flush(QUIET_S)
        return results.count
