"""Where a workload comes from: a trace of counts, a file of records, or a topic's own history."""

from __future__ import annotations

import array
import csv
import gzip
import io
import itertools
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.workload import Workload
from penstock.errors import InvalidInput
from penstock.trace_file import HEADER, LARGEST, gaps_path, read_trace
from streams.kafka.ranges import RangeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from streams.kafka.settings import KafkaSettings
    from streams.record_types import ConsumedRecord

#: Columns of a file of records, one record a line; `analyse --save` writes it.
RECORDS_HEADER = ("t_seconds", "partition", "bytes")
#: Most bins that are laid out: a year of seconds. A timestamp far off would ask for more.
MOST_BINS = 32_000_000
#: Most partitions of a file of records: more than a cluster holds.
MOST_PARTITIONS = 1_000_000
#: Records between two words on progress.
TELL_EVERY = 5000


@dataclass(frozen=True, slots=True)
class History:
    """Arrivals, and what else is known of the records."""

    name: str
    workload: Workload
    #: Bytes of each record (key, value and headers); `None` = the source has no sizes.
    sizes: NDArray[np.int64] | None = None
    #: Records by partition; `None` = the source has no partitions.
    by_partition: dict[int, int] | None = None
    #: What a reader must know before they trust the figures; a sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Records:
    """Single records: Unix milliseconds, partition and bytes of each, (n,)."""

    at_ms: NDArray[np.int64]
    partition: NDArray[np.int64]
    size: NDArray[np.int64]


def from_file(path: Path, *, starts_at_s: float | None = None, bin_s: float = 1.0) -> History:
    """Read a trace (`t_seconds,requests`) or a file of records (`t_seconds,partition,bytes`), plain or gzipped.

    Args:
        path: the file; recording gaps of a trace stand in `<name>.gaps.csv` beside it.
        starts_at_s: Unix time of its second 0, if known.
        bin_s: width of the bins that records are counted in, in seconds.

    Raises:
        InvalidInput: it cannot be read or is empty; names the line, the column and the cure.
    """
    head = _first_line(path)
    columns = tuple(cell.strip() for cell in head.split(","))
    if columns == RECORDS_HEADER:
        return _from_records_file(path, starts_at_s, bin_s)
    if columns != HEADER:
        unknown = next((name for name in columns if name not in {*HEADER, *RECORDS_HEADER}), None)
        cause = f"{path}, line 1: " + (f"unknown column {unknown[:40]!r}" if unknown else f"header {head[:80]!r}")
        raise InvalidInput(cause, f"write {','.join(HEADER)}, or {','.join(RECORDS_HEADER)} with one record a line")
    trace = read_trace(path)
    if not trace.counts.sum():
        raise InvalidInput(f"{path}: no request in {len(trace.counts)} bins", "give a trace with traffic in it")
    width_s = float(trace.widths_s.min())
    place = trace.starts_s / width_s
    if np.abs(place - np.round(place)).max() > 0.01:  # noqa: PLR2004 - a hundredth of a bin is rounding
        raise InvalidInput(f"{path}: bins of different widths", "count in bins of one width")
    place = np.round(place).astype(np.int64)
    wide = np.maximum(1, np.round(trace.widths_s / width_s)).astype(np.int64)
    first = int(place[0])
    bins = int(place[-1] + wide[-1]) - first
    _check_bins(path.name, bins)
    counts, known = np.zeros(bins), np.zeros(bins, dtype=bool)
    # A bin ends where the next begins, as in the simulator: a line that was left out makes it wider, and is no gap.
    counts_of, places = _spread(trace.counts, wide)
    counts[np.repeat(place - first, wide) + places] = counts_of
    known[np.repeat(place - first, wide) + places] = True
    return History(path.name, Workload(width_s, counts, known, starts_at_s), notes=_wider(path, wide, width_s))


