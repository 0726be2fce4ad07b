"""Which version ought to be served, of those that lie on disk: a decision, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inference_workers.model_versions import Version


@dataclass(frozen=True, slots=True)
class Failed:
    """A version that did not load or warm."""

    #: As they were then: it is tried again once they differ.
    files: tuple[tuple[str, int, int], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What ought to be served, and what stands in the way of more."""

    #: `None` = what is served now, or nothing where nothing is.
    version: Version | None
    #: For people; `None` = all is as it should be.
    problem: str | None = None


def choose(
    versions: Sequence[Version], *, pin: str | None, serving: str | None, failed: Mapping[int, Failed]
) -> Choice:
    """Decide what to serve.

    The pinned version, else the newest that is whole and has not failed. While the served version's folder is there,
    nothing older takes its place unless pinned; once it is gone, the newest of the others does, so that removing a
    version takes it out of service.

    Args:
        versions: what lies on disk, the highest number first.
        pin: the only version that a person wants served.
        serving: what is served now; `None` = nothing yet.
        failed: versions that did not load or warm, by number.

    """
    usable = [version for version in versions if obstacle(version, failed) is None]
    if pin is not None:
        return _pinned(versions, pin, serving, failed)
    newest = usable[0] if usable else None
    known = {version.name: version for version in versions}
    # Only what failed is worth a word: what is being copied will be there soon.
    better = [version for version in versions if newest is None or version.number > newest.number]
    broken = [reason for version in better if version.lacks is None and (reason := obstacle(version, failed))]
    problem = broken[0] if broken else None
    if newest is None:
        gone = serving is not None and serving not in known
        return Choice(
            None, problem or (f"version {serving} is served from memory: its folder is gone" if gone else None)
        )
    if newest.name == serving or (serving in known and newest.number < known[serving].number):
        return Choice(None, problem)
    return Choice(newest, problem)


def obstacle(version: Version, failed: Mapping[int, Failed]) -> str | None:
    """Why a version cannot be loaded now; `None` = it can."""
    if version.lacks is not None:
        return f"version {version.name} is not whole: {version.lacks}"
    known = failed.get(version.number)
    if known is not None and known.files == version.files:
        return f"version {version.name} is not served: {known.reason}"
    return None


def _pinned(versions: Sequence[Version], pin: str, serving: str | None, failed: Mapping[int, Failed]) -> Choice:
    if pin == serving:
        return Choice(None)
    version = next((version for version in versions if version.name == pin), None)
    if version is None:
        there = ", ".join(version.name for version in versions[:10]) or "none"
        return Choice(None, f"version {pin} is pinned, and is not there (there are: {there})")
    reason = obstacle(version, failed)
    return Choice(version) if reason is None else Choice(None, f"pinned: {reason}")
