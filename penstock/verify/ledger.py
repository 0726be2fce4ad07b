"""What was sent against what came back, by request id. Pure: forge a ledger to test it.

- lost: a request that the broker has (or has acknowledged) without a result;
- late: a request whose result came after the drain's deadline;
- duplicated: a request with more results than times it was written (once, unless the sender's retry doubled it);
- out of order: a result behind that of a later request of its partition, or in another partition than its request;
- failed: a result that is not `ok`, which no request of the load deserves;
- wrong: a result whose value is not what the model gives for that very request;
- unknown: a result for which nobody asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.verify.timeline import longest_silence_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


#: Fields of a verdict that are empty where all is well.
VIOLATIONS = ("lost", "late", "duplicated", "out_of_order", "failed", "wrong", "unknown")


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, as its sender knows it."""

    request_id: str
    partition: int
    #: When it was meant to be sent, in seconds of a clock that runs evenly.
    intended_at_s: float
    #: Whether the broker acknowledged it.
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Written:
    """One record of the requests topic."""

    request_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Result:
    """One record of the results topic, as a `read_committed` reader sees it."""

    request_id: str
    partition: int
    #: `ok`, `failed` or `expired`.
    status: str
    #: Whether its value is the right one for its request.
    right: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ledger's bottom line."""

    #: Requests that the broker has or has acknowledged.
    sent: int
    #: Requests whose hand-over failed: neither acknowledged nor in the topic. They count nowhere else.
    unsent: int
    #: Requests with a right `ok` result.
    ok: int
    lost: tuple[str, ...]
    late: tuple[str, ...]
    duplicated: tuple[str, ...]
    out_of_order: tuple[str, ...]
    failed: tuple[str, ...]
    wrong: tuple[str, ...]
    unknown: tuple[str, ...]
    #: Requests that the sender's own retry wrote twice; their results are no duplicates.
    sent_twice: int
    #: Longest silence of one partition that had requests waiting; see `timeline.longest_silence_s`.
    unavailable_s: float

    @property
    def clean(self) -> bool:
        """Whether each request has exactly one right result, in its place."""
        return not any(getattr(self, name) for name in VIOLATIONS)


def settle(
    sent: Sequence[Sent],
    *,
    written: Sequence[Written],
    results: Sequence[Result],
    seen_at_s: Mapping[str, float],
    until_s: float,
) -> Verdict:
    """Settle the ledger of one run.

    Args:
        sent: each request that was to be sent.
        written: the requests topic, in the order of each partition.
        results: the results topic, in the order of each partition, doubles included.
        seen_at_s: when the result of a request was first seen live, by the clock of `Sent.intended_at_s`.
        until_s: the drain's deadline, or when all was seen.
    """
    known = {request.request_id for request in sent}
    times_written = Counter(record.request_id for record in written)
    answered = Counter(result.request_id for result in results)
    due = [request for request in sent if request.acknowledged or request.request_id in times_written]
    by_partition: dict[int, list[tuple[float, float | None]]] = defaultdict(list)
    for request in due:
        by_partition[request.partition].append((request.intended_at_s, seen_at_s.get(request.request_id)))
    good = {result.request_id for result in results if result.right and result.status == "ok"}
    return Verdict(
        sent=len(due),
        unsent=len(sent) - len(due),
        ok=sum(request.request_id in good for request in due),
        lost=_sorted(request.request_id for request in due if request.request_id not in answered),
        late=_sorted(
            request.request_id
            for request in due
            if request.request_id in answered and request.request_id not in seen_at_s
        ),
        duplicated=_sorted(name for name, times in answered.items() if times > max(times_written[name], 1)),
        out_of_order=_sorted(_misplaced(written, results)),
        failed=_sorted({result.request_id for result in results if result.status != "ok"}),
        wrong=_sorted({result.request_id for result in results if result.status == "ok" and not result.right}),
        unknown=_sorted(set(answered) - known),
        sent_twice=sum(times > 1 for name, times in times_written.items() if name in known),
        unavailable_s=max((longest_silence_s(waits, until_s) for waits in by_partition.values()), default=0.0),
    )


def _misplaced(written: Sequence[Written], results: Sequence[Result]) -> set[str]:
    """Requests whose first result stands behind that of a later request, or in another partition."""
    place: dict[str, tuple[int, int]] = {}
    length: Counter[int] = Counter()
    for record in written:
        # Of a request that the sender's retry wrote twice the first place counts, as of its results.
        place.setdefault(record.request_id, (record.partition, length[record.partition]))
        length[record.partition] += 1
    found: set[str] = set()
    first: set[str] = set()
    furthest: dict[int, int] = {}
    for result in results:
        name = result.request_id
        if name in first or name not in place:
            continue
        first.add(name)
        partition, position = place[name]
        if result.partition != partition or position < furthest.get(partition, -1):
            found.add(name)
        furthest[partition] = max(position, furthest.get(partition, -1))
    return found


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (len(name), name)))
