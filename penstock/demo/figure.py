"""The run as one picture: load, fleet, backlog and latency over time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.picture_style import INK, MUTED, quiet

if TYPE_CHECKING:
    from penstock.demo.history import Numbers, Series
    from penstock.demo.outcome import Outcome

LOAD, BAND, CAPACITY = "#5b7c99", "#c08be0", "#1b8a5a"
FLEET, FIXED, BACKLOG, GOOD, BAD = "#1b8a5a", "#d9822b", "#b7791f", "#3574a8", "#cf3e3e"

#: Seconds of the window behind the plotted 99th percentile.
TAIL_S = 5.0

#: Most points of single requests that are drawn.
MOST_POINTS = 12_000


def figure(outcome: Outcome) -> Any:
    """A matplotlib figure of the run, without a display; see `pictures`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second, and only the report needs it
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    made = Figure(figsize=(11.5, 10.2), layout=ConstrainedLayoutEngine(h_pad=0.06, hspace=0.05), facecolor="white")
    axes = made.subplots(4, 1, sharex=True, height_ratios=[3.0, 1.7, 1.2, 2.4])
    for axis in axes:
        quiet(axis)
    _load(axes[0], outcome)
    _fleet(axes[1], outcome)
    _backlog(axes[2], outcome)
    _latency(axes[3], outcome)
    _phases(axes, outcome)
    axes[-1].set_xlabel("seconds since the load began", color=MUTED)
    axes[-1].set_xlim(0, outcome.arrivals.duration_s)
    title = f"{outcome.audit.sent:,} requests, {_kind(outcome)}, {outcome.device} workers"
    made.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold", color=INK)
    return made


def pictures(outcome: Outcome) -> tuple[bytes, str]:
    """The figure as PNG, and as SVG with the single requests as pixels (thousands of shapes would be slow to show)."""
    from matplotlib import rc_context  # noqa: PLC0415

    settings = {"font.family": "DejaVu Sans", "font.size": 9.5, "svg.fonttype": "path", "svg.hashsalt": "penstock"}
    pixels, shapes = io.BytesIO(), io.BytesIO()
    with rc_context(settings):
        made = figure(outcome)
        made.savefig(pixels, format="png", dpi=130)
        made.savefig(shapes, format="svg", dpi=160, metadata={"Date": None})
    text = shapes.getvalue().decode("utf-8")
    return pixels.getvalue(), text[text.index("<svg") :]


def _title(axis: Any, words: str, note: str = "") -> None:
    axis.set_title(words, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=6)
    if note:
        axis.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)


