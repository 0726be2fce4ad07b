"""How much comes in on each partition, as the members of a group and its leader know it.

A member measures what it owns by the log's end as its fetches tell it, and says so when it joins. The leader makes one
picture of what all of them say and of what it was told before, and sends it along with the assignment, so that the next
leader knows of partitions that nobody owns just now. `placed_by` then says whether they differ enough to be shared out
by load; even partitions are by number, whatever chance makes of them.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from typing import TYPE_CHECKING

from autoscaler.queueing import dealing
from autoscaler.queueing.split import shrunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.placement import Place

#: Seconds behind a rate: shorter, and chance moves partitions; longer, and a partition that turned hot stays unseen.
WINDOW_S = 60.0
#: Seconds of a partition before its rate is told.
_LEAST_S = 20.0
#: Part of a topic's partitions that must be known; the others count as the low median of these: a member that knows its
#: own alone, some of them hot, should ask for a placement at which all say what they know.
_KNOWN = 0.5
#: Bytes of a member's word; with loads beyond it (some 2,500 partitions on one member) it says nothing of them.
LONGEST = 32 * 1024
#: Records a second that are believed: outside of it a figure is a fault of its measurement.
_MOST = 1e12


class PartitionMeter:
    """Rates of the partitions that are owned. Belongs to one thread."""

    def __init__(self) -> None:
        self._seen: dict[Place, deque[tuple[float, int]]] = {}

    def note(self, ends: Mapping[Place, int], now_s: float) -> None:
        """Ends of the logs of what is owned now, by a monotonic clock; what is missing is owned no more."""
        for place in self._seen.keys() - ends.keys():
            del self._seen[place]
        for place, end in ends.items():
            seen = self._seen.setdefault(place, deque())
            if seen and end < seen[-1][1]:
                # Another log under the same name.
                seen.clear()
            seen.append((now_s, end))
            while len(seen) > 2 and now_s - seen[1][0] >= WINDOW_S:  # noqa: PLR2004 - a rate has two ends
                seen.popleft()

    def rates(self) -> dict[Place, float]:
        """Records a second of those that were looked at for long enough."""
        found = {}
        for place, seen in self._seen.items():
            span_s = seen[-1][0] - seen[0][0]
            if span_s >= _LEAST_S:
                found[place] = (seen[-1][1] - seen[0][1]) / span_s
        return found


def encoded(rates: Mapping[Place, float]) -> dict[str, dict[str, float]]:
    """As JSON has it: by topic and number, four digits of each."""
    found: dict[str, dict[str, float]] = {}
    for (topic, number), rate in sorted(rates.items()):
        found.setdefault(topic, {})[str(number)] = float(f"{rate:.4g}")
    return found


def decoded(said: object) -> dict[Place, float]:
    """What `encoded` made; nothing of what is not ours: a stranger must not break the group's leader."""
    found: dict[Place, float] = {}
    for topic, numbers in said.items() if isinstance(said, dict) else ():
        for number, rate in numbers.items() if isinstance(numbers, dict) else ():
            believed = isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate)
            if believed and 0 <= rate <= _MOST and isinstance(number, str) and number.isascii() and number.isdecimal():
                found[str(topic), int(number)] = float(rate)
    return found


def told(data: bytes | bytearray | memoryview | None) -> dict[Place, float]:
    """The rates in a member's word (`user_data` of its subscription)."""
    if data is None or not 0 < len(data) <= LONGEST:
        return {}
    try:
        said = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return {}
    return decoded(said.get("loads")) if isinstance(said, dict) else {}


def merged(before: Mapping[Place, float], said: Iterable[Mapping[Place, float]]) -> dict[Place, float]:
    """One picture: what members say now, and of the rest what was known."""
    found = dict(before)
    for one in said:
        found.update(one)
    return found


def placed_by(rates: Mapping[Place, float], partitions: Mapping[str, int]) -> dict[str, list[float]]:
    """Loads by topic of those topics whose partitions are skewed, a number each.

    Args:
        rates: Records a second, as far as known.
        partitions: How many each topic has.
    """
    found = {}
    for topic, count in partitions.items():
        known = {number: rates[topic, number] for number in range(count) if (topic, number) in rates}
        if not known or len(known) < _KNOWN * count:
            continue
        # As counts of one window: that many records had the chance to be uneven.
        usual = statistics.median_low(known.values())
        loads = shrunk([known.get(number, usual) * WINDOW_S for number in range(count)])
        if dealing.skewed(loads):
            found[topic] = loads
    return found
