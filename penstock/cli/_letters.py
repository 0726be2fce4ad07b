"""Dead letters for people and for programs. Bytes of strangers never reach a terminal as they are."""

from __future__ import annotations

import base64
import datetime as dt
import heapq
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams import headers as names
from streams.dead_letters_selection import LetterFacts, read_letter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.dead_letters_plan import Survey
    from streams.record_types import ConsumedRecord

#: Width of what is piped somewhere, in characters: enough for a letter a line.
PIPED_WIDTH = 180
#: Bytes in one line of a dump.
DUMP_WIDTH = 16


def console() -> Console:
    """Standard output, wide enough for a letter a line where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def printable(text: str) -> str:
    """Text whose control characters and the like are escaped: it may come from a stranger."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", errors="replace").decode() for char in text
    )


def utc(timestamp_ms: int) -> str:
    """A record's timestamp for people."""
    try:
        found = dt.datetime.fromtimestamp(timestamp_ms / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)
    return "no time" if timestamp_ms < 0 else found.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Newest:
    """The newest letters of a survey with their messages, at most so many."""

    most: int
    _heap: list[tuple[int, int, int, LetterFacts, str]] = field(default_factory=list)

    def add(self, record: ConsumedRecord, letter: LetterFacts) -> None:
        """Take one in, if it is among the newest."""
        if self.most > 0:
            message = names.text_header(record.headers, names.DLQ_MESSAGE) or ""
            entry = (letter.timestamp_ms, letter.partition, letter.offset, letter, message)
            (heapq.heappush if len(self._heap) < self.most else heapq.heappushpop)(self._heap, entry)

    def __iter__(self) -> Iterator[tuple[LetterFacts, str]]:
        """From the oldest of them to the newest."""
        for *_, letter, message in sorted(self._heap, key=lambda entry: entry[:3]):
            yield letter, message


def listing(topic: str, survey: Survey, newest: Newest) -> dict[str, Any]:
    """`dlq ls` as JSON has it."""
    counts: dict[str, dict[str, int]] = {}
    for letter in (letter for letters in survey.letters.values() for letter in letters):
        count = counts.setdefault(letter.reason, {"letters": 0, "replayed": 0})
        count["letters"] += 1
        count["replayed"] += bool(survey.replayed.targets(letter.partition, letter.offset))
    return {
        "topic": topic,
        "seen": survey.seen,
        "matched": survey.matched,
        "foreign": survey.foreign,
        "by_reason": dict(sorted(counts.items(), key=lambda entry: -entry[1]["letters"])),
        "letters": [_row(topic, letter, survey) | {"message": message} for letter, message in newest],
    }


def _row(topic: str, letter: LetterFacts, survey: Survey) -> dict[str, Any]:
    return {
        "place": f"{topic}/{letter.partition}/{letter.offset}",
        "source": None if letter.source is None else str(letter.source),
        "timestamp_ms": letter.timestamp_ms,
        "reason": letter.reason,
        "stage": letter.stage,
        "attempts": letter.attempts,
        "bytes": letter.size,
        "replayed_to": survey.replayed.targets(letter.partition, letter.offset),
    }


def print_listing(told: dict[str, Any]) -> None:
    """`dlq ls` for people."""
    out = console()
    out.print(Text(f"{told['topic']}: {told['matched']} of {told['seen']} dead letters"))
    if told["foreign"]:
        out.print(Text(f"{told['foreign']} records there are no dead letters of Penstock's; they are left alone."))
    if not told["matched"]:
        return
    counts = Table("reason", "letters", "replayed", box=None, pad_edge=False)
    for reason, count in told["by_reason"].items():
        counts.add_row(Text(printable(reason)), str(count["letters"]), str(count["replayed"]))
    out.print(counts)
    if not told["letters"]:
        return
    out.print()
    letters = Table(
        "letter",
        "request at (UTC)",
        "reason",
        "stage",
        "tries",
        "bytes",
        "replayed",
        "source",
        box=None,
        pad_edge=False,
    )
    letters.add_column("message", no_wrap=True, overflow="ellipsis")
    for letter in told["letters"]:
        cells = (
            "/".join(letter["place"].split("/")[1:]),
            utc(letter["timestamp_ms"]),
            letter["reason"],
            letter["stage"],
            str(letter["attempts"]),
            str(letter["bytes"]),
            "yes" if letter["replayed_to"] else "no",
            letter["source"] or "?",
            letter["message"],
        )
        letters.add_row(*(Text(printable(cell)) for cell in cells))
    out.print(letters)
    if told["matched"] > len(told["letters"]):
        out.print(Text(f"The newest {len(told['letters'])} of {told['matched']}; --limit shows more."))


