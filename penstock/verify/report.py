"""The matrix as rows: for JSON, for people, for a page. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from penstock.verify.faults import FAULTS
from penstock.verify.ledger import VIOLATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.verify.runner import Outcome, Plan

#: Ids of a kind of trouble that a row shows.
_SHOWN = 5


def row(outcome: Outcome, plan: Plan, surroundings: Mapping[str, Any]) -> dict[str, Any]:
    """One fault's row.

    Args:
        outcome: all runs of it.
        plan: what was to be run.
        surroundings: machine and versions, put into each row so that a row can stand alone.

    Returns:
        `sent, ok, unsent, sent_twice` and what `ledger.VIOLATIONS` names as sums over the runs; `unavailable_s` as the
        worst run's and `unavailable_p50_s` as the middle one's; what the fault measured, worst and middle; `not_run`
        and `error` in words or `None`; `examples` of ids where something is not 0.
    """
    verdicts = outcome.verdicts
    silences = [verdict.unavailable_s for verdict in verdicts]
    lists = {name: [one for verdict in verdicts for one in getattr(verdict, name)] for name in VIOLATIONS}
    return {
        "fault": outcome.fault,
        "runs": len(verdicts),
        "sent": sum(verdict.sent for verdict in verdicts),
        "ok": sum(verdict.ok for verdict in verdicts),
        **{name: len(found) for name, found in lists.items()},
        "unavailable_s": round(max(silences), 3) if silences else None,
        "unavailable_p50_s": round(statistics.median(silences), 3) if silences else None,
        **_measured(outcome.facts),
        "unsent": sum(verdict.unsent for verdict in verdicts),
        "sent_twice": sum(verdict.sent_twice for verdict in verdicts),
        "workers_died": len(outcome.deaths),
        "deaths": outcome.deaths[:_SHOWN],
        "not_run": outcome.not_run,
        "error": outcome.error,
        "examples": {name: found[:_SHOWN] for name, found in lists.items() if found},
        "seconds": round(outcome.seconds, 1),
        "seed": plan.seed,
        "rate": plan.rate,
        **surroundings,
    }


def _measured(facts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each measured value, worst and middle: `recovery_s` and `recovery_p50_s`."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for one in facts for name in one):
        values = [one[name] for one in facts if name in one]
        found[name] = round(max(values), 3)
        found[f"{name.removesuffix('_s')}_p50_s"] = round(statistics.median(values), 3)
    return found


def clean(found: Mapping[str, Any]) -> bool:
    """Whether a row has nothing to complain about; one that was not run has not."""
    return not found["error"] and not found["workers_died"] and not any(found[name] for name in VIOLATIONS)


def cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A row's cells for a table; see `HEADINGS`."""
    if found["not_run"]:
        return (found["fault"], "0", *[""] * (len(HEADINGS) - 3), f"not run: {found['not_run']}")
    return (
        found["fault"],
        str(found["runs"]),
        f"{found['sent']:,}",
        f"{found['ok']:,}",
        *(str(found[name]) for name in ("lost", "duplicated", "out_of_order")),
        *("" if found[name] is None else f"{found[name]:.1f}" for name in ("unavailable_p50_s", "unavailable_s")),
        remarks(found),
    )


#: Of `cells`.
HEADINGS = (
    "fault",
    "runs",
    "sent",
    "ok",
    "lost",
    "duplicated",
    "out of order",
    "unavailable s, p50",
    "worst",
    "remarks",
)


def remarks(found: Mapping[str, Any]) -> str:
    """What else is to be said of a row."""
    said = []
    if found["error"]:
        said.append(f"ended early: {found['error']}")
    said += [f"{found[name]} {name}" for name in ("late", "failed", "wrong", "unknown") if found[name]]
    if found["workers_died"]:
        said.append(f"{found['workers_died']} workers ended unasked")
    for name in ("recovery_s", "replacement_ready_s", "zombie_awake_s", "broker_away_s", "metrics_again_s"):
        if name in found:
            middle = found[f"{name.removesuffix('_s')}_p50_s"]
            said.append(f"{name.removesuffix('_s').replace('_', ' ')} {middle:.1f} s, worst {found[name]:.1f}")
    return "; ".join(said)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The matrix as a Markdown table, with what each fault does and where it was run."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += [
        "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells(one)) + " |" for one in rows
    ]
    if rows:
        one = rows[0]
        versions = ", ".join(f"{name} {text}" for name, text in one["versions"].items())
        seconds = sum(each["seconds"] for each in rows)
        lines += [
            "",
            f"{one['machine']}; {versions}; {one['rate']:g} requests/s, seed {one['seed']}; {seconds:,.0f} s in all.",
        ]
    return "\n".join(lines) + "\n"


def legend() -> list[tuple[str, str]]:
    """Each fault and what it does."""
    return [(name, kind.words) for name, kind in FAULTS.items()]
