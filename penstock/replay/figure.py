"""A replay as a picture: the load, both fleets, and what they add up to."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.picture_style import FAINT, INK, MUTED, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from penstock.replay.outcome import Point

LOAD, LIVE, REPLAYED = "#5b7c99", "#1b8a5a", "#9b59c4"
#: Most points of a line: what a screen has.
_POINTS = 2000


def draw(points: Sequence[Point], told: Mapping[str, Any], words: Sequence[str], path: Path) -> None:
    """Draw a replay into a PNG.

    Args:
        points: The decisions, at least one.
        told: The outcome as JSON.
        words: The outcome in sentences.
        path: The file.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    at_s = np.array([point.at_s for point in points])
    minutes = (at_s - at_s[0]) / 60
    live, made = (np.array([getattr(point, name) for point in points], float) for name in ("live", "replayed"))
    rates = np.array([np.nan if point.per_s is None else point.per_s for point in points])
    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        drawn = Figure(figsize=(11.5, 7.6), layout=ConstrainedLayoutEngine(h_pad=0.08, hspace=0.05), facecolor="white")
        top, middle, bottom = drawn.subplots(3, 1, sharex=True, height_ratios=[1.3, 2.0, 1.2])
        for axis in (top, middle, bottom):
            quiet(axis)
        some = slice(None, None, max(1, minutes.size // _POINTS))
        top.fill_between(minutes[some], rates[some], color=LOAD, alpha=0.35, linewidth=0)
        top.set_ylim(0, None)
        _title(top, "Arrivals, records a second over 10 s")
        parted = live != made
        if parted.any():
            middle.fill_between(minutes, live, made, where=parted, step="post", color=FAINT, linewidth=0)
        middle.step(minutes, live, where="post", color=LIVE, linewidth=2.6, alpha=0.55, label="as it was")
        middle.step(minutes, made, where="post", color=REPLAYED, linewidth=1.1, label=f"{told['policy']}, replayed")
        middle.set_ylim(0, max(live.max(), made.max(), 1.0) * 1.25)
        middle.yaxis.get_major_locator().set_params(integer=True)
        middle.legend(loc="upper right", ncols=2, frameon=False)
        _title(middle, "Workers wanted")
        step_h = np.diff(at_s, append=at_s[-1]) / 3600
        bottom.plot(minutes, np.cumsum(live * step_h), color=LIVE, linewidth=2.6, alpha=0.55)
        bottom.plot(minutes, np.cumsum(made * step_h), color=REPLAYED, linewidth=1.1)
        bottom.set_ylim(0, None)
        _title(bottom, "Worker-hours so far")
        bottom.set_xlabel("minutes since the first decision", color=MUTED)
        drawn.suptitle(
            f"{told['pipeline']}: {told['policy']} replayed", x=0.012, ha="left", fontsize=14, fontweight="bold",
            color=INK,
        )  # fmt: skip
        top.set_title(textwrap.fill(" ".join(words), 150), loc="left", fontsize=8.5, color=MUTED, pad=24)
        drawn.savefig(path, format="png", dpi=120)


def _title(axis: Any, words: str) -> None:
    axis.text(0, 1.03, words, transform=axis.transAxes, fontsize=10.5, fontweight="bold", color=INK, va="bottom")
