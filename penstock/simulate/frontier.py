"""Cost against late requests over policies: who is beaten by whom, on each load and on all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from penstock.simulate.rows import summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.simulate.rows import Row

INK, MUTED, FAINT = "#1f2933", "#6b7785", "#e4e9ee"
OURS, KNOWING, BAD = "#1b8a5a", "#d9822b", "#cf3e3e"
OTHERS = ("#5b7c99", "#c0587e", "#8a6fb0", "#7a7a3a", "#3a8f9c", "#a05a2c", "#4f5d95", "#b04a4a", "#6d8f3a", "#777777")
MARKS = ("o", "s", "D", "v", "P", "X", "<", ">", "h", "p", "*")

#: Late per cent up to which the axis is even; beyond it each power of ten has the same width.
_EVEN = 1.0
_COLUMNS = 3
Point = tuple[str, float, float]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw a panel for each load, and one for all where there are several, into a PNG.

    Args:
        rows: Runs and bounds.
        path: The file.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    panels, over = _panels(rows)
    columns = min(_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    looks = _looks(rows)
    allowed = 100 * (1 - min(one["objective_share"] for one in rows if "objective_share" in one))
    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        made = Figure(
            figsize=(max(7.0, 4.4 * columns), 3.7 * lines + 1.3), facecolor="white",
            layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1),
        )  # fmt: skip
        grid = made.subplots(lines, columns, squeeze=False).ravel()
        for axis, (title, points) in zip(grid, panels, strict=False):
            _panel(axis, title, points, looks, allowed)
        for axis in grid[len(panels) :]:
            axis.set_visible(False)
        handles, names = [], []
        for axis in grid[: len(panels)]:
            for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
                if name not in names:
                    handles.append(handle)
                    names.append(name)
        made.legend(handles, names, loc="outside lower center", ncols=6, fontsize=8.5, frameon=False, labelcolor=INK)
        made.suptitle(
            f"Cost over {over}, against late requests in %: down and left is better", x=0.012, ha="left", fontsize=13,
            fontweight="bold", color=INK,
        )  # fmt: skip
        made.savefig(path, format="png", dpi=120)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both, in order of what is late."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one[1], one[2])):
        if not kept or point[2] < kept[-1][2]:
            kept.append(point)
    return kept


def _panels(rows: Sequence[Row]) -> tuple[list[tuple[str, list[Point]]], str]:
    """Title and (policy, late %, cost ratio) by panel; and what cost is compared with."""
    runs = [one for one in rows if "objective_share" in one]
    known = all(one["cost_over_clairvoyant"] for one in runs)
    key = "cost_over_clairvoyant" if known else "cost_over_fluid"
    panels = []
    for load in dict.fromkeys(one["trace"] for one in runs):
        own = [one for one in rows if one["trace"] == load and one.get(key)]
        panels.append((load, [(one["policy"], 100 * one["violation"], one[key]) for one in own]))
    if known and len(panels) > 1:
        means = [(one["policy"], 100 * one["violation_mean"], one["cost_over_clairvoyant"]) for one in summary(runs)]
        panels.insert(0, ("all loads: geometric mean of cost, mean of late", means))
    return panels, "the clairvoyant's" if known else "the fluid bound"


def _looks(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Colour and mark by policy."""
    looks, number = {}, 0
    for name in dict.fromkeys(one["policy"] for one in rows):
        if name.startswith("penstock"):
            looks[name] = (OURS, "o")
        elif name.startswith("clairvoyant"):
            looks[name] = (KNOWING, "*")
        elif name == "best fixed fleet":
            looks[name] = (MUTED, "_")
        else:
            looks[name] = (OTHERS[number % len(OTHERS)], MARKS[1 + number % (len(MARKS) - 1)])
            number += 1
    return looks


def _panel(axis: Any, title: str, points: Sequence[Point], looks: dict[str, tuple[str, str]], allowed: float) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axis.spines[side].set_color(FAINT)
    axis.grid(color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=MUTED, length=0, labelsize=8.5)
    best = frontier(points)
    axis.step(
        [late for _, late, _ in best], [cost for _, _, cost in best], where="post", color=MUTED, linewidth=0.9,
        linestyle=(0, (3, 2)), zorder=1,
    )  # fmt: skip
    for name, late, cost in points:
        colour, mark = looks[name]
        axis.scatter(
            [late], [cost], color=colour, marker=mark, s=64 if colour in (OURS, KNOWING) else 42, label=name, zorder=3,
            clip_on=False,
        )  # fmt: skip
    axis.axvline(allowed, color=BAD, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    axis.set_xscale("symlog", linthresh=_EVEN, linscale=1.2)
    most = max([late for _, late, _ in points] + [2 * allowed])
    axis.set_xlim(-0.04, most * 1.25)
    axis.set_xticks([tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= most * 1.25])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_locator(_nothing())
    dearest = max([cost for _, _, cost in points] + [1.2])
    if dearest > 4:  # noqa: PLR2004 - a few dear ones must not flatten the others
        axis.set_yscale("log")
        axis.set_yticks([tick for tick in (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16) if tick <= dearest * 1.2])
        axis.yaxis.set_minor_locator(_nothing())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)


def _nothing() -> Any:
    from matplotlib.ticker import NullLocator  # noqa: PLC0415 - see `draw`

    return NullLocator()
