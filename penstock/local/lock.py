"""A lock between processes that ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from penstock.errors import DirectoryBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Between two looks at a lock that another process holds.
_POLL_S = 0.05


@contextlib.contextmanager
def exclusive(path: Path, *, timeout_s: float, what: str) -> Iterator[None]:
    """Hold the lock file `path`; wait for another holder up to `timeout_s` seconds.

    Raises:
        DirectoryBusy: the other holder did not end in time.
    """
    deadline = time.monotonic() + timeout_s
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DirectoryBusy(
                        f"another process has been {what} in {path.parent} for more than {timeout_s:g} s",
                        "wait for it, or stop that process, and try again",
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)
