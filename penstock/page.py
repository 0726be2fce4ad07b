"""Reports as one HTML file: nothing is fetched, pictures are inside. Text is escaped here and nowhere else."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

INK, MUTED, FAINT = "#1f2933", "#6b7785", "#e4e9ee"
#: Colours of series, told apart also by those who see fewer colours.
COLOURS = ("#3574a8", "#1b8a5a", "#d9822b", "#8a6fb0", "#c0587e", "#7a7a3a")
GOOD, BAD = "#1b8a5a", "#cf3e3e"

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f5f7f9; color: #1f2933; font: 15px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 30px 0 8px; }
.muted { color: #6b7785; } .lead { font-size: 19px; line-height: 1.45; margin: 14px 0; }
.card { background: white; border: 1px solid #e4e9ee; border-radius: 10px; padding: 14px 18px; margin: 10px 0;
  overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 10px; margin: 16px 0; }
.tile { background: white; border: 1px solid #e4e9ee; border-radius: 10px; padding: 12px 14px; }
.tile b { display: block; font-size: 23px; } .tile span { color: #6b7785; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: #6b7785; font-weight: 600; border-bottom: 1px solid #e4e9ee; padding: 5px 10px 5px 0; }
td { border-bottom: 1px solid #f0f3f6; padding: 5px 10px 5px 0; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
svg, img { max-width: 100%; height: auto; display: block; }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { margin: 0; white-space: pre-wrap; }
.good { color: #1b8a5a; font-weight: 600; } .bad { color: #cf3e3e; font-weight: 600; }
"""


@dataclass
class Page:
    """A page that grows from top to bottom."""

    title: str
    #: Below the title, small.
    subtitle: str = ""
    _parts: list[str] = field(default_factory=list)

    def lead(self, text: str) -> None:
        """The answer, in a sentence or two."""
        self._parts.append(f'<p class="lead">{_escape(text)}</p>')

    def heading(self, text: str) -> None:
        """A section begins."""
        self._parts.append(f"<h2>{_escape(text)}</h2>")

    def text(self, text: str, *, muted: bool = False) -> None:
        """A paragraph."""
        self._parts.append(f'<p class="{"muted" if muted else ""}">{_escape(text)}</p>')

    def listing(self, lines: Iterable[str]) -> None:
        """Points, one a line."""
        items = "".join(f"<li>{_escape(line)}</li>" for line in lines)
        if items:
            self._parts.append(f'<div class="card"><ul>{items}</ul></div>')

    def tiles(self, tiles: Iterable[tuple[str, str]]) -> None:
        """Figures that stand out: value and what it is."""
        cells = "".join(f'<div class="tile"><b>{_escape(v)}</b><span>{_escape(w)}</span></div>' for v, w in tiles)
        self._parts.append(f'<div class="tiles">{cells}</div>')

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; a head that starts with `#` stands over numbers."""
        kinds = ["n" if name.startswith("#") else "" for name in head]
        top = "".join(
            f'<th class="{kind}">{_escape(name.lstrip("#"))}</th>' for name, kind in zip(head, kinds, strict=True)
        )
        body = "".join(
            "<tr>" + "".join(f'<td class="{k}">{_escape(c)}</td>' for c, k in zip(row, kinds, strict=True)) + "</tr>"
            for row in rows
        )
        shown = f"<table><tr>{top}</tr>{body}</table>" if body else '<p class="muted">none</p>'
        self._parts.append(f'<div class="card">{shown}</div>')

    def picture(self, drawing: str, says: str) -> None:
        """An SVG, and what it shows in words."""
        self._parts.append(f'<div class="card">{drawing}<p class="muted">{_escape(says)}</p></div>')

    def arithmetic(self, lines: Iterable[str]) -> None:
        """Formulas with their numbers, a line each, as they are written."""
        self._parts.append(f'<div class="card"><pre>{_escape(chr(10).join(lines))}</pre></div>')

    def render(self) -> str:
        """The whole file."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_escape(self.title)}</title><style>{STYLE}</style></head><body><main>"
            f'<h1>{_escape(self.title)}</h1><p class="muted">{_escape(self.subtitle)}</p>'
            f"{''.join(self._parts)}</main></body></html>\n"
        )


def draw(painter: Callable[[Any], None], width: float, height: float, png: Path | None = None) -> str:
    """A figure as SVG, without a display.

    Args:
        painter: draws into the empty matplotlib figure that it is given.
        width: in inches.
        height: in inches.
        png: where the same is written as pixels, if anywhere.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only reports need it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    fonts = {"font.family": "DejaVu Sans", "font.size": 9.5, "svg.fonttype": "path", "svg.hashsalt": "penstock"}
    with rc_context(fonts):
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
        figure.set_facecolor("white")
        painter(figure)
        shapes = io.StringIO()
        figure.savefig(shapes, format="svg", dpi=150, metadata={"Date": None})
        if png is not None:
            figure.savefig(png, format="png", dpi=120)
    text = shapes.getvalue()
    return text[text.index("<svg") :]


def dress(axis: Any, title: str, *, x: str = "", y: str = "") -> None:
    """The looks that all pictures share: no box, a faint grid, the title at the left."""
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
    axis.grid(axis="y", color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=MUTED, length=0, labelsize=8.5)
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=8)
    axis.set_xlabel(x, color=MUTED, fontsize=9)
    axis.set_ylabel(y, color=MUTED, fontsize=9)


def _escape(text: object) -> str:
    return html.escape(str(text))
