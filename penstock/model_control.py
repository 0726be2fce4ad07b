"""Versions on disk, what a person has said about them and what workers say: put together for `penstock model`."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from inference_workers import serving_control
from inference_workers.model_versions import Directory
from inference_workers.serving_control import BadControl, Control, Shadow, checked_share
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference_workers.model_versions import Version


class NoSuchVersion(PenstockError):
    """A version that was named is not there, not whole, or not to be had."""

    exit_code: ClassVar[int] = 2


class ControlUnusable(PenstockError):
    """`serving.json` cannot be read or written."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one worker on this host last said of its model."""

    slot: str
    serving: str
    previous: str | None
    #: Version -> digest.
    loaded: dict[str, str]
    #: Version -> reason.
    failed: dict[str, str]
    problem: str | None
    shadow: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is known of a model's versions."""

    model_dir: Path
    versions: tuple[Version, ...]
    control: Control
    workers: tuple[WorkerState, ...]

    @property
    def serving(self) -> str | None:
        """What is served: what most workers say; without workers, what one that starts now would serve."""
        if self.workers:
            return Counter(worker.serving for worker in self.workers).most_common(1)[0][0]
        if self.control.pin is not None:
            return self.control.pin
        return next((version.name for version in self.versions if version.lacks is None), None)

    @property
    def before(self) -> str | None:
        """What was served before, as far as it is still there: workers know, else `serving.json`, else the order."""
        serving, there = self.serving, {version.name for version in self.versions if version.lacks is None}
        told = Counter(
            worker.previous for worker in self.workers if worker.previous in there and worker.serving == serving
        )
        if told:
            return told.most_common(1)[0][0]
        if self.control.previous in there and self.control.previous != serving:
            return self.control.previous
        if serving is None:
            return None
        broken = {version for worker in self.workers for version in worker.failed}
        below = [
            version.name
            for version in self.versions
            if version.name in there - broken and version.number < int(serving)
        ]
        return below[0] if below else None


def overview(model_dir: Path, state_dir: Path) -> Overview:
    """Look at disk, control and workers.

    Raises:
        ControlUnusable: `serving.json` cannot be understood.

    """
    try:
        control = serving_control.read(model_dir)
    except BadControl as error:
        raise ControlUnusable(str(error), "workers go on with what was said before") from error
    return Overview(model_dir, Directory(model_dir).versions(), control, _workers(model_dir, state_dir))


def pin(seen: Overview, version: str) -> Control:
    """Serve this version and no other, however new.

    Raises:
        NoSuchVersion: it is not there, or a worker could not load it.

    """
    _usable(seen, version)
    previous = seen.control.previous if seen.serving == version else seen.serving
    return replace(seen.control, pin=version, previous=previous)


def rollback(seen: Overview) -> Control:
    """Pin the version that was served before.

    Raises:
        NoSuchVersion: there is none.

    """
    if seen.before is None:
        there = ", ".join(version.name for version in seen.versions) or "none"
        raise NoSuchVersion(
            f"no version was served before {seen.serving or 'this one'} (there are: {there})",
            "use `penstock model pin`",
        )
    return pin(seen, seen.before)


def unpin(seen: Overview) -> Control:
    """Serve the newest version again."""
    return replace(seen.control, pin=None)


def shadow(seen: Overview, version: str, share: float) -> Control:
    """Compare a share of the requests with another version.

    Raises:
        NoSuchVersion: it is not there, or it is the served one, or the share is none.

    """
    _usable(seen, version)
    if version == seen.serving:
        raise NoSuchVersion(f"version {version} is the one that is served", "name another one to compare it with")
    try:
        return replace(seen.control, shadow=Shadow(version, checked_share(share)))
    except ValueError as error:
        raise NoSuchVersion(str(error), "e.g. --share 0.1") from error


def unshadow(seen: Overview) -> Control:
    """Compare no more."""
    return replace(seen.control, shadow=None)


def say(seen: Overview, control: Control) -> None:
    """Write what a person says.

    Raises:
        ControlUnusable: the directory cannot be written.

    """
    try:
        serving_control.write(seen.model_dir, control)
    except OSError as error:
        path = seen.model_dir / serving_control.FILE
        raise ControlUnusable(f"{path} cannot be written: {error.strerror}", "see to the directory's rights") from error


def _usable(seen: Overview, version: str) -> None:
    found = next((one for one in seen.versions if one.name == version), None)
    if found is None:
        there = ", ".join(one.name for one in seen.versions) or "none"
        raise NoSuchVersion(f"version {version} is not in {seen.model_dir}", f"name one of: {there}")
    if found.lacks is not None:
        raise NoSuchVersion(f"version {version} is not whole: {found.lacks}", "wait for it, or copy it again")
    for worker in seen.workers:
        if version in worker.failed:
            raise NoSuchVersion(f"{worker.slot} could not load it: {worker.failed[version]}", "export it again")


def _workers(model_dir: Path, state_dir: Path) -> tuple[WorkerState, ...]:
    """What live workers of this model on this host say."""
    found = []
    for path in sorted((state_dir / "models").glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["model"] != model_dir.name or not _alive(told["pid"], path):
                continue
            found.append(
                WorkerState(
                    path.stem,
                    told["serving"],
                    told["previous"],
                    told["loaded"],
                    told["failed"],
                    told["problem"],
                    told["shadow"],
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            # Of another release, or gone meanwhile.
            continue
    return tuple(found)


def _alive(pid: int, path: Path) -> bool:
    """Whether the process that wrote the file still runs; one born after it is another."""
    try:
        return float(psutil.Process(pid).create_time()) <= min(path.stat().st_mtime, time.time()) + 1.0
    except psutil.Error:
        return False


def as_json(seen: Overview) -> dict[str, Any]:
    """The overview for programs."""
    digests = {name: value for worker in seen.workers for name, value in worker.loaded.items()}
    return {
        "model": seen.model_dir.name,
        "directory": str(seen.model_dir),
        "serving": seen.serving,
        "before": seen.before,
        "pin": seen.control.pin,
        "shadow": None
        if seen.control.shadow is None
        else {"version": seen.control.shadow.version, "share": seen.control.shadow.share},
        "versions": [
            {
                "version": version.name,
                "bytes": version.bytes,
                "changed_at_s": version.changed_at_s,
                "lacks": version.lacks,
                "digest": digests.get(version.name),
                "roles": roles(seen, version),
            }
            for version in seen.versions
        ],
        "workers": [
            {
                "slot": worker.slot,
                "serving": worker.serving,
                "previous": worker.previous,
                "loaded": sorted(worker.loaded),
                "failed": worker.failed,
                "problem": worker.problem,
                "shadow": worker.shadow,
            }
            for worker in seen.workers
        ],
    }


def roles(seen: Overview, version: Version) -> Sequence[str]:
    """What a version is just now: `serving`, `pinned`, `before`, `shadow`, `broken`, `incomplete`."""
    control = seen.control
    found = {
        "serving": version.name == seen.serving,
        "pinned": version.name == control.pin,
        "before": version.name == seen.before,
        "shadow": control.shadow is not None and version.name == control.shadow.version,
        "broken": any(version.name in worker.failed for worker in seen.workers),
        "incomplete": version.lacks is not None,
    }
    return [name for name, holds in found.items() if holds]
