"""The pictures of a plan: fleet over time, costs beside each other, latencies beside the objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.planning.fleet_program import quotas
from penstock.page import BAD, COLOURS, GOOD, INK, MUTED, dress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.plan.order import Order
    from penstock.plan.planner import Plan
    from penstock.plan.replay import Replayed

#: Points of a distribution that are drawn.
POINTS = 400


def money(value: float) -> str:
    """An amount in whatever currency the prices are in."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"  # noqa: PLR2004 - cents matter below


def fleet(figure: Any, order: Order, plan: Plan) -> None:
    """The rate of each period with what the fleet could take; and its workers."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
    unit, name = _unit(len(plan.rates) * order.period_s)
    at = np.arange(len(plan.rates) + 1) * order.period_s / unit
    loads = np.append(plan.rates, plan.rates[-1])
    upper.fill_between(at, loads, step="post", color=COLOURS[0], alpha=0.35, linewidth=0, label="load, sized for")
    held = quotas(np.nan_to_num(plan.rates, nan=1.0), plan.kinds, plan.partitions)
    workers = plan.best.schedule.workers
    could = (np.array([kind.highest_per_s for kind in plan.kinds]) * workers * (held > 0)).sum(axis=1)
    upper.step(
        at, np.append(could, could[-1]), where="post", color=GOOD, linewidth=1.6, label="fleet, could take in time"
    )
    upper.set_ylim(0, None)
    upper.legend(frameon=False, labelcolor=INK, fontsize=8.5, ncols=2)
    dress(upper, "Records a second")
    below = np.zeros(len(at))
    for number, kind in enumerate(plan.best.schedule.names):
        above = below + np.append(workers[:, number], workers[-1, number])
        colour = COLOURS[(number + 1) % len(COLOURS)]
        lower.fill_between(at, below, above, step="post", color=colour, alpha=0.7, linewidth=0, label=kind)
        below = above
    lower.set_ylim(0, max(1, below.max()) * 1.15)
    lower.yaxis.get_major_locator().set_params(integer=True)
    lower.legend(frameon=False, labelcolor=INK, fontsize=8.5, ncols=4)
    lower.set_xlim(0, at[-1])
    dress(lower, "Workers", x=f"{name} since the start of the record")


def costs(figure: Any, plan: Plan) -> None:
    """The ways to run the load, the cheapest first."""
    axis = figure.subplots()
    options = sorted(plan.options, key=lambda option: option.cost_per_month)
    places = range(len(options))
    colours = [GOOD if option is plan.best else "#a9b4c0" for option in options]
    axis.barh(places, [option.cost_per_month for option in options], color=colours, height=0.62)
    for place, option in zip(places, options, strict=True):
        axis.text(
            option.cost_per_month, place, f" {money(option.cost_per_month)}", va="center", fontsize=8.5, color=INK
        )
    axis.set_yticks(list(places), [option.name for option in options])
    axis.invert_yaxis()
    axis.margins(x=0.12)
    dress(axis, "Cost a month, in the currency of the prices")


def latencies(figure: Any, order: Order, plan: Plan) -> None:
    """The part of the requests that takes longer, over the time."""
    axis = figure.subplots()
    runs: Sequence[tuple[str, Replayed, str]] = [("predicted", plan.checked.ideal, COLOURS[0])] + [
        (f"simulated, draw {number + 1}", run, COLOURS[2 + number]) for number, run in enumerate(plan.checked.real)
    ]
    shares = 1 - np.geomspace(1, 1e-4, POINTS)
    for name, run, colour in runs:
        times = np.quantile(run.latencies_s, shares, method="higher") * 1000
        axis.plot(times, (1 - shares) * 100, color=colour, linewidth=1.4, label=name)
    axis.axvline(order.objective.within_s * 1000, color=BAD, linewidth=1, linestyle=(0, (4, 3)))
    axis.axhline((1 - order.objective.share) * 100, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_yscale("log")
    axis.set_xscale("log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(lambda value, _: f"{value:g}")
    axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
    dress(axis, "Percent of the requests that take longer", x="ms; dashed: the objective")


def _unit(seconds: float) -> tuple[float, str]:
    for length, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds > 3 * length:
            return length, name
    return 1.0, "seconds"
