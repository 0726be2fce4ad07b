"""A plan as JSON, as lines, and as a page that a manager can read: the answer, the pictures, the arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.planning.fleet_program import quotas
from penstock.analyse.analysis import rate, span
from penstock.page import Page, draw
from penstock.plan import pictures
from penstock.plan.pictures import money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.plan.order import Order
    from penstock.plan.planner import Option, Plan, Sensitivity
    from penstock.plan.policies import PolicyRun
    from penstock.plan.replay import Replayed

#: Form of plan.json.
SCHEMA = 1


def as_told(order: Order, plan: Plan) -> dict[str, Any]:
    """The plan for programs; what is not known is null."""
    checked, real = plan.checked, plan.checked.real
    return {
        "schema": SCHEMA,
        "workload": order.history.name,
        "scale": order.scale,
        "growth": order.growth,
        "objective": {"within_s": order.objective.within_s, "share": order.objective.share},
        "overhead_s": order.overhead_s,
        "period_s": order.period_s,
        "dispersion": plan.dispersion,
        "partitions": plan.partitions,
        "types": [
            {
                "name": kind.name, "price_per_hour": kind.price_per_hour, "highest_per_s": kind.highest_per_s,
                "curve": {"a_s": of.curve.a_s, "b_s": of.curve.b_s, "max_batch": of.curve.max_batch},
                "boot_s": kind.boot_s,
            }
            for kind, of in zip(plan.kinds, order.types, strict=True)
        ],
        "best": plan.best.name,
        "proven": plan.best.schedule.proven,
        "schedule": [
            {
                "from_s": period * order.period_s,
                "rate_per_s": None if np.isnan(plan.rates[period]) else float(plan.rates[period]),
                "workers": plan.best.schedule.fleet(period),
            }
            for period in range(len(plan.rates))
        ],
        "options": [
            {
                "name": option.name, "cost_per_month": option.cost_per_month, "fixed": option.fixed,
                "peak_workers": peak_fleet(option),
            }
            for option in plan.options
        ],
        "topics": {
            "retention_hours": order.topics.retention_hours, "copies": order.topics.replication_factor,
            "bytes_measured": order.bytes_known, "storage_bytes": plan.bill.storage_bytes,
            "written_per_s": plan.bill.written_per_s, "copied_per_s": plan.bill.copied_per_s,
            "read_per_s": plan.bill.read_per_s,
        },
        "predicted": {
            "p50_s": _known(checked.ideal.p50_s), "p99_s": _known(checked.ideal.p99_s),
            "attainment": checked.ideal.attainment, "cost": checked.planned_cost,
            "window_start_s": checked.window.start_s, "window_s": checked.window.length_s,
            "requests": checked.ideal.requests,
        },
        "simulated": [
            {"p50_s": _known(run.p50_s), "p99_s": _known(run.p99_s), "attainment": run.attainment, "cost": run.cost}
            for run in real
        ],
        "policies": [
            {
                "name": one.name, "cost": one.cost, "planned_cost": one.planned_cost, "times": one.times,
                "attainment": one.attainment, "p99_s": _known(one.p99_s),
            }
            for one in plan.policies
        ],
        "tightened": plan.tightened,
        "sensitivities": [
            {
                "name": one.name, "autoscaled_per_month": one.autoscaled_per_month,
                "fixed_per_month": one.fixed_per_month, "attainment_of_the_plan": one.attainment,
                "p99_s_of_the_plan": _known(one.p99_s),
            }
            for one in plan.sensitivities
        ],
        "notes": list(order.notes),
        "limits": [{"name": limit.name, "times": limit.times, "words": limit.words} for limit in plan.limits],
    }  # fmt: skip


def peak_fleet(option: Option) -> dict[str, int]:
    """The most workers of each type in any period."""
    return dict(zip(option.schedule.names, option.schedule.workers.max(axis=0).tolist(), strict=True))


def answer(order: Order, plan: Plan) -> str:
    """The answer in two sentences."""
    fixed = min((option for option in plan.options if option.fixed), key=lambda o: o.cost_per_month, default=None)
    saved = ""
    if fixed is not None and not plan.best.fixed and fixed.cost_per_month > 0:
        saved = f", {1 - plan.best.cost_per_month / fixed.cost_per_month:.0%} less than the cheapest fixed fleet"
    first = plan.limits[0]
    return (
        f"{fleet_words(plan.best)}, on {plan.partitions} partitions: {money(plan.best.cost_per_month)} a month{saved}. "
        f"{order.objective.share:.4g} of the requests are answered within {order.objective.within_s * 1000:g} ms; the "
        f"first limit that growth meets is {first.name}, at {first.times or 0:.3g} times this load."
    )


def fleet_words(option: Option) -> str:
    """How many of what, over the day."""
    parts = []
    for number, name in enumerate(option.schedule.names):
        counts = option.schedule.workers[:, number]
        if counts.max() > 0:
            low, high = int(counts.min()), int(counts.max())
            parts.append(
                f"{low} to {high} {name} workers" if low != high else f"{high} {name} worker{'s' * (high > 1)}"
            )
    return " and ".join(parts)


def lines(order: Order, plan: Plan) -> Iterator[tuple[str, str]]:
    """What a person wants to know: what, and the figures."""
    checked = plan.checked
    yield "plan", fleet_words(plan.best) + ("" if plan.best.schedule.proven else " (not proven cheapest: time ran out)")
    yield "partitions", f"{plan.partitions} ({_partition_words(order, plan)})"
    for option in plan.options:
        mark = " <- cheapest" if option is plan.best else ""
        yield option.name, f"{money(option.cost_per_month)} a month; at most {_fleet(peak_fleet(option))}{mark}"
    bill = plan.bill
    known = "" if order.bytes_known else "; bytes a record are assumed, not measured"
    words = (
        f"{bill.storage_bytes / 1e9:.3g} GB kept, at the peak {bill.written_per_s / 1e6:.3g} MB/s written, "
        f"{bill.copied_per_s / 1e6:.3g} copied, {bill.read_per_s / 1e6:.3g} read{known}"
    )
    yield "topics", words
    where = f"{span(checked.window.length_s)} around the peak, {checked.ideal.requests:,} requests"
    yield "predicted", f"{_run(checked.ideal)}, cost {checked.planned_cost:.4g} ({where})"
    for number, run in enumerate(checked.real):
        yield (
            f"simulated, draw {number + 1}",
            f"{_run(run)}, cost {run.cost:.4g} ({run.cost / checked.planned_cost - 1:+.1%})",
        )
    for live in plan.policies:
        yield f"policy {live.name}", _live(live)
    for one in plan.sensitivities:
        costs = f"{_or_not(one.autoscaled_per_month)} / {_or_not(one.fixed_per_month)}"
        yield one.name, f"{costs} a month autoscaled / fixed; this plan would answer {one.attainment:.2%} in time"
    for limit in plan.limits:
        yield (
            "limit: " + limit.name,
            ("not known: " if limit.times is None else f"at {limit.times:.3g} times: ") + limit.words,
        )
    for note in order.notes:
        yield "note", note


def page(order: Order, plan: Plan, png: Path | None = None) -> str:
    """The report as one file; the main picture as pixels too where `png` says."""
    checked = plan.checked
    made = Page(
        f"Capacity plan: {order.history.name}",
        f"load x {order.scale:g}, growth x {order.growth:g}; {order.objective.share:.4g} within "
        f"{order.objective.within_s * 1000:g} ms",
    )
    made.lead(answer(order, plan))
    for note in order.notes:
        made.text(note)
    cheapest_fixed = min((o.cost_per_month for o in plan.options if o.fixed), default=float("nan"))
    made.tiles(
        [
            (money(plan.best.cost_per_month), f"a month, {plan.best.name}"),
            (money(cheapest_fixed), "a month, cheapest fixed fleet"),
            (f"{plan.partitions}", "partitions"),
            (_ms(checked.real[0].p99_s), "99th percentile, simulated"),
            (f"{plan.bill.storage_bytes / 1e9:.3g} GB", "in the topics"),
        ]
    )
    made.heading("Load and fleet")
    made.picture(
        draw(lambda figure: pictures.fleet(figure, order, plan), 11, 5.0, png),
        "Above: the rate each period is sized for, and what the fleet could take in time. Below: its workers.",
    )
    made.heading("What it costs")
    made.picture(
        draw(lambda figure: pictures.costs(figure, plan), 11, 0.9 + 0.34 * len(plan.options)), "A month of 730 h."
    )
    made.heading("Does it hold? The same trace, request by request")
    made.picture(
        draw(lambda figure: pictures.latencies(figure, order, plan), 11, 3.2),
        "Time from sending to the readable answer. Predicted: workers are there when the period begins. Simulated: "
        "boots take their time and vary, partitions pause when they move; other draws of the same load.",
    )
    if plan.policies:
        made.heading("A live policy, which does not know what comes")
        made.table(("policy", "in the same stretch"), [(one.name, _live(one)) for one in plan.policies])
    made.heading("If things are otherwise")
    made.table(
        ("if", "#autoscaled a month", "#fixed a month", "#this plan: in time", "#this plan: p99"),
        [
            (one.name, _or_not(one.autoscaled_per_month), _or_not(one.fixed_per_month), *_kept(one))
            for one in plan.sensitivities
        ],
    )  # fmt: skip
    made.heading("What gives way as the load grows")
    made.table(
        ("limit", "#at so many times this load", "why"),
        [(one.name, "not known" if one.times is None else f"{one.times:.3g}", one.words) for one in plan.limits],
    )
    made.heading("Hour by hour" if order.period_s == 3600 else f"Every {span(order.period_s)}")  # noqa: PLR2004 - an hour
    made.table(("from", "#sized for, records/s", "workers"), _by_period(order, plan))
    made.heading("Arithmetic")
    made.arithmetic(_arithmetic(order, plan))
    made.heading("All figures")
    made.table(("what", "found"), lines(order, plan))
    return made.render()


def _partition_words(order: Order, plan: Plan) -> str:
    peak = sum(plan.best.schedule.workers[int(np.nanargmax(plan.rates))].tolist())
    if order.partitions is not None:
        return f"as asked; the peak needs {peak} workers"
    return (
        f"the peak needs {peak} workers, at least {order.head_room:g} times as many partitions leave room to grow "
        "without moving keys, and whole partitions cost no type more than a tenth"
    )


def _arithmetic(order: Order, plan: Plan) -> Iterator[str]:
    peak = int(np.nanargmax(plan.rates))
    top, partitions = float(plan.rates[peak]), plan.partitions
    held = quotas([top], plan.kinds, partitions)[0]
    left = order.objective.within_s - order.overhead_s
    yield f"peak lambda = {rate(top)} records/s: highest mean over a minute, period {peak + 1} of {len(plan.rates)}"
    yield f"time left for waiting and service = {order.objective.within_s:g} s - {order.overhead_s:g} s = {left:g} s"
    yield f"index of dispersion D = {plan.dispersion:.3g} (1 = Poisson)"
    for kind, of, most in zip(plan.kinds, order.types, held, strict=True):
        curve = of.curve
        yield ""
        used, batch = kind.highest_per_s / curve.capacity_per_s, curve.max_batch
        yield f"{kind.name}: S(n) = {curve.a_s * 1000:.4g} ms + n x {curve.b_s * 1000:.4g} ms, n <= {batch}"
        yield f"  capacity mu = B / S(B) = {batch} / {curve.seconds(batch):.4g} s = {curve.capacity_per_s:.4g}/s"
        yield f"  highest rate in time lambda* = {kind.highest_per_s:.4g}/s ({used:.0%} of mu)"
        yield f"  partitions it can hold q = floor({partitions} x {kind.highest_per_s:.4g} / {top:.4g}) = {most}"
        if most:
            yield f"  alone it takes ceil({partitions} / {most}) = {-(-partitions // int(most))} of them"
    bill, topics = plan.bill, order.topics
    yield ""
    yield f"integer program: least sum of price x n with sum of q n >= {partitions} in each period:"
    yield f"  at the peak {_fleet(plan.best.schedule.fleet(peak))}"
    yield f"month = {money(plan.best.cost_per_month)} = cost of the record / its hours x 730"
    yield (
        f"storage = rate x ({bill.request_bytes:.0f} + {bill.result_bytes:.0f}) B x {topics.retention_hours:g} h x "
        f"{topics.replication_factor} copies = {bill.storage_bytes / 1e9:.3g} GB"
    )


def _or_not(cost: float | None) -> str:
    return "not possible" if cost is None else money(cost)


def _known(seconds: float) -> float | None:
    """A time; `None` = never, which JSON has no number for."""
    return seconds if np.isfinite(seconds) else None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if np.isfinite(seconds) else "never"


def _kept(one: Sensitivity) -> tuple[str, str]:
    """What becomes of the planned fleet there: in time, and the 99th percentile."""
    return f"{one.attainment:.2%}", _ms(one.p99_s)


def _live(one: PolicyRun) -> str:
    return f"costs {one.times:.2f} times the plan, p99 {_ms(one.p99_s)}, {one.attainment:.2%} in time"


def _by_period(order: Order, plan: Plan) -> list[tuple[str, str, str]]:
    """Runs of equal fleets as one line each, at most 200 of them."""
    told: list[tuple[str, str, str]] = []
    before = None
    highest = 0.0
    for period, of in enumerate(plan.rates.tolist()):
        fleet = _fleet(plan.best.schedule.fleet(period))
        highest = of if fleet != before else max(highest, of)
        row = (
            span(period * order.period_s) if period else "start",
            "not recorded" if np.isnan(of) else rate(highest),
            fleet,
        )
        if fleet == before and told:
            told[-1] = (told[-1][0], row[1], fleet)
        else:
            told.append(row)
        before = fleet
    return told[:200]


def _fleet(fleet: dict[str, int]) -> str:
    return " + ".join(f"{count} {name}" for name, count in fleet.items() if count) or "none"


def _run(run: Replayed) -> str:
    return f"p50 {_ms(run.p50_s)}, p99 {_ms(run.p99_s)}, {run.attainment:.2%} in time"