def whole(record: ConsumedRecord) -> dict[str, Any]:
    """One letter as JSON has it: nothing is left out, and no byte is changed."""
    letter = read_letter(record)
    return {
        "place": f"{record.topic}/{record.partition}/{record.offset}",
        "timestamp_ms": record.timestamp,
        "reason": letter.reason if letter else None,
        "key": _bytes(record.key),
        "headers": [[name, _bytes(value)] for name, value in record.headers or ()],
        "value": _bytes(None if _was_null(record) else record.value),
    }


def _bytes(value: bytes | None) -> Any:
    """Bytes in JSON: as text where they are, else in base 64 under that name."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def print_whole(record: ConsumedRecord, most_bytes: int) -> None:
    """One letter for people, of its value at most so many bytes."""
    out = console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("letter", f"{record.topic}/{record.partition}/{record.offset}")
    table.add_row("request at", Text(utc(record.timestamp)))
    table.add_row("key", Text("none" if record.key is None else _short(record.key)))
    for name, value in record.headers or ():
        table.add_row(Text(printable(name)), Text(_short(value or b"")))
    out.print(table)
    out.print()
    if _was_null(record) or record.value is None:
        out.print("The request had no value (null).")
        return
    # Not through the console: it would wrap and mark up what must be read as it is.
    for line in value_lines(record, most_bytes):
        click.echo(line)


def value_lines(record: ConsumedRecord, most_bytes: int) -> Iterator[str]:
    """The value of a letter: JSON indented, the rest as a dump, bounded."""
    value = record.value or b""
    head, rest = value, b""
    length = names.header(record.headers, names.HEADER_LENGTH) or b""
    if length.isdigit() and len(length) < 10 and int(length) <= len(value):  # noqa: PLR2004 - beyond any record's size
        head, rest = value[: int(length)], value[int(length) :]
    yield f"value, {len(value)} bytes:"
    pretty = _pretty(head, most_bytes)
    if pretty is None:
        yield from dump(value, most_bytes)
        return
    yield pretty
    if rest:
        yield f"then {len(rest)} bytes of tensors:"
        yield from dump(rest, most_bytes)


def _pretty(value: bytes, most: int) -> str | None:
    """JSON indented, cut to so many characters; `None` = it is none, or too much to indent."""
    if len(value) > 2**20:
        return None
    try:
        text = json.dumps(json.loads(value), indent=1, ensure_ascii=True)
    except (ValueError, RecursionError):
        return None
    return text if len(text) <= most else f"{text[:most]}\n... {len(text) - most} characters more; --bytes shows them"


def dump(value: bytes, most: int) -> Iterator[str]:
    """Offset, bytes and printable ASCII, a line for each 16."""
    for start in range(0, min(len(value), most), DUMP_WIDTH):
        part = value[start : min(start + DUMP_WIDTH, most)]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - printable ASCII
        yield f"{start:08x}  {part.hex(' '):<{DUMP_WIDTH * 3 - 1}}  {plain}"
    if len(value) > most:
        yield f"... {len(value) - most} bytes more; --bytes shows them, --value-to writes them to a file"


def _short(value: bytes) -> str:
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        return value.hex(" ")


def _was_null(record: ConsumedRecord) -> bool:
    return names.header(record.headers, names.DLQ_NULL_VALUE) is not None
