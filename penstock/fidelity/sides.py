"""Both sides of a comparison as values of one kind, their figures, and how far they are apart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.demo.history import Series, extremes, seconds_above

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.simulation.run import Run
    from penstock.demo.history import Numbers
    from penstock.fidelity.setting import Setting

#: How far live and simulated may be apart: cost as a part, violation in points of a hundred.
COST_WITHIN, VIOLATION_WITHIN = 0.10, 2.0
#: Figures that are averaged over runs, and those whose range is told.
_MEANT = ("requests", "worker_seconds", "cost", "violation", "p50_s", "p99_s", "scale_actions", "mean_workers")
_JUDGED = ("worker_seconds", "violation")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One run of one policy. Times are seconds since the load began."""

    policy: str
    #: `live` or `simulated`.
    side: str
    #: Seconds from the intended send of each request to its answer, shape (n,); infinite = never.
    latencies_s: Numbers
    #: Workers alive and not told to stop, and those that serve, as steps.
    running: Series
    ready: Series
    #: Seconds that workers were paid for after the warm-up.
    worker_seconds: float
    #: When the declared fleet changed.
    changes_s: tuple[float, ...]
    #: What else is worth knowing of it.
    facts: Mapping[str, object] = field(default_factory=dict)


def simulated(made: Setting, done: Run, later_s: float = 0.0) -> Side:
    """The simulator's run as a side.

    Args:
        made: The comparison.
        done: Run on `made.later(later_s)`.
        later_s: Idle seconds before the load, which the side is told without.
    """
    series, price = done.series, made.scenario.worker_types[0].price_per_hour
    return Side(
        policy=done.policy,
        side="simulated",
        latencies_s=done.latencies_s,
        running=Series(series.at_s - later_s, series.running),
        ready=Series(series.at_s - later_s, series.ready),
        worker_seconds=done.cost * 3600 / price,
        changes_s=tuple(change.at_s - later_s for change in done.changes),
        facts={
            "boot_s": made.scenario.worker_types[0].boot_s,
            "pause_s": made.scenario.rebalance_pause_s,
            "rebalances": done.rebalances,
        },
    )


def figures(made: Setting, side: Side) -> dict[str, Any]:
    """What a side is judged by, counted from the end of the warm-up to the end of the load."""
    scenario, load = made.scenario, made.load
    counted = side.latencies_s[np.searchsorted(load.arrivals_s, scenario.warm_up_s) :]
    seconds = load.length_s - scenario.warm_up_s
    fleet = extremes(side.running, scenario.warm_up_s, load.length_s) or (0, 0)
    return {
        "policy": side.policy,
        "side": side.side,
        "requests": int(counted.size),
        "worker_seconds": round(side.worker_seconds, 1),
        "cost": round(side.worker_seconds / 3600 * scenario.worker_types[0].price_per_hour, 6),
        "violation": round(float(np.mean(counted > scenario.objective_s)), 6) if counted.size else 0.0,
        "p50_s": _quantile(counted, 0.5),
        "p99_s": _quantile(counted, 0.99),
        "scale_actions": sum(scenario.warm_up_s <= at_s < load.length_s for at_s in side.changes_s),
        "mean_workers": round(seconds_above(side.running, scenario.warm_up_s, load.length_s) / seconds, 3),
        "min_workers": fleet[0],
        "max_workers": fleet[1],
        **side.facts,
    }


def over_phases(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of one policy's simulated runs that differ only in when the policy looks: their means and ranges.

    A policy that looks every 15 s at a count that swings by chance does another thing when it looks 0.1 s later.

    Args:
        rows: Figures of each run, at least one.
    """

    def of(name: str) -> list[float]:
        return [float(row[name]) for row in rows]

    return {
        "policy": rows[0]["policy"],
        "side": f"mean of {len(rows)}",
        "runs": len(rows),
        **{name: round(float(np.mean(of(name))), 6) for name in _MEANT},
        "min_workers": min(row["min_workers"] for row in rows),
        "max_workers": max(row["max_workers"] for row in rows),
        **{f"{name}_least": min(of(name)) for name in _JUDGED},
        **{f"{name}_most": max(of(name)) for name in _JUDGED},
    }


def apart(live: Mapping[str, Any], simulated: Mapping[str, Any]) -> dict[str, Any]:
    """How far two sides are apart.

    Args:
        live: Figures of the live side.
        simulated: Of the other, over the moments at which the policy may look.
    """
    cost = live["worker_seconds"] / simulated["worker_seconds"] - 1
    points = (live["violation"] - simulated["violation"]) * 100
    return {
        "policy": live["policy"],
        "cost_apart": round(cost, 4),
        "violation_points_apart": round(points, 3),
        "simulated_cost_range": [
            round(simulated[f"worker_seconds_{end}"] / simulated["worker_seconds"] - 1, 4) for end in ("least", "most")
        ],
        "equal": abs(cost) <= COST_WITHIN and abs(points) <= VIOLATION_WITHIN,
    }


def late_by(made: Setting, side: Side, width_s: float) -> Series:
    """Share of late requests by the time of their sending, in bins of `width_s` seconds."""
    load = made.load
    bins = max(1, int(np.ceil(load.length_s / width_s)))
    place = np.minimum((load.arrivals_s / width_s).astype(np.int64), bins - 1)
    sent = np.bincount(place, minlength=bins)
    late = np.bincount(place[side.latencies_s > made.scenario.objective_s], minlength=bins)
    middle_s = (np.arange(bins, dtype=np.float64) + 0.5) * width_s
    return Series(middle_s, np.asarray(late / np.maximum(sent, 1), dtype=np.float64))


def table(rows: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """Both as text, for people."""
    heading = ("policy", "side", "worker-s", "late %", "p50 ms", "p99 ms", "actions", "workers", "mean")
    lines = [heading, *map(_cells, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heading))]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([text, "", *map(_told, differences)])


def _told(one: Mapping[str, Any]) -> str:
    least, most = one["simulated_cost_range"]
    verdict = "equal" if one["equal"] else f"apart: {COST_WITHIN:.0%} and {VIOLATION_WITHIN:g} points are allowed"
    return (
        f"{one['policy']}: live cost {one['cost_apart']:+.1%}, late {one['violation_points_apart']:+.2f} points; "
        f"{verdict} (simulated cost {least:+.1%} to {most:+.1%} by when the policy looks)"
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["policy"],
        row["side"],
        f"{row['worker_seconds']:.0f}",
        f"{row['violation'] * 100:.2f}",
        _ms(row["p50_s"]),
        _ms(row["p99_s"]),
        f"{row['scale_actions']:.3g}",
        f"{row['min_workers']}-{row['max_workers']}",
        f"{row['mean_workers']:.2f}",
    )


def _quantile(latencies_s: Numbers, q: float) -> float | None:
    if not latencies_s.size:
        return None
    found = float(np.quantile(latencies_s, q, method="higher"))
    return round(found, 6) if np.isfinite(found) else None


def _ms(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds * 1000:.0f}"