def _legend(axis: Any, columns: int) -> None:
    axis.legend(
        loc="upper right", ncols=columns, fontsize=8.5, frameon=True, facecolor="white", edgecolor="none",
        framealpha=0.85, labelcolor=INK, handlelength=1.6, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def _load(axis: Any, outcome: Outcome) -> None:
    history, arrivals = outcome.history, outcome.arrivals
    counts = arrivals.per_bin(1.0)
    axis.fill_between(
        np.arange(len(counts) + 1), np.append(counts, counts[-1]), step="post", color=LOAD, alpha=0.30, linewidth=0,
        label="arrivals in each second",
    )  # fmt: skip
    axis.step(np.arange(len(counts) + 1), np.append(counts, counts[-1]), where="post", color=LOAD, linewidth=0.9)
    if history.upper:
        ahead = "" if history.horizon_s is None else f" {history.horizon_s:.0f} s before"
        axis.fill_between(
            history.upper.at_s, history.lower.values, history.upper.values, color=BAND, alpha=0.28, linewidth=0,
            label=f"forecast{ahead}",
        )  # fmt: skip
        axis.plot(history.upper.at_s, history.upper.values, color=BAND, linewidth=1.0)
    if history.ready:
        per_s = outcome.curve.capacity_per_s
        at, values = _steps(history.ready, arrivals.duration_s)
        axis.step(
            at, values * per_s, where="post", color=CAPACITY, linewidth=1.8,
            label=f"capacity of ready workers ({per_s:.0f}/s each, {outcome.device})",
        )  # fmt: skip
    axis.set_ylim(0, _room(counts, history, outcome))
    kept = outcome.arrivals.facts.get("kept_share")
    note = f"{kept:.3g} of the recorded requests kept" if isinstance(kept, float) and kept < 1 else ""
    _title(axis, "Load and capacity, requests a second", note)
    _legend(axis, 3)


def _fleet(axis: Any, outcome: Outcome) -> None:
    history, end_s = outcome.history, outcome.arrivals.duration_s
    if history.ready:
        at, values = _steps(history.ready, end_s)
        axis.fill_between(at, values, step="post", color=FLEET, alpha=0.30, linewidth=0, label="ready")
    if history.declared:
        at, values = _steps(history.declared, end_s)
        axis.step(at, values, where="post", color=FLEET, linewidth=1.8, label="declared")
    fixed = outcome.cost.fixed_workers
    axis.axhline(fixed, color=FIXED, linewidth=1.4, linestyle=(0, (4, 3)), label=f"fixed fleet in hindsight: {fixed}")
    for change in history.changes:
        if 0 <= change.at_s <= end_s:
            up = change.action == "scale-up"
            axis.plot(
                [change.at_s], [change.after], marker="^" if up else "v", color=FLEET if up else BAD, markersize=6,
                markeredgecolor="white", markeredgewidth=0.8, clip_on=False, zorder=5,
            )  # fmt: skip
    top = max(outcome.cost.workers_max, fixed, 1)
    axis.set_ylim(0, top * 1.45)
    axis.yaxis.get_major_locator().set_params(integer=True)
    cost = outcome.cost
    saved = f"{cost.worker_seconds:,.0f} worker-seconds against {cost.fixed_worker_seconds:,.0f} fixed"
    _title(axis, f"Fleet, {outcome.device} workers", saved)
    _legend(axis, 3)


def _backlog(axis: Any, outcome: Outcome) -> None:
    backlog = outcome.history.backlog
    if backlog:
        axis.fill_between(backlog.at_s, backlog.values, color=BACKLOG, alpha=0.35, linewidth=0)
        axis.plot(backlog.at_s, backlog.values, color=BACKLOG, linewidth=1.2)
    axis.set_ylim(0, None)
    _title(axis, "Backlog, requests without a committed result")


def _latency(axis: Any, outcome: Outcome) -> None:
    at_s, latency_ms, limit_ms = outcome.answered_at_s, outcome.latency_ms, outcome.objective.within_s * 1000
    keep = slice(None, None, max(1, len(at_s) // MOST_POINTS))
    late = latency_ms > limit_ms
    colours = np.where(late, BAD, GOOD)[keep]
    axis.scatter(at_s[keep], latency_ms[keep], s=3, c=colours, alpha=0.35, linewidths=0, rasterized=True)
    times, tail = _tail(at_s, latency_ms, outcome.arrivals.duration_s)
    axis.plot(times, tail, color=INK, linewidth=1.6, label=f"99th percentile of the last {TAIL_S:g} s")
    axis.axhline(limit_ms, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)), label=f"objective {limit_ms:,.0f} ms")
    axis.set_yscale("log")
    low = max(1.0, float(latency_ms.min()) * 0.8) if len(latency_ms) else 1.0
    axis.set_ylim(low, max(limit_ms, float(latency_ms.max()) if len(latency_ms) else 0.0) * 2.6)
    axis.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.yaxis.set_minor_formatter(lambda *_: "")
    met = outcome.audit.attainment
    words = "" if met is None else f"{met:.2%} within {limit_ms:,.0f} ms"
    _title(axis, f"Latency of each request, ms ({outcome.device} workers)", words)
    _legend(axis, 2)


def _phases(axes: Any, outcome: Outcome) -> None:
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    for index, (name, start_s, end_s) in enumerate(outcome.arrivals.phases):
        for axis in axes:
            if index:
                axis.axvline(start_s, color=MUTED, linewidth=0.6, linestyle=(0, (1, 3)), zorder=0)
        top = axes[0].get_ylim()[1]
        words = axes[0].text((start_s + end_s) / 2, top * 0.02, name, ha="center", va="bottom", fontsize=9, color=INK)
        words.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _kind(outcome: Outcome) -> str:
    if outcome.arrivals.kind == "generated":
        return "generated arrivals"
    return f"trace {outcome.arrivals.facts.get('trace', '')}, {outcome.arrivals.facts.get('time_scale', 1):.3g}x time"


def _room(counts: Any, history: Any, outcome: Outcome) -> float:
    """Top of the load axis: room for the legend, and no single wild forecast may flatten the rest."""
    highest = [float(counts.max(initial=1))]
    if history.ready:
        highest.append(float(np.nanmax(history.ready.values)) * outcome.curve.capacity_per_s)
    if history.upper:
        highest.append(float(np.nanpercentile(history.upper.values, 98)))
    return max(highest) * 1.3


def _steps(series: Series, end_s: float) -> tuple[Numbers, Numbers]:
    """The steps over [0, end_s], the last value held to the end."""
    first = max(0, int(np.searchsorted(series.at_s, 0.0, side="right")) - 1)
    at, values = np.clip(series.at_s[first:], 0.0, None), series.values[first:]
    inside = at <= end_s
    at, values = at[inside], values[inside]
    if not len(at):
        return at, values
    return np.append(at, end_s), np.append(values, values[-1])


def _tail(at_s: Numbers, latency_ms: Numbers, end_s: float) -> tuple[Numbers, Numbers]:
    """99th percentile over the last `TAIL_S`, every half second."""
    order = np.argsort(at_s, kind="stable")
    at, values = at_s[order], latency_ms[order]
    times = np.arange(0.5, end_s, 0.5)
    found = np.full(len(times), np.nan)
    for i, time in enumerate(times):
        low, high = np.searchsorted(at, [time - TAIL_S, time])
        if high > low:
            found[i] = np.percentile(values[low:high], 99)
    return times, found
