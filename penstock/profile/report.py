"""A profile for people: a table on the terminal, pictures on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.page import BAD, COLOURS, GOOD, INK, MUTED, Page, draw, dress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.profile.file import Profile, Setting

HEAD = (
    "setting", "#a, ms", "#b, us a row", "#held out, worst", "#knee, rows", "#best batch", "#records/s in time",
    "#most rows/s", "#start, s", "#peak MiB", "trusted",
)  # fmt: skip


def rows(profile: Profile) -> Iterator[tuple[str, ...]]:
    """One line a setting; intervals are 95 %."""
    for number, setting in enumerate(profile.settings):
        fit, best = setting.fit, setting.best
        yield (
            ("> " if number == profile.chosen else "") + setting.label,
            f"{fit.a_s * 1e3:.3g} [{fit.a_low * 1e3:.3g}, {fit.a_high * 1e3:.3g}]",
            f"{fit.b_s * 1e6:.3g} [{fit.b_low * 1e6:.3g}, {fit.b_high * 1e6:.3g}]",
            "not checked" if fit.worst_held_out is None else f"{fit.worst_held_out:.1%}",
            f"{fit.knee_rows:.0f}" if fit.b_s > 0 else "none",
            "none" if best is None else f"{best.max_batch}",
            "0" if best is None else f"{best.rate_per_s:,.0f}",
            f"{_most(setting):,.0f}",
            f"{setting.measured.boot_s:.1f}",
            f"{setting.measured.peak_bytes / 2**20:,.0f}",
            "no" if setting.doubts else "yes",
        )


def remarks(profile: Profile) -> Iterator[str]:
    """What must be known beside the table."""
    for setting in profile.settings:
        if setting.doubts:
            yield f"NOT TO BE TRUSTED, {setting.label}: {'; '.join(setting.doubts)}"
        yield f"{setting.label}: no batch larger than {_largest(setting)} tried ({setting.measured.stopped_by})"
        if setting.fit.holds_to < _largest(setting):
            yield f"{setting.label}: the line holds to {setting.fit.holds_to} rows and is not used beyond"
    yield from (f"not measured: {reason}" for reason in profile.failed)
    compared = [one for one in profile.settings if one.measured.job.xla]
    for one in compared:
        plain = next((other for other in profile.settings if _kind(other) == (*_kind(one)[:2], False)), None)
        if plain is not None:
            faster = _most(one) / _most(plain)
            word = "export the model with jit_compile=True to have it" if faster > 1.05 else "not worth it here"  # noqa: PLR2004
            yield f"{one.label}: {faster:.2f} times the rows a second of the same without XLA ({word})"


def page(profile: Profile, png: Path | None = None) -> str:
    """The report as one file; the main picture as pixels too where `png` says."""
    setting = profile.setting
    share, within = profile.objective.share, profile.objective.within_s
    made = Page(f"Profile: {profile.model} {profile.version}", f"{profile.made_at}; {_machine(profile)}")
    rate = setting.best.rate_per_s if setting.best else 0.0
    made.lead(
        f"One worker on {setting.label} takes {rate:,.0f} records a second and still answers {share:.4g} of them "
        f"within {within * 1000:g} ms, with batches of at most {profile.curve.max_batch} rows."
    )
    made.tiles(
        [
            (f"{setting.fit.a_s * 1e3:.3g} ms", "a batch, a"),
            (f"{setting.fit.b_s * 1e6:.3g} us", "a row, b"),
            (f"{setting.measured.boot_s:.1f} s", "from start to warm"),
            (f"{setting.measured.peak_bytes / 2**20:,.0f} MiB", "memory at most"),
        ]
    )
    if setting.doubts:
        made.text("Not to be trusted: " + "; ".join(setting.doubts) + ".")
    made.table(HEAD, rows(profile))
    made.listing(remarks(profile))
    made.heading("Seconds a batch, and the line through them")
    made.picture(
        draw(lambda figure: _curve(figure, setting), 11, 3.6, png),
        "Points are medians with their 95 % interval; hollow ones were held out from the fit and check it.",
    )
    made.heading("Settings compared")
    made.picture(draw(lambda figure: _compared(figure, profile), 11, 3.4), "Closed loop: batches back to back.")
    if setting.measured.open_loop:
        made.heading("Open loop: requests at Poisson moments, measured from when each was due")
        made.table(
            ("share of the most", "#records/s", "#p50 ms", "#foretold", "#p99 ms", "#foretold"),
            [
                (f"{run.share:.0%}", f"{run.rate_per_s:,.0f}", f"{run.p50_s * 1e3:.2f}",
                 f"{run.foretold_p50_s * 1e3:.2f}", f"{run.p99_s * 1e3:.2f}", f"{run.foretold_p99_s * 1e3:.2f}")
                for run in setting.measured.open_loop
            ],
        )  # fmt: skip
        made.text(
            "Foretold: the same moments replayed through the fitted line, batches padded as a worker pads them.",
            muted=True,
        )
    made.heading("Arithmetic")
    made.arithmetic(_arithmetic(profile))
    return made.render()


def _arithmetic(profile: Profile) -> Iterator[str]:
    fit, curve = profile.setting.fit, profile.curve
    yield f"S(n) = a + b n = {fit.a_s * 1e3:.4g} ms + n x {fit.b_s * 1e6:.4g} us,  1 <= n <= {fit.holds_to}"
    if fit.b_s > 0:
        yield f"limit of throughput = 1 / b = {1 / fit.b_s:,.0f} rows/s"
        yield f"knee (90 % of it)   = 9 a / b = {fit.knee_rows:.0f} rows"
    most = curve.max_batch
    held_ms = curve.seconds(most) * 1e3
    yield f"capacity at B = {most}: B / S(B) = {most} / {held_ms:.4g} ms = {curve.capacity_per_s:,.0f} rows/s"


def _curve(figure: Any, setting: Setting) -> None:
    left, right = figure.subplots(1, 2)
    sizes = setting.measured.sizes
    line = np.geomspace(1, sizes[-1].rows, 100)
    for axis, per_row in ((left, False), (right, True)):
        unit = 1e6 if per_row else 1e3
        for size in sizes:
            share = unit / (size.rows if per_row else 1)
            around = [[max(0.0, size.seconds - size.low) * share], [max(0.0, size.high - size.seconds) * share]]
            axis.errorbar(
                [size.rows], [size.seconds * share], yerr=around, marker="o", markersize=5, capsize=2,
                color=COLOURS[0], markerfacecolor="white" if size.held_out else COLOURS[0],
            )  # fmt: skip
        foretold = (setting.fit.a_s + setting.fit.b_s * line) * unit / (line if per_row else 1)
        inside = line <= setting.fit.holds_to
        axis.plot(line[inside], foretold[inside], color=INK, linewidth=1.2)
        axis.plot(line[~inside], foretold[~inside], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.minorticks_off()
    dress(left, "Milliseconds a batch", x="rows")
    dress(right, "Microseconds a row", x="rows")


def _compared(figure: Any, profile: Profile) -> None:
    axis = figure.subplots()
    for number, setting in enumerate(profile.settings):
        sizes = [size for size in setting.measured.sizes if not size.held_out]
        axis.plot(
            [size.rows for size in sizes], [size.rows_per_s for size in sizes], marker="o", markersize=4,
            color=COLOURS[number % len(COLOURS)], label=setting.label, linestyle="--" if setting.doubts else "-",
        )  # fmt: skip
    best = profile.setting.best
    if best is not None:
        axis.axvline(best.max_batch, color=GOOD if not profile.setting.doubts else BAD, linewidth=1)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_ylim(0, None)
    axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
    dress(axis, "Rows a second; upright: the best batch; dashed lines are not to be trusted", x="rows of a batch")


def _kind(setting: Setting) -> tuple[str, int, bool]:
    return setting.measured.job.device, setting.measured.job.threads, setting.measured.job.xla


def _most(setting: Setting) -> float:
    return max(size.rows_per_s for size in setting.measured.sizes)


def _largest(setting: Setting) -> int:
    return max(size.rows for size in setting.measured.sizes)


def _machine(profile: Profile) -> str:
    return ", ".join(f"{name} {value}" for name, value in profile.machine.items())
