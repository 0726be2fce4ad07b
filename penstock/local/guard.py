"""Ends a directory's services when the process that started them is gone, however it went.

Run as `python -m penstock.local.guard DIRECTORY PARENT`. It waits for the end of its standard input, whose other end
the starter holds, and for the loss of its parent: a process forked by the starter may keep that other end open.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

#: Between two looks at the parent.
_POLL_S = 1.0


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Start the guard of a directory; `communicate()` on what is returned makes it act, and waits for that."""
    package_root = str(Path(__file__).parents[2])  # importable there too when we run from a checkout, not installed
    path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "penstock.local.guard", str(directory), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def main(arguments: list[str]) -> None:
    """Wait for the starter's end, then stop the services and delete their data."""
    directory, parent = Path(arguments[0]), int(arguments[1])  # told, not asked: the parent may be gone by now
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable and not os.read(0, 4096):
            break
    from penstock.local import cluster, services  # noqa: PLC0415 - the guard idles as a bare interpreter

    with contextlib.suppress(Exception):  # nobody is left to hear of it
        services.stop(directory)
    with contextlib.suppress(Exception):
        cluster.stop_leftovers(directory / ".penstock")
    shutil.rmtree(directory / ".penstock", ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
