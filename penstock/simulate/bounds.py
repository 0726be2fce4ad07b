"""What no policy can beat, remembered: searching the schedule of a load takes longer than any run on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscaler.simulation.clairvoyant import clairvoyant, fixed
from autoscaler.simulation.measures import fluid_cost
from autoscaler.simulation.schedule import Change, Schedule
from penstock.local.paths import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.scenario import Scenario
    from autoscaler.simulation.schedule import Executed


@dataclass(frozen=True, slots=True)
class Bound:
    """A schedule and what it came to."""

    schedule: Schedule
    cost: float
    violation: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one load on one scenario."""

    fluid_cost: float
    #: `None` = not searched, or no schedule was found that keeps the objective.
    clairvoyant: Bound | None = None
    #: The least late schedule found where none keeps the objective.
    unreachable: Bound | None = None
    #: The best fixed fleet in hindsight; `None` = not searched, or none keeps the objective.
    fixed: Bound | None = None


def bounds(
    load: Load, scenario: Scenario, progress: Callable[[float], None] | None = None, cache: Path | None = None
) -> Bounds:
    """Search the bounds, or read them where they were found before.

    Args:
        load: What was known.
        scenario: Group and objective.
        progress: Is told the part done (0-1).
        cache: Directory of what was found before; the user's cache by default.
    """
    base = cache_directory(os.environ, Path.home()) / "simulate" if cache is None else cache
    path = base / f"{_key(load, scenario)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _read(json.loads(path.read_text(encoding="utf-8")))
    best = clairvoyant(load, scenario, progress)
    held = fixed(load, scenario)
    found = Bounds(
        fluid_cost(load, scenario),
        _bound(best.executed) if best.feasible else None,
        None if best.feasible else _bound(best.executed),
        None if held is None else _bound(held),
    )
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        base.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_text(json.dumps(asdict(found)), encoding="utf-8")
        partial.replace(path)
    return found


def _bound(executed: Executed) -> Bound:
    return Bound(executed.schedule, executed.cost, executed.violation)


def _read(tree: dict[str, Any]) -> Bounds:
    return Bounds(tree["fluid_cost"], *(_read_bound(tree[name]) for name in ("clairvoyant", "unreachable", "fixed")))


def _read_bound(tree: dict[str, Any] | None) -> Bound | None:
    if tree is None:
        return None
    changes = tuple(Change(**change) for change in tree["schedule"]["changes"])
    return Bound(Schedule(tree["schedule"]["first"], changes), tree["cost"], tree["violation"])


def _key(load: Load, scenario: Scenario) -> str:
    """By everything that the result depends on, the simulator's own text included."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(load.arrivals_s.tobytes())
    digest.update(load.partition_of.tobytes())
    digest.update(repr((load.length_s, scenario)).encode())
    for file in sorted(resources.files("autoscaler.simulation").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()
