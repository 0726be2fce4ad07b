"""The jar cache: each file is either exactly what the lock says, or not there.

A jar is fetched into a scratch folder on the same disk, checked, and then renamed into place, so that a download that
was cut off can never pass for a whole one. A good file is never rewritten.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.errors import CorruptJar, DirectoryUnusable, JarUnavailable, NoNetwork
from penstock.local.files import disk_errors
from penstock.local.lock import exclusive
from penstock.local.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.local.jar_lock import Jar

log = logging.getLogger(__name__)

#: Parallel transfers; four saturate an ordinary line, more only look like an attack to the repository.
_THREADS = 4
#: Tries a jar; a dropped connection in 50 small transfers is common enough.
_ATTEMPTS = 3
#: Longest wait for another process that fills the same cache.
_LOCK_TIMEOUT_S = 900.0


class Fetch(Protocol):
    """Bring one jar into a scratch folder.

    Raises:
        ConnectionError: the network or the repository cannot be reached; trying again may help.
        LookupError: the repository answers, but has no such jar.
    """

    def __call__(self, jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path:
        """The path of the file; `advance` is told of bytes as they come."""
        ...


@dataclass(frozen=True, slots=True)
class JarCache:
    """The jars of all runs of this user.

    Attributes:
        directory: where they lie.
        fetch: how a missing one comes.
    """

    directory: Path
    fetch: Fetch

    def ensure(self, jars: Sequence[Jar], progress: Progress | None = None) -> tuple[Path, ...]:
        """The class path: the path of every jar, fetched where it is missing or damaged.

        Raises:
            NoNetwork, JarUnavailable, CorruptJar, DiskFull, DirectoryUnusable: see `penstock.errors`.
        """
        try:
            with disk_errors("fetching Kafka's jars", self.directory):
                if any(not jar.matches(self.directory / jar.filename) for jar in jars):
                    self.directory.mkdir(parents=True, exist_ok=True)
                    with exclusive(self.directory / ".lock", timeout_s=_LOCK_TIMEOUT_S, what="fetching jars"):
                        self._fill(jars, progress or Silent())
        except PermissionError as error:
            raise DirectoryUnusable(
                f"the jar cache {self.directory} is not writable ({error.strerror})",
                "change its permissions, or set PENSTOCK_CACHE to a directory of yours",
            ) from error
        return tuple(self.directory / jar.filename for jar in jars)

    def _fill(self, jars: Sequence[Jar], progress: Progress) -> None:
        for leftover in self.directory.glob(".partial-*"):  # a run that was killed in the middle; we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        missing = [jar for jar in jars if not jar.matches(self.directory / jar.filename)]
        for jar in missing:
            if (self.directory / jar.filename).exists():
                log.warning("jar.damaged", extra={"jar": str(jar), "path": str(self.directory / jar.filename)})
                (self.directory / jar.filename).unlink()
        progress.begin("Kafka (once)", sum(jar.size for jar in missing))
        try:
            with tempfile.TemporaryDirectory(dir=self.directory, prefix=".partial-") as scratch:
                self._fetch_all(missing, Path(scratch), progress)
        finally:
            progress.end()

    def _fetch_all(self, jars: Sequence[Jar], scratch: Path, progress: Progress) -> None:
        give_up = threading.Event()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="jars") as pool:
            waiting = [
                pool.submit(self._fetch_one, jar, scratch / str(n), progress, give_up) for n, jar in enumerate(jars)
            ]
            done, pending = wait(waiting, return_when=FIRST_EXCEPTION)
            if pending:
                give_up.set()
                for future in pending:
                    future.cancel()
        for future in done:
            future.result()

    def _fetch_one(self, jar: Jar, scratch: Path, progress: Progress, give_up: threading.Event) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            if give_up.is_set():
                return
            came = 0

            def advance(count: int) -> None:
                nonlocal came
                came += count
                progress.advance(count)

            folder = scratch / str(attempt)
            folder.mkdir(parents=True)
            try:
                fetched = self.fetch(jar, folder, advance)
            except ConnectionError as error:
                progress.advance(-came)
                if attempt < _ATTEMPTS:
                    continue
                raise NoNetwork(
                    f"{jar} could not be downloaded ({_innermost(error)})",
                    "the first start needs the network once: check connection and proxy (HTTPS_PROXY), or copy the "
                    f"folder {self.directory} from a machine that has it",
                ) from error
            except LookupError as error:
                raise JarUnavailable(
                    f"the repository does not hand out {jar} ({error})",
                    "try again later, or copy the jar cache from a machine that has it",
                ) from error
            if jar.matches(fetched):
                fetched.replace(self.directory / jar.filename)
                return
            progress.advance(-came)
            size = fetched.stat().st_size
        raise CorruptJar(
            f"{jar} came {_ATTEMPTS} times with another content than was pinned ({size} bytes, {jar.size} expected)",
            "it was thrown away; look for a proxy that rewrites downloads, and try again on another network",
        )


def _innermost(error: BaseException) -> str:
    """The root of a chain of connection errors, in few words: the outer ones repeat a long address."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def fetch_with_jgo(jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path:
    """Fetch just this file with jgo's Maven client, which knows its repository itself; no POM is read, no Java needed.

    Raises:
        ConnectionError, LookupError: see `Fetch`.
    """
    import contextlib  # noqa: PLC0415

    import requests  # noqa: PLC0415 - what jgo speaks through; both come with the extra `local` and are needed once
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    @contextlib.contextmanager
    def report(_name: str, _size: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - jgo's callback form
        yield advance

    context = MavenContext(repo_cache=scratch, resolver=PythonResolver(progress_callback=report))
    try:
        return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
    except requests.RequestException as error:
        raise ConnectionError(str(error)) from error
    except RuntimeError as error:
        raise LookupError("not found, or not permitted") from error
