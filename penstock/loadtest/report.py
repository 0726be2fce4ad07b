"""A load test for programs, for a terminal, and as a picture."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.loadtest.ramp import really_offered
from penstock.page import BAD, COLOURS, GOOD, INK, MUTED, Page, draw, dress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autoscaler.model import Objective
    from penstock.loadtest.ramp import Step
    from penstock.loadtest.run import Outcome

HEAD = ("#asked, requests/s", "#answered", "#backlog grows by", "#p50 ms", "#p99 ms", "#in time")


def as_told(found: Outcome) -> dict[str, Any]:
    """For programs; what is not known, and what never ends, is null."""
    told = asdict(found)
    for step, of in zip(told["steps"], found.steps, strict=True):
        step["overloaded"], step["offered"] = of.overloaded, of.offered
        for name in ("p50_s", "p99_s"):
            step[name] = step[name] if np.isfinite(step[name]) else None
    return told


def rows(found: Outcome) -> Iterator[tuple[str, ...]]:
    """One line a step."""
    for step in found.steps:
        yield (
            f"{step.rate_per_s:,.1f}", f"{step.answered_per_s:,.1f}",
            f"{step.growth_per_s:,.1f}" + _remark(step), _ms(step.p50_s), _ms(step.p99_s), f"{step.attainment:.2%}",
        )  # fmt: skip


def _remark(step: Step) -> str:
    if not step.offered:
        return " (not all sent)"
    return " (overloaded)" if step.overloaded else ""


def verdict(found: Outcome, objective: Objective) -> Iterator[str]:
    """The answer, a sentence each."""
    share, within = f"{objective.share:.4g}", f"{objective.within_s * 1000:g} ms"
    offered = really_offered(found.steps)
    refused = [step.rate_per_s for step in found.steps if not step.offered]
    short = next(iter(refused), found.gave_up_at_per_s)
    if found.knee is None:
        top = offered[-1].rate_per_s if offered else 0.0
        if short is not None:
            held = f"No knee up to {top:,.1f} requests/s" if offered else "No knee"
            yield (
                f"{held}, and more could not be sent: at {short:,.1f}/s the generator fell behind. Give requests more "
                "--rows, or send from another machine."
            )
        else:
            yield f"No knee up to {top:,.1f} requests/s: choose a higher --to."
    else:
        knee = found.knee
        yield f"Knee: {knee.per_s:,.1f} requests/s [{knee.low:,.1f}, {knee.high:,.1f}]."
        curves = (("the curves that workers report", found.foretold_per_s), ("the stated ones", found.stated_per_s))
        for name, value in curves:
            if value is not None:
                yield f"Foretold by {name}: {value:,.1f} requests/s ({knee.per_s / value - 1:+.1%} measured)."
    if not offered:
        yield "Not even the first step could be sent: nothing is known of the pipeline."
    elif found.highest_in_time_per_s is None:
        yield f"Not even the first step answers {share} within {within}."
    else:
        yield f"{share} within {within} up to {found.highest_in_time_per_s:,.1f} requests/s, the last step that did."
    yield f"Besides waiting and service a request needs {found.overhead_s * 1000:.1f} ms (plan: --overhead-ms)."
    workers = ", ".join(f"{member.name} ({member.partitions})" for member in found.members)
    yield f"{len(found.members)} workers with their partitions of {found.partitions}: {workers}."
    if found.rows > 1:
        yield f"Each request has {found.rows} rows: {found.rows} times as many rows a second."
    if found.unanswered:
        yield f"{found.unanswered:,} of {found.requests:,} requests had no answer when the test ended."
    late_ms = found.late_p99_s * 1000
    yield f"The generator itself was late by {late_ms:.1f} ms (99th percentile); that counts as latency."


def page(found: Outcome, objective: Objective, png: Path | None = None) -> str:
    """The report as one file; its picture as pixels too where `png` says."""
    said = list(verdict(found, objective))
    asked = f"{found.requests:,} requests of {found.rows} row{'s' if found.rows > 1 else ''}"
    made = Page("Load test", f"{asked}, open loop, measured from when each was due")
    made.lead(said[0])
    if found.steps:
        made.picture(
            draw(lambda figure: _picture(figure, found, objective), 11, 3.6, png),
            "Left: answers over what was asked; at the knee they part. Right: latency; hollow points are overloaded "
            "steps.",
        )
    made.listing(said[1:])
    made.table(HEAD, rows(found))
    return made.render()


def _picture(figure: Any, found: Outcome, objective: Objective) -> None:
    left, right = figure.subplots(1, 2)
    asked = [step.rate_per_s for step in found.steps]
    left.plot([0, max(asked)], [0, max(asked)], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    left.plot(asked, [step.answered_per_s for step in found.steps], color=COLOURS[0], marker="o", markersize=5)
    if found.knee is not None:
        left.axhspan(found.knee.low, found.knee.high, color=GOOD, alpha=0.2, linewidth=0)
        left.axhline(found.knee.per_s, color=GOOD, linewidth=1.4, label="knee, 95 % interval")
    best = found.stated_per_s or found.foretold_per_s
    if best is not None:
        left.axhline(best, color=COLOURS[2], linewidth=1.2, linestyle=(0, (2, 2)), label="foretold")
    left.set_xlim(0, None)
    left.set_ylim(0, None)
    left.legend(frameon=False, labelcolor=INK, fontsize=8.5, loc="lower right")
    dress(left, "Answered, requests a second", x="asked, requests a second")
    for name, colour, get in (("p50", COLOURS[1], _p50), ("p99", COLOURS[0], _p99)):
        for step in found.steps:
            face = "white" if step.overloaded else colour
            at_ms = get(step) * 1000
            right.plot([step.rate_per_s], [at_ms], marker="o", color=colour, markerfacecolor=face, markersize=5)
        right.plot(asked, [get(step) * 1000 for step in found.steps], color=colour, linewidth=1.2, label=name)
    right.axhline(objective.within_s * 1000, color=BAD, linewidth=1, linestyle=(0, (4, 3)), label="objective")
    right.set_yscale("log")
    right.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.minorticks_off()
    right.set_xlim(0, None)
    right.legend(frameon=False, labelcolor=INK, fontsize=8.5)
    dress(right, "Milliseconds from due to readable answer", x="asked, requests a second")


def _p50(step: Step) -> float:
    return step.p50_s if np.isfinite(step.p50_s) else np.nan


def _p99(step: Step) -> float:
    return step.p99_s if np.isfinite(step.p99_s) else np.nan


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if np.isfinite(seconds) else "never"
