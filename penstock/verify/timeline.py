"""How long nothing came: pure functions of moments."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def longest_silence_s(waits: Iterable[tuple[float, float | None]], until_s: float) -> float:
    """The longest time in which one partition had a request waiting and gave no result, in seconds.

    A request waits from the moment at which it was meant to be sent until its result could first be read; so a broker
    that takes no requests counts as much as a worker that gives no results. A silence begins with the last result
    before it, or, where nothing waited then, with the first request that waits; it ends with the next result.

    Args:
        waits: one pair a request: when it was meant to be sent, and when its result was first seen (`None` = never).
        until_s: when the watching ended; what still waits then has waited until then.
    """
    events: list[tuple[float, int]] = []
    for sent_at_s, seen_at_s in waits:
        events.append((sent_at_s, 1))
        if seen_at_s is not None:
            # A result cannot be seen before its request was due; clocks of one process make sure of it.
            events.append((max(seen_at_s, sent_at_s), -1))
    # Of one moment's events a request comes first: its result frees it at once.
    events.sort(key=lambda event: (event[0], -event[1]))
    waiting, since_s, longest_s = 0, 0.0, 0.0
    for at_s, change in events:
        if change > 0:
            if waiting == 0:
                since_s = at_s
        else:
            longest_s = max(longest_s, at_s - since_s)
            since_s = at_s
        waiting += change
    if waiting:
        longest_s = max(longest_s, until_s - since_s)
    return longest_s


def longest_gap_s(seen_at_s: Sequence[float], from_s: float, until_s: float) -> float:
    """The longest time between two results that touches a window, in seconds.

    Args:
        seen_at_s: when results were seen, in order, some before and some behind the window.
        from_s: start of the window.
        until_s: end of the window; with no result behind it the gap ends there.
    """
    moments = list(seen_at_s)
    if not moments or moments[0] > from_s:
        moments.insert(0, from_s)
    if moments[-1] < until_s:
        moments.append(until_s)
    return max(
        (after - before for before, after in itertools.pairwise(moments) if after > from_s and before < until_s),
        default=0.0,
    )
