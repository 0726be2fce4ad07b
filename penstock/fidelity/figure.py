"""Live and simulated in one picture: the load, and for each policy both fleets and both late shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.fidelity.sides import late_by
from penstock.page import INK, MUTED, draw, dress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.demo.history import Numbers, Series
    from penstock.fidelity.setting import Setting
    from penstock.fidelity.sides import Side

LOAD, LIVE, SIMULATED = "#5b7c99", "#1b8a5a", "#d9822b"
#: Seconds of one bin of the load and of the late shares.
_LOAD_S, _LATE_S = 5.0, 10.0


def paint(made: Setting, pairs: Sequence[tuple[Side, Sequence[Side]]], path: Path) -> None:
    """Draw it as `path` (PNG) and beside it as SVG.

    Args:
        made: The comparison.
        pairs: Live side of each policy, and its simulated runs; the first looked at the moments of the live one.
        path: Ends with `.png`.
    """

    def fill(figure: Any) -> None:
        rows = [1.1] + [1.5, 0.9] * len(pairs)
        axes = figure.subplots(len(rows), 1, sharex=True, gridspec_kw={"height_ratios": rows})
        _load(axes[0], made)
        for place, (live, runs) in enumerate(pairs):
            _fleets(axes[1 + 2 * place], made, live, runs, named=place == 0)
            _late(axes[2 + 2 * place], made, live, runs[0])
        for axis in axes:
            axis.axvspan(0, made.scenario.warm_up_s, color="#f0f3f6", zorder=0, linewidth=0)
            axis.set_xlim(0, made.load.length_s)
        axes[-1].set_xlabel("seconds (grey: warm-up, counts in nothing)", color=MUTED, fontsize=9)

    shapes = draw(fill, 9.5, 2.2 + 3.4 * len(pairs), path)
    path.with_suffix(".svg").write_text(shapes, encoding="utf-8")


def _load(axis: Any, made: Setting) -> None:
    load, kind = made.load, made.scenario.worker_types[0]
    counts, edges = np.histogram(load.arrivals_s, np.arange(0, load.length_s + _LOAD_S, _LOAD_S))
    axis.stairs(counts / _LOAD_S, edges, color=LOAD, fill=True, alpha=0.35)
    axis.set_ylim(0, None)
    dress(axis, f"{load.name}: requests a second (one worker does {kind.curve.capacity_per_s:.0f})")


def _fleets(axis: Any, made: Setting, live: Side, runs: Sequence[Side], *, named: bool) -> None:
    simulated, at_s = runs[0], np.arange(0, made.load.length_s)
    counts = np.array([_at(one.running, at_s) for one in runs])
    label = f"simulated, {len(runs)} moments of looking"
    axis.fill_between(
        at_s, counts.min(axis=0), counts.max(axis=0), step="post", color=SIMULATED, alpha=0.18, linewidth=0, label=label
    )
    for side, colour in ((simulated, SIMULATED), (live, LIVE)):
        for series, width, style in ((side.running, 1.8, "-"), (side.ready, 0.9, ":")):
            at_s = np.append(series.at_s, made.load.length_s)
            values = np.append(series.values, series.values[-1])
            label = side.side if series is side.running else f"{side.side}, serving"
            axis.step(at_s, values, where="post", color=colour, linewidth=width, linestyle=style, label=label)
    axis.set_ylim(0, max(live.running.values.max(), counts.max()) + 0.6)
    if named:
        axis.legend(frameon=False, labelcolor=INK, fontsize=8.5, ncols=5, loc="lower right")
    mean = float(np.mean([one.worker_seconds for one in runs]))
    dress(
        axis,
        f"{live.policy}: workers (live {live.worker_seconds:.0f} worker-seconds, simulated "
        f"{simulated.worker_seconds:.0f}, mean of {len(runs)} {mean:.0f})",
    )


def _at(series: Series, at_s: Numbers) -> Numbers:
    """A stepped series at some moments; before its first step as at it."""
    place = np.clip(np.searchsorted(series.at_s, at_s, side="right") - 1, 0, None)
    return np.asarray(series.values[place])


def _late(axis: Any, made: Setting, live: Side, simulated: Side) -> None:
    shares = []
    for side, colour in ((simulated, SIMULATED), (live, LIVE)):
        series = late_by(made, side, _LATE_S)
        axis.plot(series.at_s, series.values * 100, color=colour, linewidth=1.2)
        counted = side.latencies_s[np.searchsorted(made.load.arrivals_s, made.scenario.warm_up_s) :]
        shares.append(f"{side.side} {float(np.mean(counted > made.scenario.objective_s)):.1%}")
    axis.set_ylim(0, None)
    dress(axis, f"{live.policy}: requests later than {made.scenario.objective_s:g} s, % ({', '.join(shares[::-1])})")
