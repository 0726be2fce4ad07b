"""How much a member of a group can do, as the other members and the group's leader see it.

Each member says what it is and what it measured; the leader makes weights of it. A partition that moves costs a
drained batch, and measured figures are noisy: those of loaded equal workers on a shared machine were seen to differ by
5 to 20 % and now and then more, those of idle ones, carried over from small batches to full ones, by a factor of five.
While workers are idle it matters little who has what. So:

- of members of one type only the loaded ones may differ, and only by more than a factor of 1.6; all others of the type
  count as its median (`weights`);
- members of different types within a quarter of each other count as equal;
- a member says another figure only when the new one is a quarter off the last (`SteadyCapacity`);
- a loaded member that finds itself changed asks for another placement only where the busiest member would be relieved
  by a quarter, and seldom (`streams.placement.relief`, `streams.placement_review`).
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.partition_loads import LONGEST, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.placement import Place

#: Version of the bytes below. Another version is read as "says nothing".
FORMAT = 1
#: Capacities whose ratio is at most this are taken for equal; see above.
ALIKE = 1.25
#: The same for members of one type, which are meant to be equal.
ALIKE_TYPE = 1.6
#: Characters of a worker type's name; more is not ours.
_LONGEST_KIND = 512
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
    #: Whether it was measured at work: an idle member's figure is no evidence against its type's.
    loaded: bool = False


def encode(capacity: Capacity, loads: Mapping[Place, float] | None = None) -> bytes:
    """The bytes that a member sends to the group's leader (`user_data` of its subscription).

    Args:
        capacity: What it can do.
        loads: Records a second of what it owns; left out where they are too many to say.
    """
    stated, measured = usable(capacity.stated), usable(capacity.measured)
    said = {"type": capacity.kind, "stated": stated, "measured": measured, "loaded": capacity.loaded}
    data = json.dumps({"penstock": FORMAT, **said}).encode()
    if not loads:
        return data
    more = json.dumps({"penstock": FORMAT, **said, "loads": encoded(loads)}, separators=(",", ":")).encode()
    return more if len(more) <= LONGEST else data


def decode(data: bytes | bytearray | memoryview | None) -> Capacity | None:
    """What a member says; `None` = nothing, or nothing of ours: a stranger must not break the group's leader."""
    if data is None or not 0 < len(data) <= LONGEST:
        return None
    try:
        said = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("penstock") != FORMAT:
        return None
    if not isinstance(said.get("type"), str) or len(said["type"]) > _LONGEST_KIND:
        return None
    return Capacity(
        said["type"], usable(said.get("stated")), usable(said.get("measured")), loaded=said.get("loaded") is True
    )


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

    A loaded member's measurement counts; any other of its type counts as the median of the loaded ones, or of all that
    measured. Where nobody of a type has measured, what it states counts, corrected by how far off the statements of the
    others are (median of measured / stated). A member that says nothing gets the mean of those that do, or 1.
    """
    figures: dict[str, float] = {}
    corrections = [
        figure / stated
        for one in said.values()
        if one is not None and (figure := usable(one.measured)) and (stated := usable(one.stated))
    ]
    correction = statistics.median(corrections) if corrections else 1.0
    for kind in {one.kind for one in said.values() if one is not None}:
        figures.update(_of_type({name: one for name, one in said.items() if one and one.kind == kind}, correction))
    mean = statistics.fmean(figures.values()) if figures else 1.0
    return _alike({member: figures.get(member, mean) for member in said}, ALIKE)


def _of_type(said: Mapping[str, Capacity], correction: float) -> dict[str, float]:
    """Rows a second of the members of one type of which they can be known."""
    measured = {name: figure for name, one in said.items() if (figure := usable(one.measured)) is not None}
    loaded = _alike({name: figure for name, figure in measured.items() if said[name].loaded}, ALIKE_TYPE)
    if measured:
        usual = statistics.median(list(loaded.values()) or list(measured.values()))
        return {name: loaded.get(name, usual) for name in said}
    return {name: stated * correction for name, one in said.items() if (stated := usable(one.stated)) is not None}


def _alike(figures: Mapping[str, float], factor: float) -> dict[str, float]:
    """One figure, the mean, for all that are within a factor of each other."""
    ranked = sorted((figure, member) for member, figure in figures.items())
    found: dict[str, float] = {}
    start = 0
    while start < len(ranked):
        end = start
        # Compared with the least of the group, not with its neighbour, so that no chain joins fast and slow.
        while end < len(ranked) and ranked[end][0] <= ranked[start][0] * factor:
            end += 1
        alike = ranked[start:end]
        shared = statistics.fmean(figure for figure, _ in alike)
        found.update((member, shared) for _, member in alike)
        start = end
    return found


class SteadyCapacity:
    """Holds a member's word until a measurement is more than a quarter off it. Belongs to one thread."""

    def __init__(self, first: Capacity) -> None:
        self._said = first

    def update(self, now: Capacity) -> Capacity:
        """What to say, given what is measured now."""
        then, figure = usable(self._said.measured), usable(now.measured)
        if figure is not None and (
            then is None or now.loaded > self._said.loaded or not 1 / ALIKE <= figure / then <= ALIKE
        ):
            self._said = now
        elif now.loaded != self._said.loaded:
            self._said = Capacity(now.kind, now.stated, then, loaded=now.loaded)
        return self._said
