"""Reading and checking a trace file: `t_seconds,requests`, with its recording gaps."""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.trace import Trace
from penstock.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Numbers = NDArray[np.float64]

HEADER = ("t_seconds", "requests")
GAPS_HEADER = ("gap_start_s", "gap_len_s")

#: Largest number taken, in seconds or requests: beyond it a double no longer counts in ones.
LARGEST = 1e15


def read_trace(path: Path) -> Trace:
    """Read `t_seconds,requests` (`.csv` or `.csv.gz`) and the `.gaps.csv` beside it, if there is one.

    A bin ends where the next begins; the last is as wide as the one before. Bins that touch a recording gap are left
    out and the time axis is joined there: a gap is not silence.

    Raises:
        TraceError: the file cannot be read or a line is wrong; the message names file, line, value and cure.
    """
    lines, starts, requests = _read_pairs(path, HEADER)
    if len(starts) < 2:  # noqa: PLR2004 - one bin has no width
        raise TraceError(f"{path}: {len(starts)} data line(s)", "a bin ends where the next begins: give two or more")
    if starts[0] < 0:
        raise TraceError(
            f"{path}, line {lines[0]}: t_seconds={starts[0]:g}", "count from the start of the trace, 0 or more"
        )
    for i in np.flatnonzero(np.diff(starts) <= 0)[:1] + 1:
        cause = f"{path}, line {lines[i]}: t_seconds={starts[i]:g} is not after the line before ({starts[i - 1]:g})"
        raise TraceError(cause, "sort the bins by time, one line each")
    for i in np.flatnonzero((requests < 0) | (requests != np.floor(requests)))[:1]:
        cause = f"{path}, line {lines[i]}: requests={requests[i]:g}"
        raise TraceError(cause, "a bin holds a whole number of requests, 0 or more: give counts, not rates")
    widths = np.diff(starts)
    widths = np.append(widths, widths[-1])
    keep = np.ones(len(starts), dtype=bool)
    for start, length in _read_gaps(path):
        keep &= ~((starts < start + length) & (starts + widths > start))
    if not keep.any():
        raise TraceError(f"{gaps_path(path)} covers every bin of {path}", "correct the gaps or take the file away")
    counts = requests.astype(np.int64)
    return Trace(path.name, starts[keep], widths[keep], counts[keep], float(widths[~keep].sum()))


def gaps_path(path: Path) -> Path:
    """Where the recording gaps of a trace stand: `<name>.gaps.csv` beside it."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + ".gaps.csv")


def _read_gaps(path: Path) -> list[tuple[float, float]]:
    beside = gaps_path(path)
    if not beside.is_file():
        return []
    lines, starts, lengths = _read_pairs(beside, GAPS_HEADER)
    for i in np.flatnonzero(lengths <= 0)[:1]:
        cause = f"{beside}, line {lines[i]}: gap_len_s={lengths[i]:g}"
        raise TraceError(cause, "a gap lasts more than 0 seconds: correct or drop the line")
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


def _read_pairs(path: Path, header: tuple[str, str]) -> tuple[Sequence[int], Numbers, Numbers]:
    """Two columns of numbers under `header`, with the line each stands on (the header is line 1)."""
    rows = _read_text(path).splitlines()
    if not rows or tuple(cell.strip() for cell in rows[0].split(",")) != header:
        found = rows[0][:80] if rows else ""
        raise TraceError(f"{path}, line 1: header {found!r}", f"the first line must be {','.join(header)}")
    body = rows[1:]
    # A month of seconds has millions of lines: one conversion for all of them, line by line only where that fails.
    if body and all(row.count(",") == 1 for row in body):
        with contextlib.suppress(ValueError):
            flat = np.fromiter(map(float, ",".join(body).split(",")), np.float64, 2 * len(body))
            if (np.abs(flat) <= LARGEST).all():
                return range(2, len(rows) + 1), flat[0::2], flat[1::2]
    lines, pairs = [], []
    for line, row in enumerate(body, start=2):
        if not row.strip():
            continue
        cells = row.split(",")
        if len(cells) != len(header):
            raise TraceError(f"{path}, line {line}: {len(cells)} value(s) in {row[:80]!r}", f"give {','.join(header)}")
        lines.append(line)
        pairs.append([_number(path, line, name, cell) for name, cell in zip(header, cells, strict=True)])
    columns = np.array(pairs, dtype=np.float64).reshape(-1, len(header))
    return lines, columns[:, 0], columns[:, 1]


def _number(path: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise TraceError(
            f"{path}, line {line}: {name}={cell[:40]!r} is no usable number", "write it as digits, e.g. 12"
        )
    return value


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}", "give a readable .csv or .csv.gz file") from error
    if path.name.endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise TraceError(f"{path}: not a whole gzip file ({error})", "copy it again, or unpack it") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: byte {error.start} is not UTF-8 text", "save the trace as plain CSV") from error
