"""Writing files so that a reader sees the whole of one or none, and saying plainly when the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def disk_errors(action: str, directory: Path) -> Iterator[None]:
    """Translate "no space left" into an error with a cure; every other error passes.

    Raises:
        DiskFull: the disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full(action, directory) from error


def refuse_full_disk(output: str, directory: Path) -> None:
    """Look for a full disk in what another program said.

    Raises:
        DiskFull: it said so.
    """
    if os.strerror(errno.ENOSPC) in output or os.strerror(errno.EDQUOT) in output:
        raise _full("starting a service", directory)


def _full(action: str, directory: Path) -> DiskFull:
    return DiskFull(
        f"no space left while {action} in {directory}",
        "free some space (about 50 MB for the jars, 100 MB for data), or choose another disk: "
        "PENSTOCK_CACHE for the jars, --directory for the data",
    )


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace a file as a whole; its final mode holds from the first byte on."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content.encode() if isinstance(content, str) else content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log for an error message, at most 4 KiB; empty when there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""
