"""The figures for people: on a terminal, and as a page of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.bench.ratios import Ratio
    from penstock.bench.rows import Row

COLUMNS = (
    "row", "client", "delivery", "payload", "rows/request", "records/s", "rows/s", "CPU us/record", "rate/s",
    "p50 ms", "p99 ms",
)  # fmt: skip


def number(value: float | None, digits: int = 0) -> str:
    """A number for people, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    low, high = row.more.get("records_per_s_lowest"), row.more.get("records_per_s_highest")
    spread = f" ({number(low)}-{number(high)})" if low is not None else ""
    return (
        row.name,
        row.client or "-",
        row.delivery or "-",
        row.encoding,
        str(row.rows_per_request),
        number(row.records_per_s) + spread,
        number(row.rows_per_s),
        number(row.cpu_us_per_record, 1),
        number(row.rate),
        number(row.p50_ms, 1),
        number(row.p99_ms, 1),
    )


def table(rows: Iterable[Row]) -> Table:
    """The rows for a terminal."""
    made = Table(show_edge=False, pad_edge=False)
    for index, name in enumerate(COLUMNS):
        made.add_column(name, justify="left" if index < 4 else "right", no_wrap=True)  # noqa: PLR2004 - words, then numbers
    for row in rows:
        made.add_row(*cells(row))
    return made


def ratio_table(found: Iterable[Ratio]) -> Table:
    """The ratios for a terminal."""
    made = Table(show_edge=False, pad_edge=False)
    for name in ("ratio", "found", "wanted", "", "sides"):
        made.add_column(name)
    for one in found:
        made.add_row(*ratio_cells(one))
    return made


def ratio_cells(one: Ratio) -> tuple[str, ...]:
    """One line of the ratios."""
    met = {True: "ok", False: "no", None: "not measured"}[one.met]
    return (one.name, number(one.value, 2) + one.unit, f"{one.relation} {one.target:.2g}{one.unit}", met, one.sides)


def notes(rows: Iterable[Row]) -> list[str]:
    """What stands beside the figures, a line each."""
    return [f"{row.name} ({row.encoding}, {row.rows_per_request}): {row.note}" for row in rows if row.note]


def markdown(rows: Sequence[Row], found: Sequence[Ratio], machine: Mapping[str, str], how: str) -> str:
    """A page: the machine, the table, the ratios, the notes, the versions."""
    lines = ["# Data plane, side by side", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += ["", "| ratio | found | wanted | | sides |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(ratio_cells(one)) + " |" for one in found]
    lines += ["", how, "", "Machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()) + "."]
    used = {name: version for row in rows for name, version in row.versions.items()}
    lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(used.items())) + "."]
    told = notes(rows)
    if told:
        lines += ["", *[f"- {line}" for line in told]]
    return "\n".join(lines) + "\n"
