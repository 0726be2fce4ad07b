"""One run as a picture: load and forecast, fleet, backlog, late requests, cost."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.picture_style import FAINT, INK, MUTED, quiet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from autoscaler.simulation.run import Run, Series
    from penstock.simulate.study import Done

    Numbers = NDArray[np.float64]

LOAD, BAND, CAPACITY = "#5b7c99", "#9b59c4", "#1b8a5a"
FLEET, KNOWING, BACKLOG, BAD = "#1b8a5a", "#d9822b", "#b7791f", "#cf3e3e"

#: Most points of a line: what a screen has.
_POINTS = 900
_HOUR_S, _MINUTE_S = 3600.0, 60.0


def draw(done: Done, path: Path) -> None:
    """Draw one run into a PNG, with the schedule that knew the load beside it where there is one."""
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        made = Figure(figsize=(11.5, 11.2), layout=ConstrainedLayoutEngine(h_pad=0.06, hspace=0.05), facecolor="white")
        axes = made.subplots(5, 1, sharex=True, height_ratios=[2.6, 2.0, 1.1, 1.3, 1.4])
        for axis in axes:
            quiet(axis)
        unit, name = _unit(done.run.load.length_s)
        _load(axes[0], done.run, unit)
        _fleet(axes[1], done, unit)
        _backlog(axes[2], done.run, unit)
        _late(axes[3], done, unit)
        _cost(axes[4], done, unit)
        warm_s = done.run.scenario.warm_up_s
        for axis in axes:
            axis.axvspan(0, warm_s / unit, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
        axes[-1].set_xlabel(f"{name} since the start; grey = warm-up, which counts in nothing", color=MUTED)
        axes[-1].set_xlim(0, done.run.load.length_s / unit)
        row = done.row
        over = row["cost_over_clairvoyant"]
        fluid = row["cost_over_fluid"]
        against = f"{over:.2f} x clairvoyant" if over else "no load" if fluid is None else f"{fluid:.2f} x fluid"
        made.suptitle(
            f"{done.run.policy} on {done.run.load.name}: {against}, {row['violation']:.2%} late",
            x=0.012, ha="left", fontsize=14, fontweight="bold", color=INK,
        )  # fmt: skip
        axes[0].set_title(textwrap.fill(done.run.load.words, 150), loc="left", fontsize=8, color=MUTED, pad=24)
        made.savefig(path, format="png", dpi=120)


def _unit(length_s: float) -> tuple[float, str]:
    if length_s > 4 * _HOUR_S:
        return _HOUR_S, "hours"
    return (_MINUTE_S, "minutes") if length_s > 4 * _MINUTE_S else (1.0, "seconds")


def _load(axis: Any, run: Run, unit: float) -> None:
    edges = _edges(run)
    per_s = np.histogram(run.load.arrivals_s, edges)[0] / np.diff(edges)
    axis.fill_between(edges[:-1] / unit, per_s, step="post", color=LOAD, alpha=0.35, linewidth=0, label="arrivals")
    series = run.series
    known = ~np.isnan(series.upper_per_s)
    top = float(per_s.max(initial=1.0))
    if known.any():
        # A forecast is drawn at the moment that it speaks of.
        at_s = series.at_s + series.horizon_s
        at_s, lower, upper = (_thinned(values[known]) for values in (at_s, series.lower_per_s, series.upper_per_s))
        axis.fill_between(at_s / unit, lower, upper, color=BAND, alpha=0.25, linewidth=0, label="forecast, when due")
        axis.plot(at_s / unit, upper, color=BAND, linewidth=0.8)
        top = max(top, float(np.percentile(upper, 98)))
    at_s, capacity = _steps(series.at_s, series.capacity_per_s, unit)
    axis.step(at_s, capacity, where="post", color=CAPACITY, linewidth=1.5, label="capacity of ready workers")
    axis.set_ylim(0, max(top, float(np.percentile(capacity, 98)) if capacity.size else 0.0) * 1.3)
    _title(axis, "Load and capacity, records a second")
    _legend(axis)


def _fleet(axis: Any, done: Done, unit: float) -> None:
    series = done.run.series
    axis.fill_between(
        *_steps(series.at_s, series.ready, unit), step="post", color=FLEET, alpha=0.3, linewidth=0, label="ready"
    )
    axis.step(*_steps(series.at_s, series.declared, unit), where="post", color=FLEET, linewidth=1.5, label="declared")
    top = float(series.running.max(initial=1.0))
    if done.clairvoyant is not None and done.clairvoyant is not done.run:
        other = done.clairvoyant.series
        axis.step(
            *_steps(other.at_s, other.declared, unit), where="post", color=KNOWING, linewidth=1.2,
            label="clairvoyant",
        )  # fmt: skip
        top = max(top, float(other.declared.max(initial=1.0)))
    axis.set_ylim(0, top * 1.35)
    axis.yaxis.get_major_locator().set_params(integer=True)
    row = done.row
    _title(
        axis,
        "Fleet, workers",
        f"{row['scale_actions']} actions, {row['rebalance_pause_s']:,.0f} partition-seconds paused",
    )
    _legend(axis)


def _backlog(axis: Any, run: Run, unit: float) -> None:
    at_s, backlog = _peaks(run.series)
    axis.fill_between(at_s / unit, backlog, color=BACKLOG, alpha=0.35, linewidth=0)
    axis.plot(at_s / unit, backlog, color=BACKLOG, linewidth=1.0)
    axis.set_ylim(0, None)
    _title(axis, "Backlog, records without a committed answer", "commits lag behind by half their interval")


def _late(axis: Any, done: Done, unit: float) -> None:
    run = done.run
    edges = _edges(run)
    late = run.latencies_s > run.scenario.objective_s
    counts = np.histogram(run.load.arrivals_s[late], edges)[0]
    axis.fill_between(edges[:-1] / unit, counts / np.diff(edges), step="post", color=BAD, linewidth=0)
    axis.set_ylim(0, max(float((counts / np.diff(edges)).max(initial=0.0)) * 1.15, 1.0))
    allowed = 1 - run.scenario.objective_share
    _title(
        axis, f"Late records a second (over {run.scenario.objective_s:g} s)",
        f"{done.row['violation']:.2%} of all, {allowed:.2%} allowed",
    )  # fmt: skip


def _cost(axis: Any, done: Done, unit: float) -> None:
    run = done.run
    at_s, paid = _paid(run)
    axis.plot(at_s / unit, paid, color=FLEET, linewidth=1.6, label=run.policy)
    top = float(paid[-1]) if paid.size else 1.0
    if done.clairvoyant is not None and done.clairvoyant is not run:
        at_s, paid = _paid(done.clairvoyant)
        axis.plot(at_s / unit, paid, color=KNOWING, linewidth=1.2, label="clairvoyant")
    warm_s = run.scenario.warm_up_s
    counted = run.load.arrivals_s[np.searchsorted(run.load.arrivals_s, warm_s) :]
    some = _thinned(np.arange(counted.size))
    if counted.size:
        fluid = done.bounds.fluid_cost * (some + 1) / counted.size
        axis.plot(counted[some] / unit, fluid, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), label="fluid bound")
    axis.set_ylim(0, top * 1.3)
    _title(axis, "Cost so far", f"{run.cost:.2f} in sum")
    _legend(axis)


def _paid(run: Run) -> tuple[Numbers, Numbers]:
    """What was paid since the warm-up, by the looks."""
    series = run.series
    step_s = np.diff(np.append(series.at_s, run.load.length_s))
    counted = series.at_s >= run.scenario.warm_up_s
    paid = np.cumsum(np.where(counted, series.price_per_hour * step_s / _HOUR_S, 0.0))
    return _thinned(series.at_s + step_s), _thinned(paid)


def _edges(run: Run) -> Numbers:
    length_s = run.load.length_s
    bins = max(1, min(_POINTS, int(length_s)))
    return np.linspace(0.0, length_s, bins + 1)


def _thinned(values: Any) -> Any:
    return values[:: max(1, -(-len(values) // _POINTS))]


def _steps(at_s: Numbers, values: Numbers, unit: float) -> tuple[Numbers, Numbers]:
    """The places where a step function changes, and its last."""
    if not at_s.size:
        return at_s, values
    changed = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    places = np.union1d(changed, [at_s.size - 1])
    return at_s[places] / unit, values[places]


def _peaks(series: Series) -> tuple[Numbers, Numbers]:
    """The highest backlog of each stretch: thinning must not hide it."""
    stride = max(1, -(-series.at_s.size // _POINTS))
    starts = np.arange(0, series.at_s.size, stride)
    return series.at_s[starts], np.maximum.reduceat(series.backlog, starts) if starts.size else series.backlog


def _title(axis: Any, words: str, note: str = "") -> None:
    axis.text(0, 1.04, words, transform=axis.transAxes, fontsize=10.5, fontweight="bold", color=INK, va="bottom")
    if note:
        axis.text(1, 1.04, note, transform=axis.transAxes, fontsize=8.5, color=MUTED, va="bottom", ha="right")


def _legend(axis: Any) -> None:
    axis.legend(
        loc="upper right", ncols=4, fontsize=8.5, frameon=True, facecolor="white", edgecolor="none", framealpha=0.85,
        labelcolor=INK, handlelength=1.6, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip
