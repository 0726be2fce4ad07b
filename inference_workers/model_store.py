"""The versions of a model that are in memory, warm, and those that would not go there. Thread-safe."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference_workers.errors import BrokenModel
from inference_workers.model_versions import digest
from inference_workers.serving_choice import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from inference_workers.model import ServedModel
    from inference_workers.model_versions import Version

log = logging.getLogger(__name__)

#: Seconds for which a thread may keep Python to itself while a version is loaded; Python's own default is ten times
#: that, and each batch would wait so long several times.
_SWITCH_S = 0.0005


@dataclass(slots=True, eq=False)
class Resident:
    """A version in memory, warm."""

    model: ServedModel
    digest: str
    #: Rows and seconds of each allowed batch size, measured while warming.
    timings: tuple[tuple[int, float], ...]
    #: Monotonic seconds of the last request pinned to it; `None` = it was not loaded for one.
    pinned_at_s: float | None = None


class ModelStore:
    """Loads versions, one at a time, and lets them go.

    Args:
        model_dir: `models/<name>`.
        load: makes a version of its directory and name; raises BrokenModel.
        warm: runs a loaded version as it will be run; returns rows and seconds; raises BrokenModel.
        clock_s: monotonic seconds.

    """

    def __init__(
        self,
        model_dir: Path,
        *,
        load: Callable[[Path, str], ServedModel],
        warm: Callable[[ServedModel], tuple[tuple[int, float], ...]],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model_dir, self._load, self._warm, self._clock_s = model_dir, load, warm, clock_s
        #: Held while a version is loaded: two at once would need the memory of two, and of what loading takes.
        self._loading = threading.Lock()
        #: Held for a moment only; guards what follows.
        self._lock = threading.Lock()
        self._residents: dict[str, Resident] = {}
        self._failed: dict[int, Failed] = {}
        #: Whether something was let go, or has failed, that only a collection frees.
        self._circles = False

    @property
    def loading(self) -> bool:
        """Whether a version is being loaded just now."""
        return self._loading.locked()

    def get(self, name: str) -> Resident | None:
        """A version that is in memory; `None` = it is not."""
        return self._residents.get(name)

    def pinned(self) -> dict[str, float]:
        """Versions held because requests were pinned to them, and when the last one was."""
        with self._lock:
            return {name: one.pinned_at_s for name, one in self._residents.items() if one.pinned_at_s is not None}

    @property
    def digests(self) -> dict[str, str]:
        """The versions in memory and their digests."""
        with self._lock:
            return {name: resident.digest for name, resident in sorted(self._residents.items())}

    @property
    def failed(self) -> Mapping[int, Failed]:
        """The versions that did not load or warm. A copy."""
        with self._lock:
            return dict(self._failed)

    def load(self, version: Version, *, wait_s: float = -1) -> Resident:
        """A version, warm: loaded now unless it is there already. What fails is remembered with its files.

        Args:
            version: what to load.
            wait_s: most seconds to wait while another one is being loaded; -1 = as long as it takes.

        Raises:
            BrokenModel: it does not load or warm.
            TimeoutError: another one is still being loaded.

        """
        if not self._loading.acquire(timeout=wait_s):
            raise TimeoutError
        try:
            if known := self._residents.get(version.name):
                return known
            with _in_small_steps():
                return self._load_now(version)
        finally:
            self._loading.release()

    def _load_now(self, version: Version) -> Resident:
        started_s = self._clock_s()
        try:
            model = self._load(self._model_dir, version.name)
            loaded_s = self._clock_s()
            resident = Resident(model, digest(version), self._warm(model))
        except Exception as error:
            reason = str(error) if isinstance(error, BrokenModel) else f"{type(error).__name__}: {error}"[:300]
            with self._lock:
                self._failed[version.number] = Failed(version.files, reason)
                self._circles = True
            facts = {"model": self._model_dir.name, "version": version.name, "error": reason}
            log.error("model.failed", extra=facts)  # noqa: TRY400 - the message says it all
            if isinstance(error, BrokenModel):
                raise
            raise BrokenModel(f"version {version.name} at {version.path}: {reason}; export it again") from error
        with self._lock:
            self._residents[version.name] = resident
        log.info(
            "model.loaded",
            extra={
                "model": model.name,
                "version": version.name,
                "digest": resident.digest,
                "bytes": version.bytes,
                "load_s": round(loaded_s - started_s, 3),
                "warm_s": round(self._clock_s() - loaded_s, 3),
            },
        )
        return resident

    def forget_failures(self, versions: Sequence[Version]) -> None:
        """Let versions be tried again whose files are not those that failed."""
        files = {version.number: version.files for version in versions}
        with self._lock:
            for number in [number for number, failed in self._failed.items() if files.get(number) != failed.files]:
                del self._failed[number]

    def release(self, keep: Collection[str]) -> None:
        """Let go of all others, and of what has failed; takes as long as freeing their memory does."""
        with self._lock:
            gone = [name for name in self._residents if name not in keep]
            for name in gone:
                del self._residents[name]
            circles, self._circles = self._circles or bool(gone), False
        if circles:
            # Loaded graphs, whole or not, refer to themselves in circles: only a collection frees their variables, and
            # by itself it looks too seldom (`worker.COLLECT_AFTER`).
            gc.collect()
        if gone:
            log.info("model.released", extra={"model": self._model_dir.name, "versions": gone})


@contextmanager
def _in_small_steps() -> Iterator[None]:
    """While this holds, threads hand Python to each other more often: batches go on beside a load."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(_SWITCH_S, before_s))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
