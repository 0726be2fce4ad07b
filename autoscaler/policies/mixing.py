"""The mix for a need, from what each type has already: slow workers by their stay, the rest of the fast type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning import stays
from autoscaler.planning.mixture import MixKind, mixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Forecast, Observation, WorkerType
    from autoscaler.planning.mixture import Mixes
    from autoscaler.policies.standings import Standing
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: Step of the paths of the load, in seconds.
STEP_S = 10.0
#: Seconds for which another combination of slow types must have been cheaper: they take far longer to boot anyway.
_SURE_S = 10.0
#: Part of the fast type's boot below which that of another makes it the fast one: needs are counted in the fast type's
#: workers, and a change of the unit costs all experience.
_OVERTAKES = 0.8


@dataclass(frozen=True, slots=True)
class Need:
    """What must be carried, and what it is made of."""

    #: In fast workers' worth.
    worth: float
    #: Paths of the load in the same unit, as far as slow workers are decided on, shape (paths, steps).
    paths: Floats
    #: Price of all load being late, in prices an hour of fast workers for each worker's worth.
    late_price: float
    forecast: Forecast
    rate_per_s: float
    #: Price of a second in which all load is late, in price an hour times seconds.
    move_price: float
    words: str
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """What to have."""

    #: By type, in the order of the settings.
    fleet: dict[str, int]
    bound: str
    reason: str
    runner_up: dict[str, int] | None
    #: See `mixed`.
    since_s: float | None = None


def ordered(kinds: Sequence[WorkerType], before: str | None = None) -> list[WorkerType]:
    """The slow types in the order of the settings, and last the fast one: of the least boot, then the least price.

    Args:
        kinds: As learnt: boots are measured, and those of two types may be near each other.
        before: Name of the fast type so far; it stays that until another one's boot is clearly shorter.
    """
    fast = min(kinds, key=lambda kind: (kind.boot_s, kind.price_per_hour))
    held = next((kind for kind in kinds if kind.name == before), fast)
    if fast.boot_s >= _OVERTAKES * held.boot_s:
        fast = held
    return [*(kind for kind in kinds if kind is not fast), fast]


def mixed(
    observation: Observation,
    settings: PolicySettings,
    kinds: Sequence[WorkerType],
    need: Need,
    *,
    standing: Sequence[Standing],
    since_s: float | None,
) -> Mix:
    """The mix for a need.

    Args:
        observation: For what a person asked.
        settings: Of the policy.
        kinds: The fast type last.
        need: What must be carried.
        standing: The types as they are, in the order of `kinds`.
        since_s: Since when another combination of slow types has been cheaper; `None` = it is not.
    """
    table = table_of(observation, kinds, need.shares)
    slow = _slow(standing, settings)
    worths = [kind.worth for kind in table.kinds]
    serving = sum(one.ready * worth for one, worth in zip(standing, worths, strict=True))
    found = stays.costs(
        table,
        slow,
        need.paths,
        step_s=STEP_S,
        late_price=need.late_price * kinds[-1].price_per_hour,
        move_price=need.move_price,
        serving_worth=serving,
    )
    row = stays.chosen(table, slow, found)
    now = int(table.rows(np.array([[one.declared for one in slow]]))[0])
    waited_s = observation.at_s - since_s if since_s is not None else 0.0
    since_s = None if row == now else observation.at_s if since_s is None or waited_s < 0 else since_s
    if since_s is not None and observation.at_s - since_s < _SURE_S:
        # What noise asks for is asked for once and not again.
        row = now
    level = table.place(need.worth)
    names = [kind.name for kind in kinds]
    wanted = table.slow[row].tolist()
    serve = there(table, standing, wanted)
    # What is kept in reserve serves soonest if it is of the fast type.
    fast = min(int(table.fast[serve, level]) + settings.reserve, kinds[-1].max_workers)
    words, bound = need.words, "plan"
    covering = fast - int(table.fast[row, level])
    allowed = observation.control.max_workers if observation.control is not None else None
    # Those that take over are no more than a person leaves beside what is wanted.
    over = fast if allowed is None else min(fast, max(0, allowed - sum(wanted)))
    kept = _kept(standing, wanted, over, allowed)
    if kept != wanted:
        words += f"; {_told(names, wanted)} will do once {over} {names[-1]} serve"
    elif covering > 0:
        words += f"; {covering} {names[-1]} of it cover what starts"
    if allowed is not None and sum(kept) + fast > allowed:
        fast, bound = max(0, allowed - sum(kept)), "control"
        words += f"; a person allows {allowed} workers"
    if not table.carries[serve, level]:
        bound = "partitions" if sum(kept) + fast >= observation.partitions else "max"
        words += "; more is not allowed"
    others = np.delete(np.arange(len(found)), row)
    second = table.fleet(int(others[np.argmin(found[others])]), level) if others.size else None
    return Mix(
        fleet=dict(zip(names, [*kept, fast], strict=True)),
        bound=bound,
        reason=words,
        runner_up=None if second is None else dict(zip(names, second, strict=True)),
        since_s=since_s,
    )


def _slow(standing: Sequence[Standing], settings: PolicySettings) -> list[stays.Slow]:
    return [
        stays.Slow(one.declared or 0, one.ready, one.starting_in_s, one.kind.boot_s + settings.tick_s)
        for one in standing[:-1]
    ]


def _kept(standing: Sequence[Standing], wanted: list[int], over: int, allowed: int | None) -> list[int]:
    """Slow workers to keep: those that are wanted, and those that serve until the fast ones that take over do.

    Where a person allows too few workers for both at once, they change places one by one: with all of the slow ones
    kept, no fast one could ever start.

    Args:
        standing: The types as they are, the fast one last.
        wanted: Of each slow type.
        over: Fast workers that take over.
        allowed: Most workers in all; `None` = no such bound.
    """
    kept = [max(n, min(one.declared or 0, one.ready)) for n, one in zip(wanted, standing, strict=False)]
    ready = standing[-1].ready
    if ready >= over:
        return list(wanted)
    leave = 0 if allowed is None else sum(kept) + min(over, ready + 1) - allowed
    # The dearest leave first.
    for place in sorted(range(len(kept)), key=lambda place: -standing[place].kind.price_per_hour):
        gone = min(kept[place] - wanted[place], max(0, leave))
        kept[place] -= gone
        leave -= gone
    return kept


def there(table: Mixes, standing: Sequence[Standing], wanted: Sequence[int] | None = None) -> int:
    """The combination of slow workers that serve, of those that are wanted."""
    counts = [one.ready for one in standing[:-1]]
    if wanted is not None:
        counts = [min(ready, n) for ready, n in zip(counts, wanted, strict=True)]
    return int(table.rows(np.array([counts]))[0])


def table_of(observation: Observation, kinds: Sequence[WorkerType], shares: tuple[float, ...]) -> Mixes:
    """All mixes within the bounds of the types, the partitions and what a person asked for."""
    control = observation.control
    unit = kinds[-1].curve.capacity_per_s
    return mixes(
        tuple(
            MixKind(
                kind.name,
                # Rounded, so that a curve that is fitted anew at each tick makes no new table.
                round(kind.curve.capacity_per_s / unit, 2),
                kind.price_per_hour,
                kind.min_workers,
                kind.max_workers,
            )
            for kind in kinds
        ),
        shares,
        fewest=(control.min_workers or 0) if control else 0,
        most=control.max_workers if control else None,
    )


def _told(names: Sequence[str], counts: Sequence[int]) -> str:
    return " + ".join(f"{n} {name}" for name, n in zip(names, counts, strict=False))