def _spread(counts: NDArray[np.int64], wide: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole requests laid evenly over bins that are so many narrow ones wide: of each narrow one, and its number."""
    number = np.arange(int(wide.sum())) - np.repeat(np.cumsum(wide) - wide, wide)
    of, over = np.repeat(counts, wide), np.repeat(wide, wide)
    # All requests up to a bin's end less those up to its begin, both rounded up.
    return -(-of * (number + 1) // over) + (-of * number // over), number


def _wider(path: Path, wide: NDArray[np.int64], width_s: float) -> tuple[str, ...]:
    found = int((wide > 1).sum())
    if not found:
        return ()
    words = (
        f"{found:,} bins are wider than {width_s:g} s, up to {wide.max() * width_s:g} s: a bin ends where the next "
        f"begins, and its requests are spread over it; what was not recorded belongs into {gaps_path(path).name}"
    )
    return (words,)


def from_topic(
    kafka: KafkaSettings, topic: str, *, since_ms: int | None, until_ms: int | None, bin_s: float,
    tell: Callable[[int, int], None],
) -> tuple[History, Records]:  # fmt: skip
    """Read a topic's committed records from end to end, without a group: nothing changes on the cluster.

    Args:
        kafka: where to connect.
        topic: of the requests.
        since_ms: first timestamp wanted, Unix milliseconds; `None` = all that is kept.
        until_ms: first timestamp no longer wanted.
        bin_s: width of a bin, in seconds.
        tell: is told how many records have been read, and of how many.

    Raises:
        InvalidInput: there are no records in that time.
        StreamsError: Kafka cannot be reached, or the topic is missing.
    """
    with RangeReader(kafka, topic, client_id="penstock-analyse") as reader:
        kept, ends = reader.starts(), reader.ends()
        starts = kept if since_ms is None else {p: max(kept[p], o) for p, o in reader.since(since_ms).items()}
        whole = sum(max(0, ends[p] - starts[p]) for p in starts)
        records = _collect(reader.read(starts, {p: ends[p] for p in starts}), whole, tell)
    records, notes = _usable(records, kept, since_ms, until_ms)
    if not len(records.at_ms):
        raise InvalidInput(
            f"{topic}: no record in that time", "choose a longer --since, or wait until there is traffic"
        )
    return _binned(topic, records, sorted(kept), bin_s, notes), records


def save(path: Path, records: Records) -> None:
    """Write records as a file that `from_file` reads; seconds count from the first one."""
    out = io.StringIO()
    out.write(",".join(RECORDS_HEADER) + "\n")
    order = np.argsort(records.at_ms, kind="stable")
    since_s = (records.at_ms[order] - records.at_ms.min()) / 1000
    rows = zip(since_s.tolist(), records.partition[order].tolist(), records.size[order].tolist(), strict=True)
    csv.writer(out, lineterminator="\n").writerows((f"{at:.3f}", partition, size) for at, partition, size in rows)
    raw = out.getvalue().encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith(".gz") else raw)


def _collect(found: Iterator[ConsumedRecord], whole: int, tell: Callable[[int, int], None]) -> Records:
    at, partition, size = array.array("q"), array.array("q"), array.array("q")
    for number, record in enumerate(found, start=1):
        at.append(record.timestamp)
        partition.append(record.partition)
        heads = sum(len(name) + len(value or b"") for name, value in record.headers or ())
        size.append(len(record.key or b"") + len(record.value or b"") + heads)
        if number % TELL_EVERY == 0:
            tell(number, whole)
    tell(len(at), whole)
    return Records(*(np.array(column, dtype=np.int64) for column in (at, partition, size)))


def _usable(
    records: Records, kept: dict[int, int], since_ms: int | None, until_ms: int | None
) -> tuple[Records, tuple[str, ...]]:
    """What counts: within the time, and only from when every partition has its records."""
    notes = []
    if len(records.at_ms) and since_ms is None:
        # Retention deletes by segments, at another time in each partition: before the last of their beginnings the
        # history has holes.
        firsts = [
            int(records.at_ms[records.partition == partition].min())
            for partition, offset in kept.items()
            if offset > 0 and (records.partition == partition).any()
        ]
        if firsts and max(firsts) > records.at_ms.min():
            lost = int((records.at_ms < max(firsts)).sum())
            since_ms = max(firsts)
            notes.append(f"{lost:,} records left out: retention has deleted what came beside them in other partitions")
    keep = np.ones(len(records.at_ms), dtype=bool)
    if since_ms is not None:
        keep &= records.at_ms >= since_ms
    if until_ms is not None:
        keep &= records.at_ms < until_ms
    negative = int((records.at_ms < 0).sum())
    if negative:
        notes.append(f"{negative:,} records without a timestamp left out")
    keep &= records.at_ms >= 0
    return Records(records.at_ms[keep], records.partition[keep], records.size[keep]), tuple(notes)


def _binned(
    name: str, records: Records, partitions: Iterable[int], bin_s: float, notes: tuple[str, ...], *, clock: bool = True
) -> History:
    begin_s = math.floor(records.at_ms.min() / 1000 / bin_s) * bin_s
    place = ((records.at_ms / 1000 - begin_s) / bin_s).astype(np.int64)
    _check_bins(name, int(place.max()) + 1)
    counts = np.bincount(place).astype(np.float64)
    numbers, seen = np.unique(records.partition, return_counts=True)
    by_partition = dict.fromkeys(partitions, 0) | dict(zip(numbers.tolist(), seen.tolist(), strict=True))
    workload = Workload(bin_s, counts, np.ones(len(counts), dtype=bool), begin_s if clock else None)
    return History(name, workload, records.size, by_partition, notes)


def _from_records_file(path: Path, starts_at_s: float | None, bin_s: float) -> History:
    at, partition, size = array.array("q"), array.array("q"), array.array("q")
    for line, row in _rows(path):
        if not row:
            continue
        try:
            seconds, number, length = float(row[0]), int(row[1]), int(row[2])
        except (ValueError, IndexError) as error:
            raise InvalidInput(
                f"{path}, line {line}: {','.join(row)[:80]!r}", f"give {','.join(RECORDS_HEADER)}, three numbers"
            ) from error
        inside = 0 <= seconds < 1e12 and 0 <= number < MOST_PARTITIONS and 0 <= length < LARGEST  # noqa: PLR2004
        if not inside or len(row) != len(RECORDS_HEADER):
            raise InvalidInput(
                f"{path}, line {line}: {','.join(row)[:80]!r}",
                f"give {','.join(RECORDS_HEADER)}, each 0 or more, and partitions below {MOST_PARTITIONS}",
            )
        at.append(round(seconds * 1000))
        partition.append(number)
        size.append(length)
    if not at:
        raise InvalidInput(f"{path}: no record in it", "give a file with traffic in it")
    columns = [np.array(column, dtype=np.int64) for column in (at, partition, size)]
    records = Records(columns[0] + round((starts_at_s or 0.0) * 1000), columns[1], columns[2])
    return _binned(path.name, records, range(max(partition) + 1), bin_s, (), clock=starts_at_s is not None)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines behind the header with their numbers.

    Raises:
        InvalidInput: the file is no CSV.
    """
    rows = csv.reader(io.StringIO(_text(path)))
    try:
        next(rows)
        yield from enumerate(rows, start=2)
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {rows.line_num}: {error}", f"give {','.join(RECORDS_HEADER)}") from error


def _check_bins(name: str, bins: int) -> None:
    if bins > MOST_BINS:
        raise InvalidInput(f"{name}: {bins:,} bins", f"a larger --bin, or --since, must leave at most {MOST_BINS:,}")


def _first_line(path: Path) -> str:
    return next(itertools.chain(_text(path).splitlines()[:1], [""]))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.name.endswith(".gz") else raw
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidInput(f"{path}: {said}", "give a readable .csv or .csv.gz file") from error
