"""The figures as one picture: throughput and processor time as bars, latency over rate as lines."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from penstock.bench import candidates as names
from penstock.picture_style import FAINT, INK, MUTED
from streams.kafka.settings import LIBRDKAFKA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from penstock.bench.rows import Row

OURS, LIMIT, PEER = "#1b8a5a", "#a9b4c0", "#5b7c99"
LINES = ("#d9822b", "#c0587e", "#5b7c99", "#8a6fb0", "#7a7a3a")

#: An axis that spans less than this factor gets numbers between its powers of ten.
NARROW = 12.0


def write_figure(rows: Sequence[Row], path: Path, note: str) -> None:
    """Draw the rows into a PNG.

    Args:
        rows: what was measured; rows without figures are left out of the picture (the table names them).
        path: the file.
        note: one line below: machine and manner.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - takes a second, and only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    single = [row for row in rows if row.records_per_s and row.rows_per_request == 1]
    wide = [row for row in rows if row.rows_per_s and (row.rows_per_request > 1 or row.name == names.TENSORFLOW_LIMIT)]
    timed = [row for row in rows if row.rate and row.p50_ms is not None]
    heights = [max(len(single), 1) * 0.3 + 0.9, max(len(wide) * 0.3 + 0.9, 3.4)]
    tall = sum(heights) + 1.6
    with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        made = Figure(
            figsize=(13, tall), facecolor="white",
            layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1, hspace=0.04, rect=(0, 0.6 / tall, 1, 1 - 0.85 / tall)),
        )  # fmt: skip
        axes = made.subplots(2, 2, height_ratios=heights)
        _bars(axes[0][0], single, "records_per_s", "Records a second, one row a request", logarithmic=True)
        _bars(axes[0][1], single, "cpu_us_per_record", "Processor time a record, us", named=False, logarithmic=True)
        _bars(axes[1][0], wide, "rows_per_s", "Rows a second, 32 rows a request")
        _lines(axes[1][1], timed)
        made.suptitle(
            "Requests in Kafka to answers in Kafka, side by side", x=0.012, ha="left", fontsize=14, fontweight="bold",
            color=INK,
        )  # fmt: skip
        made.text(0.012, 0.006, textwrap.fill(note, 190), fontsize=8.5, color=MUTED, va="bottom")
        made.savefig(path, format="png", dpi=130)


def label(row: Row) -> str:
    """What a bar is called."""
    words = [row.name]
    if row.name == names.PENSTOCK:
        words.append(row.delivery or "")
        if row.client == LIBRDKAFKA:
            words.append("on librdkafka")
    if row.client and row.encoding == names.JSON and not row.name.endswith("json"):
        words.append("JSON")
    return " ".join(words)


def _colour(row: Row) -> str:
    if row.name == names.PENSTOCK:
        return OURS
    return LIMIT if row.name in (names.TENSORFLOW_LIMIT, *names.WITHOUT_MODEL) else PEER


def _bars(
    axis: Any, rows: Sequence[Row], field: str, title: str, *, named: bool = True, logarithmic: bool = False
) -> None:
    _style(axis, title)
    axis.grid(axis="x", color=FAINT, linewidth=0.8)
    values = [float(getattr(row, field) or 0.0) for row in rows]
    places = range(len(rows))
    axis.barh(places, values, color=[_colour(row) for row in rows], height=0.66)
    axis.set_yticks(list(places), [label(row) if named else "" for row in rows])
    axis.margins(y=0.01)
    axis.invert_yaxis()
    axis.spines["left"].set_visible(False)
    if not values:
        _empty(axis)
        return
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(_plain())
        axis.xaxis.set_minor_formatter(_nothing())
        axis.set_xlim(max(min(value for value in values if value) * 0.6, 1e-3), max(values) * 3.2)
    else:
        axis.xaxis.set_major_formatter(_plain())
        axis.set_xlim(0, max(values) * 1.18)
    for place, value in zip(places, values, strict=True):
        if value:
            said = f" {value:,.0f}" if value >= 10 else f" {value:,.1f}"  # noqa: PLR2004 - two digits at least
            axis.text(value, place, said, va="center", fontsize=8.5, color=INK)


def _lines(axis: Any, rows: Sequence[Row]) -> None:
    _style(axis, "Latency in open loop, from the intended send, ms")
    axis.grid(color=FAINT, linewidth=0.8)
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(label(row), []).append(row)
    others = iter(LINES)
    for name, points in by_name.items():
        colour = OURS if points[0].name == names.PENSTOCK else next(others, MUTED)
        points.sort(key=lambda row: row.rate or 0.0)
        rates = [row.rate for row in points]
        axis.plot(rates, [row.p50_ms for row in points], color=colour, marker="o", markersize=4, label=f"{name}, p50")
        axis.plot(
            rates, [row.p99_ms for row in points], color=colour, marker="o", markersize=4, markerfacecolor="white",
            linestyle=(0, (4, 2)), label=f"{name}, p99",
        )  # fmt: skip
    if not rows:
        _empty(axis)
    else:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("requests a second", color=MUTED)
        axis.legend(
            fontsize=8,
            frameon=False,
            labelcolor=INK,
            ncols=2,
            handlelength=3.0,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
        )
        _plain_numbers(axis, sorted({row.rate or 0.0 for row in rows}))


def _empty(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.text(0.5, 0.5, "not measured in this run", ha="center", va="center", color=MUTED, transform=axis.transAxes)


def _plain_numbers(axis: Any, rates: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator  # noqa: PLC0415 - as above

    axis.set_xticks(_far_apart(rates))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(_plain())
    axis.yaxis.set_major_formatter(_plain())
    axis.yaxis.set_minor_formatter(_plain() if _span(axis) < NARROW else _nothing())


def _far_apart(rates: Sequence[float]) -> list[float]:
    """Those whose names do not run into each other: a tenth of the axis from one to the next."""
    kept: list[float] = []
    least = (rates[-1] / rates[0]) ** 0.1 if rates and rates[0] > 0 else 1.0
    for rate in rates:
        if not kept or rate > kept[-1] * least:
            kept.append(rate)
    return kept


def _span(axis: Any) -> float:
    low, high = axis.get_ylim()
    return float(high / low)


def _plain() -> Any:
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - as above

    return FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def _nothing() -> Any:
    from matplotlib.ticker import NullFormatter  # noqa: PLC0415 - as above

    return NullFormatter()


def _style(axis: Any, title: str) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(FAINT)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=MUTED, length=0, labelsize=8.5)
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=6)
