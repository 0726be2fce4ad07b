"""How much a member of a group can do, as the other members and the group's leader see it.

Each member says what it is and what it measured; the leader makes weights of it. Measured figures are noisy and a
partition that moves costs a drained batch, so three things keep noise from moving partitions:

- a member says another figure only when the new one is a quarter off the last (`SteadyCapacity`);
- the leader takes members within a quarter of each other for equals (`weights`), so that workers of one type share
  evenly whatever the scheduler did to their fits;
- a member that finds itself changed asks for another placement only where the busiest member would be relieved by a
  quarter, and seldom (`streams.placement.relief`).

A quarter: fits of equal workers on a shared machine were seen to differ by 5 to 20 %, those of different devices differ
by whole factors.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Version of the bytes below. Another version is read as "says nothing".
FORMAT = 1
#: Capacities whose ratio is at most this are taken for equal; see above.
ALIKE = 1.25
#: Bytes of a member's word; more is not ours.
LONGEST = 1024
#: Rows a second that are believed: outside of it a figure is a fault of its measurement.
_LEAST, _MOST = 1e-3, 1e12


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one member says of itself, in rows a second at full batches."""

    #: Its worker type: members of one type are expected to be alike.
    kind: str
    #: As its type's service curve has it: an assumption.
    stated: float | None = None
    #: As fitted while it worked; `None` = not measured yet.
    measured: float | None = None


def encode(capacity: Capacity) -> bytes:
    """The bytes that a member sends to the group's leader (`user_data` of its subscription)."""
    stated, measured = usable(capacity.stated), usable(capacity.measured)
    return json.dumps({"penstock": FORMAT, "type": capacity.kind, "stated": stated, "measured": measured}).encode()


def decode(data: bytes | bytearray | memoryview | None) -> Capacity | None:
    """What a member says; `None` = nothing, or nothing of ours: a stranger must not break the group's leader."""
    if data is None or not 0 < len(data) <= LONGEST:
        return None
    try:
        said = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("penstock") != FORMAT or not isinstance(said.get("type"), str):
        return None
    return Capacity(said["type"], usable(said.get("stated")), usable(said.get("measured")))


def usable(figure: object) -> float | None:
    """A figure that a weight can be made of; `None` for zero, NaN, infinity, text and the like."""
    if isinstance(figure, bool) or not isinstance(figure, (int, float)):
        return None
    try:
        value = float(figure)
    except OverflowError:
        return None
    return value if math.isfinite(value) and _LEAST <= value <= _MOST else None


def weights(said: Mapping[str, Capacity | None]) -> dict[str, float]:
    """A weight above 0 for each member, equal for members that are alike.

    What a member has not measured is taken from those of its type that have (median), else from what its type states,
    corrected by how far off the statements of the others are (median of measured / stated). A member that says nothing
    gets the mean of those that do, or 1 where nobody does.
    """
    figures = _figures(said)
    mean = statistics.fmean(figures.values()) if figures else 1.0
    ranked = sorted((figures.get(member, mean), member) for member in said)
    found: dict[str, float] = {}
    start = 0
    while start < len(ranked):
        end = start
        # Compared with the least of the group, not with its neighbour, so that no chain joins fast and slow.
        while end < len(ranked) and ranked[end][0] <= ranked[start][0] * ALIKE:
            end += 1
        alike = ranked[start:end]
        shared = statistics.fmean(figure for figure, _ in alike)
        found.update((member, shared) for _, member in alike)
        start = end
    return found


def _figures(said: Mapping[str, Capacity | None]) -> dict[str, float]:
    """Rows a second of each member of which they can be known."""
    measured: dict[str, list[float]] = {}
    corrections: list[float] = []
    for one in said.values():
        if one is None or (figure := usable(one.measured)) is None:
            continue
        measured.setdefault(one.kind, []).append(figure)
        if (stated := usable(one.stated)) is not None:
            corrections.append(figure / stated)
    correction = statistics.median(corrections) if corrections else 1.0
    found: dict[str, float] = {}
    for member, one in said.items():
        if one is None:
            continue
        figure = usable(one.measured)
        if figure is None and one.kind in measured:
            figure = statistics.median(measured[one.kind])
        if figure is None and (stated := usable(one.stated)) is not None:
            figure = stated * correction
        if figure is not None:
            found[member] = figure
    return found


class SteadyCapacity:
    """Holds a member's word until a measurement is more than a quarter off it. Belongs to one thread."""

    def __init__(self, first: Capacity) -> None:
        self._said = first

    def update(self, now: Capacity) -> Capacity:
        """What to say, given what is measured now."""
        then, figure = usable(self._said.measured), usable(now.measured)
        if figure is not None and (then is None or not 1 / ALIKE <= figure / then <= ALIKE):
            self._said = Capacity(now.kind, now.stated, figure)
        return self._said
