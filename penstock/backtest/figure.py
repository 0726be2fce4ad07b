"""A backtest as one picture: the band against what came, who was believed, who lost how much."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.forecasting.backtest import COMBINATION, NAIVE, PATHS
from autoscaler.forecasting.state import METHODS
from penstock.picture_style import FAINT, INK, MUTED

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.forecasting.backtest import Backtest

BAND, CAME, OURS, PEER = "#9b59c4", "#1f2933", "#1b8a5a", "#5b7c99"
SHARES = ("#a9b4c0", "#5b7c99", "#d9822b", "#1b8a5a", "#7a7a3a", "#8a6fb0", "#c9a227", "#c0587e")
#: Most points of a line: what a screen has.
_POINTS = 1200
_HOUR_S, _MINUTE_S = 3600.0, 60.0


def draw(found: Backtest, path: Path, *, name: str, words: str, horizon_s: float) -> None:
    """Draw a backtest into a PNG."""
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only a picture needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        made = Figure(figsize=(11.5, 9.4), layout=ConstrainedLayoutEngine(h_pad=0.08, hspace=0.06), facecolor="white")
        top, middle, bottom = made.subplots(3, 1, height_ratios=[2.6, 1.2, 1.8])
        for axis in (top, middle, bottom):
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(MUTED)
            axis.tick_params(colors=MUTED)
        seconds = float(found.at_s[-1])
        unit, unit_name = (_HOUR_S, "hours") if seconds > 4 * _HOUR_S else (_MINUTE_S, "minutes")
        _band(top, found, unit, horizon_s)
        _shares(middle, found, unit)
        middle.set_xlabel(f"{unit_name} since the start", color=MUTED)
        middle.sharex(top)
        top.tick_params(labelbottom=False)
        _losses(bottom, found)
        made.suptitle(f"Forecast of {name}", x=0.012, ha="left", fontsize=14, fontweight="bold", color=INK)
        top.set_title(textwrap.fill(words, 150), loc="left", fontsize=8, color=MUTED)
        made.savefig(path, format="png", dpi=120)


def _band(axis: Any, found: Backtest, unit: float, horizon_s: float) -> None:
    pick = np.linspace(0, found.at_s.size - 1, min(_POINTS, found.at_s.size)).astype(int)
    at = found.at_s[pick] / unit
    band = found.quantiles[COMBINATION][pick]
    axis.fill_between(at, band[:, 0], band[:, 1], color=BAND, alpha=0.3, linewidth=0, label="forecast, 0.5 to 0.9")
    axis.plot(at, band[:, 2], color=BAND, linewidth=0.7, alpha=0.8, label="forecast, 0.99")
    axis.plot(at, found.actual[pick], color=CAME, linewidth=0.8, label="came")
    axis.set_ylim(0, 1.6 * float(found.actual.max(initial=1.0)))
    axis.set_ylabel(f"highest rate in the next\n{horizon_s:g} s, records a second", color=MUTED)
    axis.legend(loc="upper left", ncols=3, frameon=False)


def _shares(axis: Any, found: Backtest, unit: float) -> None:
    pick = np.linspace(0, found.at_s.size - 1, min(_POINTS, found.at_s.size)).astype(int)
    axis.stackplot(
        found.at_s[pick] / unit, found.weights[pick].T, labels=METHODS, colors=SHARES, linewidth=0, alpha=0.9
    )
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of the paths", color=MUTED)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _losses(axis: Any, found: Backtest) -> None:
    rows = [score for score in found.scores if score.over_naive is not None and score.name != PATHS]
    rows.sort(key=lambda score: -(score.over_naive or 0.0))
    values = [score.over_naive or 0.0 for score in rows]
    shown = [min(value, 2.5) for value in values]
    colors = [OURS if score.name == COMBINATION else PEER if score.name in METHODS else FAINT for score in rows]
    edges = [MUTED if score.name not in METHODS and score.name != COMBINATION else "none" for score in rows]
    axis.barh([score.name for score in rows], shown, color=colors, edgecolor=edges, linewidth=0.6)
    for place, (value, length) in enumerate(zip(values, shown, strict=True)):
        axis.text(length + 0.01, place, f"{value:.2f}", va="center", fontsize=8, color=INK)
    axis.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=":")
    axis.set_xlim(0, max(shown) * 1.08)
    axis.set_xlabel(f"pinball loss over that of {NAIVE} at the same moments (cut at 2.5); lower is better", color=MUTED)
