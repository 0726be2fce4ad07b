"""The report: `report.html` (one file, nothing fetched), `report.png` and `summary.json`."""

from __future__ import annotations

import html
import json
import time
from typing import TYPE_CHECKING

from penstock.demo.figure import pictures
from penstock.demo.outcome import summary

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from penstock.demo.outcome import Outcome

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #6b7785; --faint: #e4e9ee; --good: #1b8a5a; --bad: #cf3e3e; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink);
  background: #f6f8fa; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 10px; }
p { margin: 6px 0; } .muted { color: var(--muted); }
.badge { display: inline-block; padding: 2px 12px; border-radius: 999px; color: #fff; font-weight: 600; font-size: 15px;
  vertical-align: 4px; margin-left: 10px; background: var(--good); } .badge.red { background: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tile, .card { background: #fff; border: 1px solid var(--faint); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 23px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 13px; }
.card { overflow-x: auto; } .card svg { width: 100%; height: auto; display: block; min-width: 640px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--muted); font-weight: 600; } th, td { padding: 6px 10px; vertical-align: top;
  border-bottom: 1px solid var(--faint); } tr:last-child td { border-bottom: 0; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; } th.n { text-align: right; }
.ok { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
.up { color: var(--good); } .down { color: var(--bad); } code { font-size: 13px; }
"""


def write_report(outcome: Outcome, directory: Path) -> Path:
    """Write `report.html`, `report.png` and `summary.json` into `directory` (created).

    Returns:
        The path of `report.html`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    words = json.dumps(summary(outcome), indent=2) + "\n"
    (directory / "summary.json").write_text(words, encoding="utf-8")
    pixels, shapes = pictures(outcome)
    (directory / "report.png").write_bytes(pixels)
    page = directory / "report.html"
    page.write_text(render(outcome, shapes), encoding="utf-8")
    return page


def render(outcome: Outcome, picture: str) -> str:
    """The page.

    Args:
        outcome: the finished run.
        picture: the figure as SVG.
    """
    verdict = "green" if outcome.green else "red"
    limit_ms = f"{outcome.objective.within_s * 1000:,.0f} ms"
    audit, cost, objective = outcome.audit, outcome.cost, outcome.objective
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(outcome.started_at_s))
    share = None if not cost.fixed_worker_seconds else cost.worker_seconds / cost.fixed_worker_seconds
    tiles = [
        _tile(f"{audit.sent:,}", "requests sent"),
        _tile(f"{len(audit.lost):,} / {len(audit.duplicated):,}", "lost / duplicated"),
        _tile(_percent(audit.attainment), f"answered within {limit_ms}"),
        _tile(f"{_ms(audit.percentile_ms(50))}", f"median latency, {outcome.device} workers"),
        _tile(f"{_ms(audit.percentile_ms(99))}", f"99th percentile, {outcome.device} workers"),
        _tile(_percent(audit.accuracy), "of the answers right"),
        _tile(f"{cost.workers_min} to {cost.workers_max}", f"{outcome.device} workers"),
        _tile(_percent(share, 0), "of the fixed fleet's worker-seconds"),
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Penstock demo: {verdict}</title><style>{STYLE}</style></head><body><main>
<h1>Penstock demo<span class="badge {verdict}">{verdict}</span></h1>
<p class="muted">{made} &middot; {html.escape(outcome.arrivals.description)}</p>
<p class="muted">Workers: {html.escape(outcome.device_words)}. Kafka, Redis, TensorFlow and the autoscaler are real.</p>
<div class="tiles">{"".join(tiles)}</div>
<div class="card">{picture}</div>
<h2>Verdict, checked against the topics by request id</h2>
<div class="card">{_table(("", "check", "found", "wanted"), _checks(outcome))}</div>
<h2>Cost</h2>
<div class="card">{_table(("fleet", "#workers", "#worker-seconds", "#in time"), _costs(outcome))}
<p class="muted">The fixed fleet is the smallest that answers {objective.share:.0%} within {limit_ms}
on the same arrivals. It is chosen in hindsight and pays for no start, rebalance or commit, which flatters it.</p></div>
<h2>Decisions that changed the fleet</h2>
<div class="card">{_table(("#second", "action", "#workers", "reason"), _decisions(outcome))}</div>
<h2>How it was measured</h2>
<div class="card"><p>Latency runs from the moment a request was meant to be sent to the moment a
<code>read_committed</code> reader had its result: a transactional result cannot be read before its commit. The
generator is open loop and was itself late by {_ms(outcome.lateness_p99_ms)} (99th percentile).
Pictures: held out from training; the model alone gets
{_percent(outcome.model_accuracy)} of them right. Attainment counts only <code>ok</code> results, over all requests
sent.</p>{_table(("", ""), _facts(outcome))}</div>
</main></body></html>
"""


def _checks(outcome: Outcome) -> Iterable[tuple[str, ...]]:
    for check in outcome.checks:
        mark = '<span class="ok">ok</span>' if check.ok else '<span class="no">no</span>'
        yield mark, _esc(check.name), _esc(check.found), _esc(check.wanted)


def _costs(outcome: Outcome) -> Iterable[tuple[str, ...]]:
    cost = outcome.cost
    yield (
        f"Penstock ({_esc(outcome.device)})",
        f"{cost.workers_min} to {cost.workers_max}",
        f"{cost.worker_seconds:,.0f}",
        _percent(outcome.audit.attainment),
    )
    yield (
        "fixed, in hindsight (simulated)",
        str(cost.fixed_workers),
        f"{cost.fixed_worker_seconds:,.0f}",
        _percent(cost.fixed_attainment),
    )


def _decisions(outcome: Outcome) -> Iterable[tuple[str, ...]]:
    for change in outcome.history.changes:
        kind = "up" if change.action == "scale-up" else "down"
        yield (
            f"{change.at_s:.0f}",
            f'<span class="{kind}">{_esc(change.action)}</span>',
            f"{'?' if change.before is None else change.before} &rarr; {change.after}",
            _esc(change.reason),
        )


def _facts(outcome: Outcome) -> Iterable[tuple[str, ...]]:
    facts = summary(outcome)
    yield "machine", _esc(json.dumps(facts["machine"]))
    yield "versions", _esc(json.dumps(facts["versions"]))
    yield "partitions", str(outcome.partitions)
    yield (
        "start of a worker, median",
        "not seen" if outcome.history.start_s is None else f"{outcome.history.start_s:.1f} s",
    )
    yield "arrivals", _esc(json.dumps(dict(outcome.arrivals.facts)))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of cells that are HTML already; a head that starts with `#` stands over numbers."""
    numeric = [name.startswith("#") for name in head]
    top = ""
    if any(head):
        cells = zip(head, numeric, strict=True)
        top = "<tr>" + "".join(f'<th class="{"n" if n else ""}">{_esc(h.lstrip("#"))}</th>' for h, n in cells) + "</tr>"
    body = []
    for row in rows:
        marked = zip(row, numeric, strict=True)
        body.append("<tr>" + "".join(f'<td class="{"n" if n else ""}">{cell}</td>' for cell, n in marked) + "</tr>")
    return f"<table>{top}{''.join(body)}</table>" if body else '<p class="muted">none</p>'


def _tile(value: str, words: str) -> str:
    return f'<div class="tile"><b>{_esc(value)}</b><span>{_esc(words)}</span></div>'


def _esc(text: object) -> str:
    return html.escape(str(text))


def _percent(value: float | None, digits: int = 2) -> str:
    return "not known" if value is None else f"{value:.{digits}%}"


def _ms(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f} ms"
