"""From a workload to what a plan is made for: the rate of each period, the topics' bytes, and the first limit met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.workload import Workload
from autoscaler.simulation.arrivals import CLIENT_CV, SMOOTH_S, WIDE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.planning.fleet_program import Kind

    Floats = NDArray[np.float64]

#: Window whose highest mean rate a period is sized for, in seconds: shorter bursts are the queue's business (its
#: dispersion), longer ones fill it.
WINDOW_S = 60.0
#: Bytes that a record costs beside key, value and headers when it is alone in its batch: 61 for the batch's head, about
#: 9 for lengths and offsets (Kafka's record format 2). Batches of more share the head: an upper bound.
FRAME_BYTES = 70
#: Numbers of partitions that are looked at: those that many counts of workers divide.
PARTITION_CHOICES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def scaled(workload: Workload, factor: float) -> Workload:
    """The load of `factor` times as many users.

    More users share what lasts; the second in which one of them asks averages out. So counts are smoothed over half a
    minute before they are multiplied, just as the simulator draws them (`simulation.arrivals`). Fewer users are a
    thinned load, whose expectation is a plain multiple.
    """
    if factor <= 1 or workload.width_s >= SMOOTH_S:
        return Workload(workload.width_s, workload.counts * factor, workload.known, workload.starts_at_s)
    bins = 2 * round((SMOOTH_S / workload.width_s - 1) / 2) + 1
    window = np.ones(bins)
    counts = np.where(workload.known, workload.counts, 0.0)
    sums, seen = _filtered(counts, window), _filtered(workload.known.astype(np.float64), window)
    smooth = np.where(workload.known, sums / np.maximum(seen, 1e-12), 0.0)
    return Workload(workload.width_s, smooth * factor, workload.known, workload.starts_at_s)


def dispersion(local: float | None, width_s: float, factor: float) -> float:
    """Index of dispersion to size for, at least 1.

    Args:
        local: measured at the finest scale; `None` = the record is too short to tell.
        width_s: bins of the record; wide ones hide it, and services show about 6 (`CLIENT_CV` squared).
        factor: of the load: above 1 chance averages out to Poisson, below it thins: 1 + factor (D - 1).
    """
    if width_s >= WIDE_S:
        return CLIENT_CV**2
    if factor > 1 or local is None:
        return 1.0
    return max(1.0, 1 + factor * (local - 1))


def period_rates(workload: Workload, period_s: float) -> Floats:
    """The rate each period is sized for: its highest mean over `WINDOW_S`; NaN = less than half of it was recorded.

    Windows lie inside their period; a period shorter than a window is taken whole.
    """
    size = max(1, round(period_s / workload.width_s))
    window = max(1, min(size, round(WINDOW_S / workload.width_s)))
    counts, known = workload.counts, workload.known
    rates = np.full(-(-len(counts) // size), np.nan)
    for period in range(len(rates)):
        part = slice(period * size, (period + 1) * size)
        seen = known[part]
        if seen.sum() * 2 < min(size, len(seen)):
            continue
        width = min(window, len(seen))
        sums = np.convolve(np.where(seen, counts[part], 0.0), np.ones(width), "valid")
        whole = np.convolve(seen.astype(np.float64), np.ones(width), "valid")
        covered = whole >= width / 2
        if covered.any():
            rates[period] = float((sums[covered] / whole[covered]).max() / workload.width_s)
    return rates


@dataclass(frozen=True, slots=True)
class TopicBill:
    """What the topics need of the brokers."""

    #: Bytes that a request and a result take in the log, frames included.
    request_bytes: float
    result_bytes: float
    #: All copies of requests and results that are kept, in bytes.
    storage_bytes: float
    #: Bytes a second at the peak over all brokers: written by clients, copied between brokers, read by clients.
    written_per_s: float
    copied_per_s: float
    read_per_s: float
    #: Of the busiest direction (in or out) of one broker, leaders spread evenly.
    broker_per_s: float


def topic_bill(
    *, kept_per_s: float, peak_per_s: float, request_bytes: float, result_bytes: float, retention_hours: float,
    copies: int, brokers: int, readers: int,
) -> TopicBill:  # fmt: skip
    """Storage and network of the requests and results topics.

    Args:
        kept_per_s: mean rate over the retention, records a second.
        peak_per_s: highest rate, records a second.
        request_bytes: key, value and headers of a request.
        result_bytes: the same of a result.
        retention_hours: how long both are kept.
        copies: replication factor.
        brokers: that share the partitions.
        readers: groups that read the results; requests are read by the workers once.
    """
    request, result = request_bytes + FRAME_BYTES, result_bytes + FRAME_BYTES
    written = peak_per_s * (request + result)
    copied = written * (copies - 1)
    read = peak_per_s * (request + readers * result)
    busiest = max(written + copied, copied + read) / brokers
    storage = kept_per_s * (request + result) * retention_hours * 3600 * copies
    return TopicBill(request, result, storage, written, copied, read, busiest)


def choose_partitions(peak_per_s: float, kinds: Sequence[Kind], head_room: float) -> int | None:
    """The fewest partitions that leave room: `None` = not even the most are enough.

    At least `head_room` times the workers that the peak needs on any one type, since more partitions later move keys;
    and no type may lose more than a tenth to whole partitions: floor(P lambda*/lambda) of them instead of P
    lambda*/lambda.
    """
    useful = [kind for kind in kinds if kind.highest_per_s > 0 and kind.max_workers > 0]
    for partitions in PARTITION_CHOICES:
        for kind in useful:
            exact = partitions * kind.highest_per_s / max(peak_per_s, 1e-12)
            held = min(partitions, int(exact + 1e-9))
            if held < 1:
                break
            needed = -(-partitions // held)
            lost = 1 - held / min(exact, partitions)
            if partitions < head_room * needed or (lost > 0.1 and needed > 1):  # noqa: PLR2004 - a tenth, see above
                break
        else:
            if useful:
                return partitions
    return None


@dataclass(frozen=True, slots=True)
class Limit:
    """What gives way as the load grows."""

    name: str
    #: Load at which it is reached, in multiples of the planned one; `None` = not known, nothing was said of it.
    times: float | None
    words: str


def limits(
    *, peak_per_s: float, kinds: Sequence[Kind], partitions: int, bill: TopicBill, broker_bytes_per_s: float,
    disk_bytes: float | None, brokers: int,
) -> tuple[Limit, ...]:  # fmt: skip
    """The limits in the order in which growth meets them.

    Args:
        peak_per_s: planned peak, records a second.
        kinds: worker types with their most workers.
        partitions: of the requests topic.
        bill: what the topics need at the planned load.
        broker_bytes_per_s: network of one broker in one direction.
        disk_bytes: of one broker; `None` = not known.
        brokers: that share the partitions.
    """
    best = max(kind.highest_per_s for kind in kinds)
    by_partitions = partitions * best / peak_per_s
    words = ", ".join(f"{kind.max_workers} {kind.name}" for kind in kinds)
    by_workers = _most_with_all(peak_per_s, kinds, partitions)
    found = [
        Limit("partitions", by_partitions, f"{partitions} partitions, each alone on a worker with {best:.4g}/s"),
        Limit(
            "broker network",
            broker_bytes_per_s / bill.broker_per_s,
            f"{bill.broker_per_s / 1e6:.3g} of {broker_bytes_per_s / 1e6:.4g} MB/s on each of {brokers} brokers",
        ),
    ]
    if by_workers < 0.99 * by_partitions:
        found.append(Limit("workers", by_workers, f"all of {words} at their most"))
    if disk_bytes is None:
        found.append(
            Limit("broker disk", None, f"{bill.storage_bytes / brokers / 1e9:.3g} GB a broker; its size is not given")
        )
    else:
        held = bill.storage_bytes / brokers
        found.append(Limit("broker disk", disk_bytes / held, f"{held / 1e9:.3g} of {disk_bytes / 1e9:.4g} GB a broker"))
    return tuple(sorted(found, key=lambda limit: (limit.times is None, limit.times)))


def _most_with_all(peak_per_s: float, kinds: Sequence[Kind], partitions: int) -> float:
    """Growth up to which all workers together, the fastest first, hold all partitions; bisection, to a thousandth."""

    def holds(times: float) -> bool:
        left, places = partitions, partitions
        for kind in sorted(kinds, key=lambda kind: -kind.highest_per_s):
            used = min(kind.max_workers, places)
            left -= used * int(min(partitions, partitions * kind.highest_per_s / (peak_per_s * times) + 1e-9))
            places -= used
        return left <= 0

    low, high = 1e-3, 1e6
    while high / low > 1.001:  # noqa: PLR2004 - a thousandth
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _filtered(values: Floats, window: Floats) -> Floats:
    half = len(window) // 2
    sums = np.concatenate(([0.0], np.cumsum(np.pad(values, half))))
    out: Floats = sums[len(window) :] - sums[: -len(window)]
    return out
