"""What came too soon for any boot, and what it would have cost to have had it in time all the same.

A step that nothing announces is late until new workers serve, whatever the policy. What helps is to have the workers
there already (standing head room, paid all the time) or to have them sooner (a shorter boot). Both are played beside
the real fleet, on the load as it came, as fluid models like those of `planning.courses`:

    B <- max(0, B + r - C(S)) each second; all of r is late while B > slack C(S),

with S = the least that was declared during the last actuation delay. With head room of h workers S + h serve; with a
boot of x seconds S is the least of a shorter time. Old experience fades with a half-life. What comes of it is a
statement about that experience: the head room that *would have* kept the objective, with its price an hour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import HeadRoom
from autoscaler.planning.arrears import capacity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.model import WorkerType
    from autoscaler.planning.carrying import Carrying
    from autoscaler.planning.experience import Terms

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Different head rooms that are played, from one worker to as many as there may be.
_ROOMS = 16
#: Boots that are played, as parts of the one that there is.
BOOTS: tuple[float, ...] = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.0)
#: Seconds of experience before anything is said.
_LEAST_S = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What is remembered: the real fleet first, then the head rooms, then the boots. A value."""

    #: Workers of each head room, ascending, shape (rooms,).
    rooms: Ints
    #: Declared at the ticks of one actuation delay, newest last, shape (ticks,).
    declared: Ints
    #: Seconds of work that wait, by arm, shape (arms,).
    backlog: Floats
    #: Sums that fade: load that was late, by arm; load in all, load measured to be late, seconds.
    late: Floats
    load: float
    measured: float
    seconds: float


def step(
    played: Played | None,
    *,
    load: float,
    declared: int,
    measured_late: float,
    boot_s: float,
    carrying: Carrying,
    terms: Terms,
    learning: bool,
) -> Played:
    """One tick.

    Args:
        played: As of the tick before; `None` at first.
        load: Of the last tick, in workers' worth.
        declared: Workers that are asked for, reserve included.
        measured_late: Part (0-1) of the answers that were late.
        boot_s: From the request for a worker to the worker that joins, as measured.
        carrying: Of the present shares.
        terms: As for the courses.
        learning: False = this tick does not count: too little is known.
    """
    most = int(carrying.counts[-1])
    if played is None or played.rooms[-1] != most:
        played = _started(most)
    ticks = [_ticks(boot_s * part, boot_s, terms) for part in (1.0, *BOOTS)]
    history = np.append(played.declared[-(ticks[0] - 1) :] if ticks[0] > 1 else played.declared[:0], declared)
    serving = history.min()
    counts = [int(serving), *(int(serving) + played.rooms).tolist(), *(int(history[-n:].min()) for n in ticks[1:])]
    able = np.array([capacity(min(count, most), carrying) for count in counts])
    backlog = np.maximum(0.0, played.backlog + (load - able) * terms.tick_s)
    late = np.where(backlog > terms.slack_s * able, load, 0.0) * terms.tick_s
    kept = 0.5 ** (terms.tick_s / terms.half_life_s) if learning else 0.0
    return replace(
        played,
        declared=history,
        backlog=backlog,
        late=kept * played.late + late,
        load=kept * played.load + load * terms.tick_s,
        measured=kept * played.measured + measured_late * load * terms.tick_s,
        seconds=kept * played.seconds + terms.tick_s,
    )


def told(played: Played, *, kind: WorkerType, least_late: float, allowed: float, terms: Terms) -> HeadRoom | None:
    """What is to be said of it; `None` = too little was seen.

    Args:
        played: What was seen.
        kind: Type of the workers, with the boot that was measured.
        least_late: Late share of the least late course that there is.
        allowed: Late share that the objective allows.
        terms: As for the courses.
    """
    if played.seconds < _LEAST_S or played.load <= 0:
        return None
    shares = (played.late / played.load).tolist()
    rooms = played.rooms.size
    enough = next((n for n, share in zip(played.rooms.tolist(), shares[1:], strict=False) if share <= allowed), None)
    boot = next((part for part, share in zip(BOOTS, shares[1 + rooms :], strict=True) if share <= allowed), None)
    if shares[0] <= allowed:
        enough, boot = 0, 1.0
    return HeadRoom(
        experience_s=round(min(played.seconds, terms.half_life_s / np.log(2)), 1),
        late_share=round(min(1.0, played.measured / played.load), 6),
        unavoidable_share=round(min(shares[0], least_late), 6),
        allowed_share=round(allowed, 6),
        boot_s=round(kind.boot_s, 3),
        workers=enough,
        price_per_hour=None if enough is None else round(enough * kind.price_per_hour, 6),
        boot_enough_s=None if boot is None else round(boot * kind.boot_s, 3),
    )


def words(room: HeadRoom) -> str:
    """One sentence where the objective could not be kept; empty where it could."""
    if not room.unmet:
        return ""
    cures = []
    if room.workers and room.price_per_hour is not None:
        cures.append(f"{room.workers} more workers at all times ({room.price_per_hour:g} an hour)")
    if room.boot_enough_s is not None:
        cures.append(f"a boot of {room.boot_enough_s:.3g} s")
    would = (
        f"{' or '.join(cures)} would have kept it" if cures else "not even all workers that may be would have kept it"
    )
    return (
        f"{room.unavoidable_share:.2%} of the load of the last {room.experience_s / 60:.0f} min came before a boot of "
        f"{room.boot_s:.3g} s had passed and no course would have had it in time, {room.allowed_share:.2%} may be "
        f"late: {would}"
    )


def _started(most: int) -> Played:
    rooms = np.unique(np.ceil(np.geomspace(1, most, _ROOMS)).astype(np.int64))
    zero = np.zeros(1 + rooms.size + len(BOOTS))
    return Played(rooms, np.empty(0, dtype=np.int64), zero, zero, 0.0, 0.0, 0.0)


def _ticks(boot_s: float, whole_s: float, terms: Terms) -> int:
    """Ticks from a decision to a worker that serves, with this boot instead of the whole one."""
    return max(1, round((terms.actuation_s - whole_s + boot_s) / terms.tick_s))
