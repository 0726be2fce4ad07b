"""The jar cache: whole and right, or not there; and what it says when it cannot be filled."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import requests

from penstock.errors import CorruptJar, DirectoryUnusable, DiskFull, JarUnavailable, NoNetwork
from penstock.local.jar_lock import Jar
from penstock.local.jars import JarCache, fetch_with_jgo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENTS = {name: name.encode() * 1000 for name in ("one", "two", "three", "four", "five", "six")}
JARS = tuple(Jar("g", name, "1", hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENTS.items())


@dataclass
class Repository:
    """A repository in memory that can be told to misbehave."""

    failures: dict[str, list[Exception | bytes]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)

    def __call__(self, jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path:
        """Bring the jar, or what was planned instead."""
        path = scratch / "download.jar"
        planned = self.failures.get(jar.artifact, [])
        outcome = planned.pop(0) if planned else CONTENTS[jar.artifact]
        if isinstance(outcome, Exception):
            path.write_bytes(CONTENTS[jar.artifact][:100])  # cut off in the middle
            advance(100)
            raise outcome
        path.write_bytes(outcome)
        advance(len(outcome))
        self.served.append(jar.artifact)
        return path


@dataclass
class Counter:
    """A progress that only adds up."""

    total: int = 0
    seen: int = 0
    ended: bool = False

    def begin(self, title: str, total_bytes: int) -> None:  # noqa: ARG002 - only the bar shows it
        """Note the total."""
        self.total = total_bytes

    def advance(self, count: int) -> None:
        """Add."""
        self.seen += count

    def end(self) -> None:
        """Note the end."""
        self.ended = True


def names(directory: Path) -> set[str]:
    """What lies in a cache, its lock file apart."""
    return {path.name for path in directory.iterdir()} - {".lock"}


def test_a_fill_brings_every_jar_and_leaves_nothing_else(tmp_path: Path) -> None:
    """The class path is complete, in the lock's order, and no scratch folder stays behind."""
    progress = Counter()
    paths = JarCache(tmp_path, Repository()).ensure(JARS, progress)
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert names(tmp_path) == {jar.filename for jar in JARS}
    assert progress.seen == progress.total == sum(map(len, CONTENTS.values()))
    assert progress.ended


def test_a_second_call_fetches_nothing(tmp_path: Path) -> None:
    """A full cache is offline, and its files are not touched (a JVM archive checks their times)."""
    repository = Repository()
    paths = JarCache(tmp_path, repository).ensure(JARS)
    before = [path.stat().st_mtime_ns for path in paths]
    again = JarCache(tmp_path, repository).ensure(JARS)
    assert len(repository.served) == len(JARS)
    assert [path.stat().st_mtime_ns for path in again] == before


def test_a_damaged_jar_is_fetched_again_and_alone(tmp_path: Path) -> None:
    """Bytes that changed on the disk are noticed, and only that jar is replaced."""
    JarCache(tmp_path, Repository()).ensure(JARS)
    (tmp_path / JARS[2].filename).write_bytes(b"x" * JARS[2].size)
    repository = Repository()
    JarCache(tmp_path, repository).ensure(JARS)
    assert repository.served == [JARS[2].artifact]
    assert JARS[2].matches(tmp_path / JARS[2].filename)


def test_leftovers_of_a_killed_fill_are_neither_used_nor_kept(tmp_path: Path) -> None:
    """A half-finished download lies in a scratch folder that the next fill removes."""
    scratch = tmp_path / ".partial-old"
    scratch.mkdir()
    (scratch / JARS[0].filename).write_bytes(b"half")
    JarCache(tmp_path, Repository()).ensure(JARS)
    assert names(tmp_path) == {jar.filename for jar in JARS}


def test_a_dropped_connection_is_tried_again(tmp_path: Path) -> None:
    """Two broken tries are forgiven, and the progress does not count them."""
    progress = Counter()
    repository = Repository({"two": [ConnectionError(), ConnectionError()]})
    JarCache(tmp_path, repository).ensure(JARS, progress)
    assert progress.seen == progress.total


@pytest.mark.parametrize(
    ("outcome", "expected", "said"),
    [
        ([ConnectionError("down")] * 3, NoNetwork, "needs the network once"),
        ([LookupError("404")], JarUnavailable, "copy the jar cache"),
        ([b"other bytes"] * 3, CorruptJar, "proxy that rewrites"),
        ([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))], DiskFull, "PENSTOCK_CACHE"),
        ([OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))], DiskFull, "PENSTOCK_CACHE"),
    ],
)
def test_a_failed_fill_says_cause_and_cure_and_leaves_no_bad_jar(
    tmp_path: Path, outcome: list[Exception | bytes], expected: type[Exception], said: str
) -> None:
    """Whatever goes wrong, the cache holds good jars only, and the next call can go on."""
    with pytest.raises(expected, match=said):
        JarCache(tmp_path, Repository({"two": list(outcome)})).ensure(JARS)
    assert names(tmp_path) <= {jar.filename for jar in JARS} - {JARS[1].filename}
    JarCache(tmp_path, Repository()).ensure(JARS)


def test_a_damaged_jar_without_network_is_an_error_not_a_class_path(tmp_path: Path) -> None:
    """A damaged jar is never handed to Java, even when no better one can be had."""
    JarCache(tmp_path, Repository()).ensure(JARS)
    (tmp_path / JARS[0].filename).write_bytes(b"short")
    with pytest.raises(NoNetwork):
        JarCache(tmp_path, Repository({"one": [ConnectionError()] * 3})).ensure(JARS)
    assert not (tmp_path / JARS[0].filename).exists()


def test_a_cache_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    """The message says which folder and which variable."""

    def denied(jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(DirectoryUnusable, match="PENSTOCK_CACHE"):
        JarCache(tmp_path, denied).ensure(JARS)


def test_the_real_fetch_tells_no_network_from_no_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the Maven client and of its HTTP library arrive as the two kinds that a fill knows."""

    def unreachable(*_: object, **__: object) -> requests.Response:
        raise requests.exceptions.ConnectionError("no route")

    def refused(*_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 404
        return response

    monkeypatch.setattr(requests, "request", unreachable)
    with pytest.raises(ConnectionError):
        fetch_with_jgo(JARS[0], tmp_path, lambda _: None)
    monkeypatch.setattr(requests, "request", refused)
    with pytest.raises(LookupError):
        fetch_with_jgo(JARS[0], tmp_path, lambda _: None)
