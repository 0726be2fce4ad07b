"""Runs as rows: for JSON, for a table, for a page. Pure."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from autoscaler.model import HeadRoom
from autoscaler.planning import headroom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.measures import Measures
    from autoscaler.simulation.run import Run
    from penstock.simulate.bounds import Bound, Bounds

Row = dict[str, Any]

#: Heading, key and how it is written.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("load", "trace", "{}"),
    ("policy", "policy", "{}"),
    ("cost", "cost", "{:.2f}"),
    ("/ fluid", "cost_over_fluid", "{:.2f}"),
    ("/ clairv.", "cost_over_clairvoyant", "{:.2f}"),
    ("late %", "violation", "{:.2f}"),
    ("p50 s", "p50_s", "{:.3f}"),
    ("p99 s", "p99_s", "{:.3f}"),
    ("actions", "scale_actions", "{}"),
    ("paused s", "rebalance_pause_s", "{:.0f}"),
    ("mean", "mean_workers", "{:.1f}"),
    ("max", "max_workers", "{}"),
    ("decide ms", "decide_ms_p99", "{:.1f}"),
)
#: Columns of text.
TEXT = 2
#: What a narrow screen has room for.
FEW = ("load", "policy", "cost", "/ clairv.", "late %", "p99 s", "actions")
_DIGITS = 6


def row(done: Run, measures: Measures, found: Bounds) -> Row:
    """One run: its measures first, then what they are compared with."""
    scenario = done.scenario
    return {
        **{key: _rounded(value) for key, value in dataclasses.asdict(measures).items()},
        "rebalances": done.rebalances,
        "objective_s": scenario.objective_s,
        "objective_share": scenario.objective_share,
        "seed": done.load.facts.get("seed", scenario.seed),
        "load": done.load.words,
        "length_s": done.load.length_s,
        "warm_up_s": scenario.warm_up_s,
        "fluid_cost": _rounded(found.fluid_cost),
        "clairvoyant_cost": _cost(found.clairvoyant),
        "clairvoyant_violation": _violation(found.clairvoyant or found.unreachable),
        "head_room": None if done.head_room is None else dataclasses.asdict(done.head_room),
        "fixed_cost": _cost(found.fixed),
        "fixed_fleet": None if found.fixed is None else dict(found.fixed.schedule.first),
    }


def bound_rows(load: Load, found: Bounds) -> list[Row]:
    """The bounds as rows of the table."""
    best = found.clairvoyant or found.unreachable
    named = [("clairvoyant" if found.clairvoyant else "clairvoyant (misses)", best), ("best fixed fleet", found.fixed)]
    rows = []
    for name, bound in named:
        if bound is None:
            continue
        over = bound.cost / found.clairvoyant.cost if found.clairvoyant and found.clairvoyant.cost else None
        rows.append(
            {
                "trace": load.name,
                "policy": name,
                "cost": bound.cost,
                "cost_over_fluid": bound.cost / found.fluid_cost if found.fluid_cost else None,
                "cost_over_clairvoyant": over,
                "violation": bound.violation,
                "scale_actions": len(bound.schedule.changes),
            }
        )
    return rows


def unmet(one: Row) -> str:
    """One sentence on what no policy without head room could have had in time; empty where nothing of that is known."""
    room = one.get("head_room")
    said = headroom.words(HeadRoom(**room)) if room else ""
    return f"{one['trace']}, {one['policy']}: {said}" if said else ""


def summary(rows: Sequence[Row]) -> list[Row]:
    """Each policy over all loads: the geometric mean of its cost over the clairvoyant's, and how much was late."""
    found = []
    for name in dict.fromkeys(one["policy"] for one in rows):
        own = [one for one in rows if one["policy"] == name]
        over = [one["cost_over_clairvoyant"] for one in own]
        late = [one["violation"] for one in own]
        found.append(
            {
                "policy": name,
                "loads": len(own),
                "cost_over_clairvoyant": None
                if any(not value for value in over)
                else math.exp(sum(math.log(value) for value in over) / len(over)),
                "violation_mean": sum(late) / len(late),
                "violation_worst": max(late),
                "within": sum(one["violation"] <= 1 - one["objective_share"] + 1e-12 for one in own),
            }
        )
    return found


def cells(one: Row) -> list[str]:
    """A row as text, in the order of `COLUMNS`; a dash for what is not known."""
    out = []
    for _, key, form in COLUMNS:
        value = one.get(key)
        if key == "violation" and value is not None:
            value *= 100
        out.append("-" if value is None else form.format(value))
    return out


def markdown(rows: Sequence[Row], loads: Sequence[str]) -> str:
    """A page with the table, the summary and what the loads were.

    Args:
        rows: Runs and bounds, in order.
        loads: Words of each load.
    """
    lines = ["# Simulated policies", ""]
    lines += _table([heading for heading, _, _ in COLUMNS], [cells(one) for one in rows])
    runs = [one for one in rows if "objective_share" in one]
    if len({one["trace"] for one in runs}) > 1:
        headings = ["policy", "loads", "cost / clairvoyant, geometric mean", "late %, mean", "worst", "loads within"]
        lines += ["", "## Over all loads", "", *_table(headings, [summary_cells(one) for one in summary(runs)])]
    said = [sentence for sentence in map(unmet, runs) if sentence]
    if said:
        lines += ["", "## What came before a boot had passed", "", *(f"- {sentence}" for sentence in said)]
    lines += ["", "## Loads", "", *(f"- {words}" for words in loads)]
    return "\n".join(lines) + "\n"


def summary_cells(one: Row) -> list[str]:
    """A row of the summary as text."""
    over = one["cost_over_clairvoyant"]
    return [
        one["policy"],
        str(one["loads"]),
        "-" if over is None else f"{over:.3f}",
        f"{100 * one['violation_mean']:.2f}",
        f"{100 * one['violation_worst']:.2f}",
        f"{one['within']}/{one['loads']}",
    ]


def _table(headings: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(line)} |" for line in body),
    ]


def _rounded(value: object) -> object:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _cost(bound: Bound | None) -> float | None:
    return None if bound is None else round(bound.cost, _DIGITS)


def _violation(bound: Bound | None) -> float | None:
    return None if bound is None else round(bound.violation, _DIGITS)
