"""How all pictures look: colours of ink, and axes that step back behind the data."""

from __future__ import annotations

from typing import Any

INK, MUTED, FAINT = "#1f2933", "#6b7785", "#e4e9ee"


def quiet(axis: Any) -> None:
    """Take the frame off a matplotlib axis, leave faint lines across, and no margin at its sides."""
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
    axis.grid(axis="y", color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=MUTED, length=0, labelsize=8.5)
    axis.margins(x=0)
