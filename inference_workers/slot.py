"""A worker's slot: the stable name under which it joins the group, held by one process at a time on a host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import IO, TYPE_CHECKING

from inference_workers.errors import SlotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


#: Seconds for which the holder may still be ending, and seconds between two looks. One that was killed counts as ended
#: once its first thread has, and holds its files until the last one has: on busy cores a replacement can be quicker.
ENDING_S, LOOK_S = 3.0, 0.02


@contextlib.contextmanager
def held(state_dir: Path, slot: str, *, ending_s: float = ENDING_S) -> Iterator[None]:
    """Hold the lock file of a slot, with our pid in it, while the block runs. The system frees it if we are killed.

    Args:
        state_dir: of the pipeline.
        slot: its name.
        ending_s: seconds to wait for a holder to end.

    Raises:
        SlotTaken: another process holds it, and goes on.

    """
    path = state_dir / "slots" / f"{slot}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        until_s = time.monotonic() + ending_s
        while not _locked(file):
            if time.monotonic() >= until_s:
                file.seek(0)
                msg = (
                    f"slot {slot!r} belongs to the live process {file.read().strip() or '(unknown)'}; stop it, or "
                    "start this worker under another --slot"
                )
                raise SlotTaken(msg)
            time.sleep(LOOK_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
