"""A share of the requests, computed by another version too: compared, counted, never delivered.

It is done by the execute thread while nothing waits for the device, so that no answer is later for it by more than one
such batch; while requests wait, what was to be compared is passed over and counted as skipped.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference_workers import batching
from inference_workers.errors import BrokenModel, RejectedInput
from inference_workers.model import ComputeFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference_workers.model import ServedModel

log = logging.getLogger(__name__)

Tensors = Mapping[str, NDArray[Any]]

#: Batches that wait for a quiet moment; more are not worth their memory, a share is compared anyway.
MOST_WAITING = 2


@dataclass(frozen=True, slots=True)
class ShadowOrder:
    """The version to compare with, and of how many requests."""

    model: ServedModel
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A request as it was answered."""

    request_id: str
    inputs: Tensors
    outputs: Tensors
    rows: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How another version's outputs differ from those that were delivered."""

    same: bool
    #: Largest absolute difference of two finite numbers; `None` = nothing to compare.
    largest_difference: float | None = None
    #: Rows whose largest element stands in another place, and rows looked at: of outputs that are scores of classes.
    argmax_different: int = 0
    argmax_rows: int = 0


def chosen(request_id: str, share: float) -> bool:
    """Whether a request is among the share: always the same answer for the same id, in every worker."""
    return zlib.crc32(request_id.encode()) < share * 2**32


def compare(served: Tensors, shadow: Tensors, *, rtol: float, atol: float) -> Comparison:
    """Compare a request's outputs.

    Args:
        served: what was delivered.
        shadow: what the other version computed.
        rtol: allowed difference relative to what was delivered.
        atol: allowed absolute difference; both as in `numpy.allclose`, with NaN equal to NaN.

    """
    if served.keys() != shadow.keys():
        return Comparison(same=False)
    same, largest, different, rows = True, None, 0, 0
    for name, expected in served.items():
        found = shadow[name]
        if found.shape != expected.shape or found.dtype.kind != expected.dtype.kind:
            same = False
            continue
        if expected.dtype.kind not in "fiub":
            same = same and bool(np.array_equal(expected, found))
            continue
        wide, other = expected.astype(np.float64), found.astype(np.float64)
        same = same and bool(np.allclose(other, wide, rtol=rtol, atol=atol, equal_nan=True))
        finite = np.isfinite(wide) & np.isfinite(other)
        if finite.any():
            largest = max(largest or 0.0, float(np.abs(wide[finite] - other[finite]).max()))
        if expected.dtype.kind == "f" and expected.ndim > 1 and expected.shape[-1] > 1:
            places = expected.reshape(-1, expected.shape[-1]).argmax(1), found.reshape(-1, found.shape[-1]).argmax(1)
            different += int((places[0] != places[1]).sum())
            rows += len(places[0])
    return Comparison(same, largest, different, rows)


class ShadowStats:
    """What the comparisons came to since a version became the shadow. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin(None)

    def begin(self, version: str | None) -> None:
        """Count anew, for another version."""
        with self._lock:
            self.version = version
            self._same = self._different = self._failed = self._skipped = 0
            self._argmax_different = self._argmax_rows = 0
            self._largest: float | None = None

    def add(self, comparison: Comparison) -> None:
        """One request was compared."""
        with self._lock:
            self._same += comparison.same
            self._different += not comparison.same
            self._argmax_different += comparison.argmax_different
            self._argmax_rows += comparison.argmax_rows
            if comparison.largest_difference is not None:
                self._largest = max(self._largest or 0.0, comparison.largest_difference)

    def failed(self, requests: int) -> None:
        """So many requests the shadow version could not compute."""
        with self._lock:
            self._failed += requests

    def skipped(self, requests: int) -> None:
        """So many requests were passed over, since others waited."""
        with self._lock:
            self._skipped += requests

    def facts(self) -> dict[str, Any]:
        """The counts, as JSON has them."""
        with self._lock:
            return {
                "compared": self._same + self._different,
                "same": self._same,
                "different": self._different,
                "failed": self._failed,
                "skipped": self._skipped,
                "largest_difference": self._largest,
                "argmax_different": self._argmax_different,
                "argmax_rows": self._argmax_rows,
            }


class ShadowRunner:
    """Belongs to the execute thread.

    Args:
        stats: where the outcomes are counted.
        sizes: allowed batch sizes, in rows.
        rtol: see `compare`.
        atol: see `compare`.

    """

    def __init__(self, stats: ShadowStats, *, sizes: Sequence[int], rtol: float, atol: float) -> None:
        self._stats, self._sizes, self._rtol, self._atol = stats, sizes, rtol, atol
        self._waiting: deque[tuple[ServedModel, list[Served]]] = deque()

    def offer(self, model: ServedModel, served: list[Served]) -> None:
        """Keep chosen requests of a batch that has been handed to delivery, for a quiet moment."""
        if len(self._waiting) >= MOST_WAITING:
            self._stats.skipped(len(served))
        else:
            self._waiting.append((model, served))

    def step(self, *, backlog: Callable[[], int]) -> bool:
        """Compare one kept batch if nothing waits. Raises nothing: a broken shadow is a finding, not a failure.

        Args:
            backlog: how many records wait for the device.

        Returns:
            whether something was compared.

        """
        if not self._waiting or backlog():
            return False
        model, served = self._waiting.popleft()
        try:
            self._compare(model, served)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answers that count are on their way
            self._stats.failed(len(served))
            log.debug("model.shadow_failed", extra={"error": f"{type(error).__name__}: {error}"[:200]})
        return True

    def _compare(self, model: ServedModel, served: Sequence[Served]) -> None:
        group: list[tuple[Served, dict[str, NDArray[Any]]]] = []
        rows = 0
        for one in served:
            try:
                inputs = model.check(one.inputs)
            except RejectedInput:
                # Its signature is another one.
                self._stats.failed(1)
                continue
            if group and rows + one.rows > self._sizes[-1]:
                self._compare_together(model, group)
                group, rows = [], 0
            group.append((one, inputs))
            rows += one.rows
        if group:
            self._compare_together(model, group)

    def _compare_together(self, model: ServedModel, group: Sequence[tuple[Served, dict[str, NDArray[Any]]]]) -> None:
        total = sum(one.rows for one, _ in group)
        size = batching.padded_size(total, self._sizes) if total <= self._sizes[-1] else total
        try:
            outputs = model.run(batching.stack([inputs for _, inputs in group], total, size))
        except (ComputeFailed, BrokenModel):
            self._stats.failed(len(group))
            return
        at = 0
        for one, _ in group:
            found = {name: array[at : at + one.rows] for name, array in outputs.items()}
            self._stats.add(compare(one.outputs, found, rtol=self._rtol, atol=self._atol))
            at += one.rows
