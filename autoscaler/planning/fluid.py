"""Many fleets as fluid models on one load: what waits with them, who drains it, and what their moves make late.

Symbols: r = load in workers' worth (rate over the capacity of one worker), S = workers that serve. By number or by load
some of them have more than others, so the load falls in two parts, that of the busier workers and that of the others
(`planning.arrears.halves`). Each has its own backlog B, in seconds of one worker's work as if the whole group were like
it, and C, the load that fills it:

    B <- max(0, B + r - C) each second; the part is late while B > slack C.

Where workers come or go the partitions are dealt out anew and what waits goes with them: both parts then have its mean.

A partition that moves is not read for a pause p. What a worker that was there takes over is late for p - objective: it
works off the oldest first, and one partition more is little. A new worker has nothing but partitions that moved: r / C
of p waits with it, which it works off beside what comes, and is in time again when half the objective is left:

    late = p - objective + (p rho - objective / 2) / (1 - rho), rho = r / C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.arrears import capacities, drained_by_each, halves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.planning.carrying import Carrying

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Longest time that a move makes late, in seconds.
_LONGEST_MOVE_S = 30.0
#: Ticks between two looks at what will wait when new workers serve.
_LOOK = 5
#: Part of a second's capacity from which a backlog is worth workers.
WORTH_S = 0.5
#: Times the pause of a rebalance for which the arrivals of a partition that moves are late: what has piled up in the
#: pause is worked off too.
MOVED = 4.0


def overload(
    backlog: Floats, before: Ints, serving: Ints, load: float, carrying: Carrying, *, slack_s: float, tick_s: float
) -> tuple[Floats, Floats]:
    """A tick of load.

    Args:
        backlog: Of the busier workers and of the others, shape (2, fleets).
        before: Workers that served at the tick before, shape (fleets,).
        serving: Workers that serve now.
        load: In workers' worth.
        carrying: Of the present shares.
        slack_s: Backlog over capacity, in seconds, up to which records are in time.
        tick_s: Seconds of the tick.

    Returns:
        The backlog now; and the part (0-1) of the load that is late, shape (fleets,).
    """
    parts, able = halves(serving, carrying)
    backlog = np.where(serving == before, backlog, waiting(backlog, before, carrying))
    backlog = np.maximum(0.0, backlog + (load - able) * tick_s)
    return backlog, (parts * (backlog > slack_s * able)).sum(axis=0)


def waiting(backlog: Floats, serving: Ints, carrying: Carrying) -> Floats:
    """Mean backlog of both parts, shape (fleets,)."""
    return np.asarray((halves(serving, carrying)[0] * backlog).sum(axis=0))


def drained(
    waits: Floats,
    serving: Ints,
    declared: Ints,
    load: float,
    carrying: Carrying,
    *,
    least: Ints,
    late_price: float,
    overhead_s: float,
    pause_s: float,
    tick_s: float,
) -> Ints:
    """Workers that a backlog asks for, now or by the time that new ones serve; 0 = none, shape (fleets,).

    Args:
        waits: Mean backlog now.
        serving: Workers that serve now.
        declared: At the ticks of one actuation delay, newest last, shape (ticks, fleets).
        load: In workers' worth; taken to stay.
        carrying: Of the present shares.
        least: What is asked for otherwise.
        late_price: Worker-seconds that a worker's second of late work is worth.
        overhead_s: Seconds that workers are paid besides: boot, and until they are let go.
        pause_s: Of a rebalance.
        tick_s: Seconds of a tick.
    """
    # Serving in n ticks is who is declared from then on until now.
    ahead = np.minimum.accumulate(declared[::-1], axis=0)[::-1]
    for row in ahead[::_LOOK]:
        waits = np.maximum(0.0, waits + (load - capacities(row, carrying)) * _LOOK * tick_s)
    wanted = np.zeros(serving.size, dtype=np.int64)
    due = np.flatnonzero(waits > WORTH_S * capacities(serving, carrying))
    if due.size:
        wanted[due] = drained_by_each(
            waits[due], load, carrying, least=least[due], late_price=late_price, overhead_s=overhead_s,
            serving=declared[-1, due], moved_s=MOVED * pause_s,
        )  # fmt: skip
    return wanted


def move_late_s(pause_s: float, within_s: float, busy: Floats) -> Floats:
    """Seconds for which what arrives on a partition that moves is late, by the utilisation of its new owner.

    Args:
        pause_s: Seconds for which it is not read.
        within_s: Of the objective.
        busy: Utilisation of a worker that is new; 0 = of one that was there.
    """
    behind_s = np.maximum(0.0, pause_s * busy - within_s / 2) / (1 - busy)
    return np.minimum(_LONGEST_MOVE_S, max(0.0, pause_s - within_s) + behind_s)
