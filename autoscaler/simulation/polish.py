"""A schedule improved by moving its changes in time, in the exact engine.

What a change does is felt within a minute or so. So every second change is moved at once, one run of the engine shows
what each of them did (late records are told apart by when they arrived), and the moves that save most for the records
they make late are kept, as far as the objective allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.simulation.schedule import Change, Executed, Executor, Schedule

#: Seconds by which a change is moved, and further ones where there are several types: a GPU is on its way for long.
_MOVES_S, _FAR_S = (1.0, 2.0, 4.0, 8.0, 16.0), (32.0, 64.0)
#: Rounds of all moves, and the records served in them at most: what is gained falls off soon.
_ROUNDS, _MOST_RECORDS = 3, 600_000_000


@dataclass(frozen=True, slots=True)
class _Move:
    change: Change
    by_s: float
    saved: float
    more_late: int


def polish(
    executor: Executor, start: Executed, allowed: float, progress: Callable[[float], None] | None = None
) -> Executed:
    """The schedule with its changes at better times; never dearer, and within the allowance.

    Args:
        executor: Runs schedules.
        start: One that is within the allowance.
        allowed: Share of late records.
        progress: Is told the part done (0-1).
    """
    best = start
    mixed = len(executor.scenario.worker_types) > 1
    moves_s = (*_MOVES_S, *_FAR_S) if mixed else _MOVES_S
    runs = max(len(moves_s) * 2, _MOST_RECORDS // max(1, executor.load.arrivals_s.size))
    rounds = min(_ROUNDS, runs // (len(moves_s) * 2))
    for number in range(rounds):
        moves = [move for parity in (0, 1) for move in _tried(executor, best, parity, moves_s)]
        better = _kept(executor, best, moves, allowed)
        if progress is not None:
            progress((number + 1) / rounds)
        if better is None or better.cost > best.cost * (1 - 1e-4):
            return better or best
        best = better
    return best


def _tried(executor: Executor, best: Executed, parity: int, moves_s: tuple[float, ...]) -> list[_Move]:
    """What moving each second change does: those to start later, those to stop earlier."""
    prices = {kind.name: kind.price_per_hour / 3600 for kind in executor.scenario.worker_types}
    boots = {kind.name: kind.boot_s for kind in executor.scenario.worker_types}
    changes = sorted(best.schedule.changes)
    found: list[_Move] = []
    chosen = changes[parity::2]
    # From when each is felt until the next that is moved is.
    felt_s = [change.at_s + (boots[change.kind] if change.by > 0 else 0.0) for change in chosen]
    order = np.argsort(felt_s)
    chosen = [chosen[i] for i in order]
    for by_s in moves_s:
        moved = {change: _moved(change, by_s) for change in chosen}
        tried = executor.run(_with(best.schedule, moved))
        edges = np.append(np.sort(felt_s) - by_s - 1.0, np.inf)
        before, after = (np.searchsorted(late_s, edges) for late_s in (best.late_s, tried.late_s))
        more = np.diff(after) - np.diff(before)
        for change, late in zip(chosen, more.tolist(), strict=True):
            shift_s = abs(moved[change].at_s - change.at_s)
            if shift_s:
                found.append(_Move(change, by_s, shift_s * abs(change.by) * prices[change.kind], late))
    return found


def _kept(executor: Executor, best: Executed, moves: list[_Move], allowed: float) -> Executed | None:
    """The best set of moves, one a change, that keeps the allowance; `None` = no move is any good."""
    room = allowed * executor.counted - best.late_s.size
    # What makes nothing late is taken first, what saves most for a late record next.
    ordered = sorted(moves, key=lambda move: (move.more_late > 0, -move.saved / max(1, move.more_late)))
    for part in (1.0, 0.7, 0.4, 0.2, 0.1):
        taken: dict[Change, Change] = {}
        size: dict[Change, _Move] = {}
        left = room * part
        for move in ordered:
            known = size.get(move.change)
            if known is not None and known.by_s >= move.by_s:
                continue
            price = max(0, move.more_late) - (max(0, known.more_late) if known is not None else 0)
            if price > left:
                continue
            left -= price
            size[move.change] = move
            taken[move.change] = _moved(move.change, move.by_s)
        if not taken:
            return None
        found = executor.run(_with(best.schedule, taken))
        if found.violation <= allowed and found.cost < best.cost:
            return found
    return None


def _moved(change: Change, by_s: float) -> Change:
    """Later where workers are started, earlier where they are stopped."""
    return replace(change, at_s=change.at_s + by_s if change.by > 0 else max(0.0, change.at_s - by_s))


def _with(schedule: Schedule, moved: dict[Change, Change]) -> Schedule:
    return replace(schedule, changes=tuple(sorted(moved.get(change, change) for change in schedule.changes)))
