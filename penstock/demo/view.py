"""What a person watches while the demo runs: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscaler.model import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType

#: Seconds between two plain lines where there is no terminal.
LINE_S = 5.0

#: Heights of one character, from empty to full.
BLOCKS = " ▁▂▃▄▅▆▇█"

#: Actions that change the fleet.
CHANGES = (Action.SCALE_UP, Action.SCALE_DOWN)

#: Width of the small curves, in characters: one a half second, so the last half minute.
CURVE = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known now; `None` = not known."""

    #: Seconds since the load began; below 0 before it.
    at_s: float
    duration_s: float
    #: `waiting`, `running`, `draining`.
    phase: str
    rate_per_s: float | None = None
    lower_per_s: float | None = None
    upper_per_s: float | None = None
    horizon_s: float | None = None
    method: str | None = None
    declared: int | None = None
    running: int | None = None
    ready: int | None = None
    backlog: int | None = None
    p99_ms: float | None = None
    sent: int = 0
    received: int = 0
    action: str | None = None
    reason: str | None = None


def known(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    """A number for people, or a dash."""
    return "-" if value is None else f"{value:{form}}{unit}"


def line(moment: Moment, objective_ms: float, device: str) -> str:
    """One plain line about a moment."""
    band = f"{known(moment.lower_per_s)}..{known(moment.upper_per_s)}/s"
    ahead = "" if moment.horizon_s is None else f" in {moment.horizon_s:.0f} s"
    return (
        f"{moment.at_s:6.1f} s  {moment.phase:<8} rate {known(moment.rate_per_s)}/s  forecast {band}{ahead}  "
        f"{device} workers {known(moment.ready)} ready of {known(moment.declared)}  backlog {known(moment.backlog)}  "
        f"p99 {known(moment.p99_ms)} of {objective_ms:,.0f} ms  answered {moment.received:,} of {moment.sent:,}"
        + (f"  {moment.action}: {moment.reason}" if moment.reason else "")
    )


def curve(values: Sequence[float | None], top: float, width: int = CURVE) -> str:
    """The newest values as a row of blocks; a gap where a value is not known."""
    newest = values[-width:]
    scale = (len(BLOCKS) - 1) / top if top > 0 else 0.0
    cells = [" " if v is None else BLOCKS[max(0, min(len(BLOCKS) - 1, round(v * scale)))] for v in newest]
    return "".join(cells).rjust(width)


def panel(moments: Sequence[Moment], objective_ms: float, device: str, title: str) -> RenderableType:
    """The live panel at the newest moment.

    Args:
        moments: the run so far, oldest first; at least one.
        objective_ms: time within which an answer is in time.
        device: what the workers run on; `emulated` is said wherever a number of theirs stands.
        title: of the panel.
    """
    now = moments[-1]
    rates = [m.rate_per_s for m in moments]
    top = max([1.0, *(r for r in rates if r is not None), *(m.upper_per_s or 0.0 for m in moments[-CURVE:])])
    fleet = [None if m.ready is None else float(m.ready) for m in moments]
    backlog = [None if m.backlog is None else float(m.backlog) for m in moments]
    late = now.p99_ms is not None and now.p99_ms > objective_ms
    emulated = " (emulated)" if device == "emulated" else f" ({device})"
    rows = Table.grid(padding=(0, 2))
    rows.add_column(justify="right", style="bold")
    rows.add_column(justify="left", min_width=22)
    rows.add_column(justify="left", style="cyan")
    band = Text(f"{known(now.lower_per_s)} to {known(now.upper_per_s)}/s", style="magenta")
    if now.horizon_s is not None:
        band.append(f" in {now.horizon_s:.0f} s", style="dim")
    workers = Text(f"{known(now.ready)} ready of {known(now.declared)}{emulated}", style="green")
    tail = Text(
        f"{known(now.p99_ms)} ms of {objective_ms:,.0f} ms{emulated}", style="bold red" if late else "bold green"
    )
    rows.add_row("rate", f"{known(now.rate_per_s)}/s", curve(rates, top))
    rows.add_row("forecast", band, Text(curve([m.upper_per_s for m in moments], top), style="magenta"))
    rows.add_row("fleet", workers, Text(curve(fleet, max([1.0, *(f or 0.0 for f in fleet)])), style="green"))
    rows.add_row(
        "backlog", known(now.backlog), Text(curve(backlog, max([1.0, *(b or 0.0 for b in backlog)])), style="yellow")
    )
    waits = [m.p99_ms for m in moments]
    tops = max([objective_ms, *(w for w in waits if w is not None)])
    rows.add_row("p99", tail, Text(curve(waits, tops), style="red" if late else "green"))
    rows.add_row("answered", f"{now.received:,} of {now.sent:,}", _bar(now))
    words = Text("last decision  ", style="bold")
    words.append(f"{now.action}: {now.reason}" if now.action else "none yet")
    changed = last_change(moments)
    change = Text("last change    ", style="bold")
    change.append(f"at {changed.at_s:.0f} s, {changed.action}: {changed.reason}" if changed else "none yet")
    body = Group(rows, Text(), words, change)
    return Panel(body, title=title, border_style="blue", padding=(1, 2), width=112)


def last_change(moments: Sequence[Moment]) -> Moment | None:
    """The newest moment whose decision changed the fleet; `None` = there was none."""
    return next((m for m in reversed(moments) if m.action in CHANGES), None)


def _bar(now: Moment) -> Text:
    share = min(1.0, max(0.0, now.at_s / now.duration_s)) if now.duration_s else 0.0
    full = round(share * CURVE)
    bar = Text("━" * full, style="blue")
    bar.append("━" * (CURVE - full), style="grey37")
    return bar


class View:
    """Shows moments as they come.

    Args:
        console: where to; lines instead of a panel when it is no terminal.
        objective_ms: time within which an answer is in time.
        device: what the workers run on.
        title: of the panel.
        clock: seconds, for the distance of the lines.
    """

    def __init__(
        self, console: Console, *, objective_ms: float, device: str, title: str, clock: Callable[[], float]
    ) -> None:
        self._console, self._objective_ms, self._device, self._title = console, objective_ms, device, title
        self._clock = clock
        self._moments: list[Moment] = []
        self._said_at_s: float | None = None
        self._said: str | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Take the newest moment; a plain line is due every `LINE_S` and whenever the fleet is changed."""
        self._moments.append(moment)
        if self._live:
            self._live.update(panel(self._moments, self._objective_ms, self._device, self._title), refresh=True)
            return
        now_s = self._clock()
        changed = moment.action in CHANGES and moment.reason != self._said
        if self._said_at_s is None or now_s >= self._said_at_s + LINE_S or changed:
            self._said_at_s, self._said = now_s, moment.reason
            text = line(moment, self._objective_ms, self._device)
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)
