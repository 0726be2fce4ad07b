"""The versions of a model in one worker: what is served, what was before, what requests or a person ask for.

Loading, warming and letting go happen in a thread of their own (`ModelSet.look`, once every few seconds). The execute
thread only exchanges one reference for another, between two batches (`ModelSet.swap_if_ready`).
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from autoscaler.model import ShadowCounts
from inference_workers import serving_control
from inference_workers.errors import BrokenModel, ModelNotFound, RejectedInput
from inference_workers.model_notes import ModelNotes, last_served
from inference_workers.model_store import ModelStore, Resident
from inference_workers.model_versions import SETTLE_S, Directory
from inference_workers.serving_choice import choose, obstacle
from inference_workers.serving_control import BadControl, Control
from inference_workers.shadow import ShadowOrder, ShadowStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from inference_workers.model import ServedModel
    from inference_workers.model_versions import Version

log = logging.getLogger(__name__)

#: Seconds for which a version loaded for pinned requests is kept after the last of them: pins of strangers must not
#: make a worker load all day.
PIN_REST_S = 60.0
#: Seconds for which the list of versions stands that pinned requests are held against: they may come by the thousand.
PIN_LIST_S = 1.0
#: Seconds for which a pinned request waits while another version is being loaded.
PIN_WAIT_S = 10.0


class ModelSet:
    """One model's versions in one worker.

    `start`, `watch` and `look` belong to one thread, `swap_if_ready` to the execute thread; the rest may be called from
    any.

    Args:
        model_dir: `models/<name>`.
        load: makes a version of its directory and name; raises BrokenModel.
        warm: runs a loaded version as it will be run; returns rows and seconds; raises BrokenModel.
        pinned_models: most versions held in memory only because requests are pinned to them.
        state_file: where this worker says what it serves, for `penstock model`; `None` = nowhere.
        clock_s: monotonic seconds.
        directory: what looks at the versions on disk.

    """

    def __init__(
        self,
        model_dir: Path,
        *,
        load: Callable[[Path, str], ServedModel],
        warm: Callable[[ServedModel], tuple[tuple[int, float], ...]],
        pinned_models: int,
        state_file: Path | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        directory: Directory | None = None,
    ) -> None:
        self._model_dir, self._pinned_models, self._clock_s = model_dir, pinned_models, clock_s
        self._state_file = state_file
        self._directory = directory or Directory(model_dir)
        self._store = ModelStore(model_dir, load=load, warm=warm, clock_s=clock_s)
        self._notes = ModelNotes(model_dir.name, state_file)
        #: Guards the three that follow, for a moment only.
        self._lock = threading.Lock()
        self._current: Resident | None = None
        self._previous: str | None = None
        self._offered: Resident | None = None
        self._shadow: ShadowOrder | None = None
        self._control = Control()
        self._control_problem: str | None = None
        self._problem: str | None = None
        #: Held while a version is looked for or loaded for a pinned request; guards the list of them.
        self._pinning = threading.Lock()
        # Not `_directory`, whose memory of earlier looks belongs to the thread that looks.
        self._pin_directory = Directory(model_dir)
        self._pin_list: tuple[tuple[Version, ...], float] = ((), float("-inf"))
        self.shadow_stats = ShadowStats()

    # --- what is served

    @property
    def current(self) -> ServedModel:
        """The version that answers requests which name none."""
        return self._served().model

    @property
    def timings(self) -> tuple[tuple[int, float], ...]:
        """Rows and seconds of each allowed batch size of the current version, measured while warming."""
        return self._served().timings

    @property
    def problem(self) -> str | None:
        """Why something else is served than a person would expect, for people; `None` = all is well."""
        return self._problem

    @property
    def shadow(self) -> ShadowOrder | None:
        """The version to compare with, if any."""
        return self._shadow

    @property
    def loading(self) -> bool:
        """Whether a version is being loaded just now."""
        return self._store.loading

    def pinned(self, version: str) -> ServedModel:
        """The version that a request names, loaded now if it must be: then the caller waits as long as that takes.

        Args:
            version: what the request is pinned to.

        Raises:
            RejectedInput: `model-version-unavailable`: it is not there, does not load, or too many are pinned.

        """
        current = self._served()
        if version == current.model.version:
            return current.model
        resident = self._store.get(version)
        if resident is None:
            with self._pinning:
                resident = self._load_pinned(version)
        if resident.pinned_at_s is not None:
            resident.pinned_at_s = self._clock_s()
        return resident.model

    def swap_if_ready(self) -> bool:
        """Serve the version that has been offered, if one has. Call it between batches; it costs nothing otherwise.

        Returns:
            whether `current` is another one now.

        """
        if self._offered is None:
            return False
        with self._lock:
            offered, self._offered = self._offered, None
            before = self._served()
            if offered is before:
                return False
            offered.pinned_at_s = None
            self._current, self._previous = offered, before.model.version
        # Said at once: a person who rolls back the next moment must be told the truth.
        self._notes.state(self.status())
        facts = {"model": offered.model.name, "version": offered.model.version, "previous": before.model.version}
        log.info("model.swapped", extra=facts)
        return True

    # --- the thread of its own

    def start(self) -> None:
        """Load and warm what is to be served first.

        A version that does not load is passed over for the next one below it, as in a worker that runs already: a
        broken release must not keep workers from starting. A pin is not passed over. Where `serving.json` cannot be
        read, what this slot served last counts as pinned, if it is still there.

        Raises:
            ModelNotFound: no whole version, or the pinned one is not there.
            BrokenModel: none that is there loads.

        """
        # What has been imported until here stays for good: a collection, which follows each version that is let go,
        # would otherwise look through a million objects of TensorFlow and hold up every thread for it.
        gc.freeze()
        self._read_control()
        pin = self._control.pin
        if self._control_problem is not None and self._state_file is not None:
            pin = last_served(self._state_file)
        errors: list[BrokenModel] = []
        while self._current is None:
            versions = self._settled()
            choice = choose(versions, pin=pin, serving=None, failed=self._store.failed)
            if choice.version is None and pin is not None and self._control_problem is not None:
                pin = None
                continue
            if choice.version is None:
                raise errors[0] if errors else ModelNotFound(self._nothing(versions, choice.problem))
            try:
                self._current = self._store.load(choice.version)
            except BrokenModel as error:
                errors.append(error)
        # They hold on to what did not load.
        errors.clear()
        self.look()

    def watch(self, stop: threading.Event, poll_s: float) -> None:
        """Look every `poll_s` seconds until told to stop."""
        while not stop.wait(poll_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the work goes on with what is loaded
                log.error("model.look_failed", extra={"error": f"{type(error).__name__}: {error}"[:300]})  # noqa: TRY400

    def look(self) -> None:
        """Look once: at what a person says, at what lies on disk; load what is wanted, let go what is not."""
        self._read_control()
        versions = self._directory.versions()
        self._store.forget_failures(versions)
        problem = self._see_to_served(versions)
        shadow_problem = self._see_to_shadow(versions)
        self._store.release(self._wanted(versions))
        self._problem = self._control_problem or problem or shadow_problem
        self._notes.problem(self._problem)
        self._notes.shadow(self.shadow_stats.facts(), self._clock_s())
        self._notes.state(self.status())

    def shadow_counts(self) -> ShadowCounts | None:
        """What comparing has come to; `None` = nothing is compared."""
        order, facts = self._shadow, self.shadow_stats.facts()
        if order is None:
            return None
        return ShadowCounts(order.model.version, facts["same"], facts["different"], facts["failed"], facts["skipped"])

    def status(self) -> dict[str, Any]:
        """What this worker holds and why, as JSON has it."""
        shadow = self._shadow
        return {
            "model": self._model_dir.name,
            "serving": self._served().model.version,
            "previous": self._previous,
            "pin": self._control.pin,
            "loaded": self._store.digests,
            "failed": {str(number): failed.reason for number, failed in sorted(self._store.failed.items())},
            "problem": self._problem,
            "shadow": None
            if shadow is None
            else {"version": shadow.model.version, "share": shadow.share} | self.shadow_stats.facts(),
        }

    # --- pinned requests

    def _load_pinned(self, name: str) -> Resident:
        versions, listed_at_s = self._pin_list
        if self._clock_s() - listed_at_s >= PIN_LIST_S:
            versions = self._pin_directory.versions()
            self._pin_list = (versions, self._clock_s())
        version = next((version for version in versions if version.name == name), None)
        if version is None:
            there = ", ".join(version.name for version in versions[:10]) or "none"
            raise self._unavailable(name, f"there are {there}")
        reason = obstacle(version, self._store.failed)
        if reason is not None:
            raise self._unavailable(name, reason)
        held = self._store.pinned()
        used = sorted(name for name, at_s in held.items() if self._clock_s() - at_s < PIN_REST_S)
        if len(used) >= self._pinned_models:
            limit = f"worker.pinned_models={self._pinned_models}"
            raise self._unavailable(name, f"{limit} are held for pinned requests already ({', '.join(used) or 'none'})")
        try:
            resident = self._store.load(version, wait_s=PIN_WAIT_S)
        except TimeoutError:
            raise self._unavailable(name, "another version is being loaded; send it again later") from None
        except BrokenModel as error:
            raise self._unavailable(name, str(error)) from error
        resident.pinned_at_s = self._clock_s()
        return resident

    def _unavailable(self, name: str, why: str) -> RejectedInput:
        serving = self._served().model.version
        msg = f"the request is pinned to version {name}, this worker serves {serving}: {why}"
        return RejectedInput("model-version-unavailable", msg)

    # --- parts of a look

    def _read_control(self) -> None:
        try:
            self._control = serving_control.read(self._model_dir)
        except BadControl as error:
            # What was said before holds on.
            self._control_problem = str(error)
        else:
            self._control_problem = None

    def _see_to_served(self, versions: Sequence[Version]) -> str | None:
        """Load and offer what ought to be served; returns what stands in the way."""
        serving = (self._offered or self._served()).model.version
        choice = choose(versions, pin=self._control.pin, serving=serving, failed=self._store.failed)
        if choice.version is None:
            return choice.problem
        try:
            resident = self._store.load(choice.version)
        except BrokenModel as error:
            # What else may be served is found by the next look.
            return str(error)
        with self._lock:
            self._offered = resident
        return choice.problem

    def _see_to_shadow(self, versions: Sequence[Version]) -> str | None:
        """Load what is to be compared with; returns what stands in the way."""
        wanted, shadow = self._control.shadow, self._shadow
        if wanted is None:
            self._shadow = None
            return None
        if wanted.version == (self._offered or self._served()).model.version:
            self._shadow = None
            return f"version {wanted.version} is served, and so is compared with nothing"
        if shadow is not None and shadow.model.version == wanted.version:
            self._shadow = ShadowOrder(shadow.model, wanted.share)
            return None
        self._shadow = None
        version = next((version for version in versions if version.name == wanted.version), None)
        reason = "it is not there" if version is None else obstacle(version, self._store.failed)
        if version is None or reason is not None:
            return f"version {wanted.version} cannot be compared with: {reason}"
        try:
            resident = self._store.load(version)
        except BrokenModel as error:
            return f"version {wanted.version} cannot be compared with: {error}"
        self.shadow_stats.begin(wanted.version)
        self._shadow = ShadowOrder(resident.model, wanted.share)
        return None

    def _wanted(self, versions: Sequence[Version]) -> set[str]:
        """What is to stay in memory: what is served or compared, and the one before while its folder is there."""
        there = {version.name for version in versions}
        with self._lock:
            served, offered, previous = self._served(), self._offered, self._previous
        wanted = {served.model.version}
        wanted |= {order.model.version for order in (offered, self._shadow) if order is not None}
        now_s = self._clock_s()
        pinned = {name for name, at_s in self._store.pinned().items() if now_s - at_s < PIN_REST_S}
        return wanted | (({previous} if previous else set()) | pinned) & there

    def _served(self) -> Resident:
        if self._current is None:
            msg = "the set has not been started"
            raise RuntimeError(msg)
        return self._current

    def _settled(self) -> tuple[Version, ...]:
        """The versions on disk; one that is being copied is waited for only where there is no whole one."""
        while True:
            versions = self._directory.versions()
            if any(version.lacks is None for version in versions) or not any(version.settling for version in versions):
                return versions
            time.sleep(SETTLE_S / 4)

    def _nothing(self, versions: Sequence[Version], problem: str | None) -> str:
        seen = "; ".join(f"version {version.name} {version.lacks}" for version in versions[:5] if version.lacks)
        told = problem or seen or "it holds no version"
        return (
            f"pipeline.model={str(self._model_dir)!r}: {told}; expected {self._model_dir}/<number>/saved_model.pb, as "
            "`model.export(...)` of Keras 3, `tf.saved_model.save` or `penstock model import` write it, and in "
            f"{serving_control.FILE} no pin to another version"
        )
