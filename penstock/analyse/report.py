"""The pictures of a workload, and the page that they stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.analyse.analysis import lines, moment, rate, span
from penstock.page import BAD, COLOURS, INK, MUTED, Page, draw, dress

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.analyse.analysis import Analysis
    from penstock.analyse.source import History

#: Most points of the line of rates; each is then the mean of what it stands for.
POINTS = 1500
#: Bars of the histogram of sizes.
BARS = 40


def page(found: Analysis, history: History, png: Path | None = None) -> str:
    """The report as one file.

    Args:
        found: the figures.
        history: what they were made from.
        png: where the main picture is written as pixels too.
    """
    window, peak = next(iter(found.peak_per_s.items()))
    made = Page(f"Workload: {found.name}", f"{found.requests:,} requests in {span(found.recorded_s)}")
    made.lead(
        f"{rate(found.mean_per_s)} requests a second on average, {rate(peak)} at the peak over {span(float(window))}: "
        f"{found.peak_over_mean[window]:.1f} times as many."
    )
    tiles = [(f"{rate(found.mean_per_s)}/s", "mean"), (f"{rate(peak)}/s", f"peak over {span(float(window))}")]
    if found.dispersion:
        worst = max(found.dispersion, key=lambda entry: entry.local)
        tiles.append((f"{worst.local:.1f}", f"local dispersion at {span(worst.scale_s)}; 1 = Poisson"))
    tiles += [(f"{season.strength:.0%}", f"of a {season.name} foretold by the others") for season in found.seasons]
    if found.sizes is not None:
        tiles.append((f"{found.sizes.mean:,.0f} B", "mean record"))
    made.tiles(tiles)
    made.heading("Load over time")
    made.picture(
        draw(lambda figure: _load(figure, found, history), 11, 3.2, png),
        "Mean rate; grey stretches were not recorded. Triangles: the busiest minutes.",
    )
    if found.dispersion:
        made.heading("Burstiness over scales")
        made.picture(
            draw(lambda figure: _burstiness(figure, found), 11, 3.0),
            "How much more the counts vary than those of a Poisson process. The index counts slow changes in; the local"
            " one (with its 95 % interval) only sees what differs from one window to the next, as a queue does.",
        )
    if found.seasons:
        made.heading("Seasons")
        made.picture(
            draw(lambda figure: _seasons(figure, found), 11, 2.6 * len(found.seasons)),
            "Mean rate by phase; hours are UTC where the time of the record is known, else they count from its start.",
        )
    if history.sizes is not None or history.by_partition is not None:
        made.heading("Records and partitions")
        made.picture(draw(lambda figure: _records(figure, found, history), 11, 2.8), "Bytes of key, value and headers.")
    made.heading("All figures")
    made.table(("what", "found"), lines(found))
    if found.gaps:
        made.heading("Gaps in the record")
        made.table(("from", "#length"), [(moment(found, at), span(length)) for at, length in found.gaps[:50]])
    return made.render()


def _load(figure: Any, found: Analysis, history: History) -> None:
    load = history.workload
    size = max(1, len(load.counts) // POINTS)
    count = -(-len(load.counts) // size)
    padded = np.zeros(count * size)
    padded[: len(load.counts)] = np.where(load.known, load.counts, 0)
    seen = np.zeros(count * size)
    seen[: len(load.counts)] = load.known
    seen_s = seen.reshape(count, size).sum(axis=1) * load.width_s
    rates = np.where(seen_s > 0, padded.reshape(count, size).sum(axis=1) / np.maximum(seen_s, 1e-12), np.nan)
    unit, name = _unit(found.span_s)
    axis = figure.subplots()
    axis.step(np.arange(count) * size * load.width_s / unit, rates, where="post", color=COLOURS[0], linewidth=0.9)
    axis.axhline(found.mean_per_s, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for at, length in found.gaps:
        axis.axvspan(at / unit, (at + length) / unit, color="#d5dbe1", linewidth=0)
    for spike in found.spikes[:3]:
        axis.plot(
            [(spike.at_s + spike.length_s / 2) / unit],
            [spike.rate_per_s],
            marker="v",
            color=BAD,
            markersize=6,
            clip_on=False,
        )
    axis.set_xlim(0, found.span_s / unit)
    axis.set_ylim(0, None)
    dress(axis, f"Requests a second, means of {span(size * load.width_s)}", x=f"{name} since the start")


def _burstiness(figure: Any, found: Analysis) -> None:
    axis = figure.subplots()
    scales = [entry.scale_s for entry in found.dispersion]
    local = [entry.local for entry in found.dispersion]
    below = [max(0.0, entry.local - entry.local_low) for entry in found.dispersion]
    above = [max(0.0, entry.local_high - entry.local) for entry in found.dispersion]
    axis.errorbar(scales, local, yerr=[below, above], color=COLOURS[0], marker="o", capsize=3, label="local")
    index = [entry.index for entry in found.dispersion]
    axis.plot(scales, index, color=COLOURS[2], marker="s", markersize=4, label="index of dispersion")
    axis.axhline(1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(scales, [span(scale) for scale in scales])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
    dress(axis, "Variance over mean of counts (1 = Poisson)", x="window")


def _seasons(figure: Any, found: Analysis) -> None:
    axes = figure.subplots(len(found.seasons), 1, squeeze=False)[:, 0]
    for axis, season in zip(axes, found.seasons, strict=True):
        phases = len(season.profile_per_s)
        unit = {"hour": "minutes", "day": "hour of the day", "week": "days (0 = Thursday where the time is known)"}
        scale = {"hour": 60.0, "day": 24.0, "week": 7.0}[season.name] / phases
        places = (np.arange(phases) + 0.5) * scale
        axis.bar(places, season.profile_per_s, width=scale * 0.9, color=COLOURS[0])
        axis.set_xlim(0, phases * scale)
        dress(
            axis, f"By {season.name}, requests a second: {season.cycles} cycles, {season.strength:.0%} foretold",
            x=unit[season.name],
        )  # fmt: skip


def _records(figure: Any, found: Analysis, history: History) -> None:
    left, right = figure.subplots(1, 2)
    if history.sizes is not None and found.sizes is not None:
        top = max(found.sizes.p99 * 1.5, 1.0)
        left.hist(np.minimum(history.sizes, top), bins=BARS, color=COLOURS[0])
    dress(left, "Records by bytes", x="bytes (the last bar holds all above)")
    if history.by_partition:
        shares = np.array([history.by_partition[partition] for partition in sorted(history.by_partition)], dtype=float)
        shares /= max(shares.sum(), 1.0)
        right.bar(range(len(shares)), shares * 100, color=COLOURS[1])
        right.axhline(100 / len(shares), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    dress(right, "Share of the records by partition, %", x="partition")


def _unit(seconds: float) -> tuple[float, str]:
    for length, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * length:
            return length, name
    return 1.0, "seconds"
