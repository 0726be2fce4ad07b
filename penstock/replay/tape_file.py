"""A tape as a file: a line about it, then a line of JSON for each record. `.gz` at the end of its name packs it."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from penstock.errors import InvalidInput
from penstock.replay.course import Taped
from streams import telemetry
from streams.errors import MalformedTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

#: Raised where a file of today could be misread by a reader of yesterday.
VERSION = 1
_CURE = "name a file that `penstock replay --save` has written"


@dataclass(frozen=True, slots=True)
class Heading:
    """What a tape is of."""

    pipeline: str
    #: It holds all that was written since this time, in Unix seconds.
    whole_from_s: float
    #: The claim that it was read for; what was decided before it is there for what came of it. 0 = all.
    epoch: int = 0


class TapeWriter:
    """Writes a tape; the file is there when all of it is. Use it in a `with`.

    Args:
        path: The file; what was there is replaced at the end.
        heading: What the tape is of.
    """

    def __init__(self, path: Path, heading: Heading) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._heading = heading
        self._out: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._out = _opened(self._part, "wt", packed=self._path.suffix == ".gz")
        except OSError as error:
            raise InvalidInput(f"--save {self._path}: {error.strerror}", "name a file that can be written") from error
        about = {"penstock_tape": VERSION, "pipeline": self._heading.pipeline}
        self._line({**about, "whole_from_s": self._heading.whole_from_s, "epoch": self._heading.epoch})
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._out is not None:
            self._out.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, entry: Taped) -> None:
        """Add one record."""
        record = json.loads(telemetry.encode(entry.record))
        self._line({"offset": entry.offset, "timestamp_ms": entry.timestamp_ms, "record": record})

    def _line(self, values: dict[str, Any]) -> None:
        assert self._out is not None  # noqa: S101 - entered first
        self._out.write(json.dumps(values, separators=(",", ":")) + "\n")


def read_heading(path: Path) -> Heading:
    """What a file is of.

    Raises:
        InvalidInput: it cannot be read, or is no tape.
    """
    try:
        with _opened(path, "rt", packed=path.suffix == ".gz") as lines:
            about = json.loads(lines.readline())
        if about["penstock_tape"] != VERSION:
            raise InvalidInput(
                f"{path}: a tape of version {about['penstock_tape']}", f"this version reads version {VERSION}"
            )
        return Heading(str(about["pipeline"]), float(about["whole_from_s"]), int(about["epoch"]))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}", _CURE) from error
    except (ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} is no tape", _CURE) from error


def read_records(path: Path) -> Iterator[tuple[Taped, float]]:
    """The records in order, each with the part (0-1) of the file that is read by then.

    Raises:
        InvalidInput: a line is no record, or stands before an older one; file and line are named.
    """
    whole = max(1, path.stat().st_size)
    number, last = 1, -1
    try:
        with path.open("rb") as raw, _text(raw, packed=path.suffix == ".gz") as lines:
            next(lines, None)
            for number, line in enumerate(lines, 2):
                fields = json.loads(line)
                entry = Taped(int(fields["offset"]), int(fields["timestamp_ms"]), telemetry.of_fields(fields["record"]))
                if entry.offset <= last:
                    raise InvalidInput(
                        f"{path}, line {number}: offset={entry.offset} is not above {last} before it", _CURE
                    )
                last = entry.offset
                yield entry, min(1.0, raw.tell() / whole)
    except (ValueError, KeyError, TypeError, MalformedTelemetry) as error:
        raise InvalidInput(f"{path}, line {number}: no record ({error})", _CURE) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path}, after line {number}: {error}", "copy or save the tape again") from error


def _opened(path: Path, mode: str, *, packed: bool) -> IO[str]:
    return gzip.open(path, mode, encoding="utf-8") if packed else path.open(mode, encoding="utf-8")  # type: ignore[return-value]


def _text(raw: IO[bytes], *, packed: bool) -> IO[str]:
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8")
