"""A worker's slot: the stable name under which it joins the group, held by one process at a time on a host."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from inference_workers.errors import SlotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def held(state_dir: Path, slot: str) -> Iterator[None]:
    """Hold the lock file of a slot, with our pid in it, while the block runs. The system frees it if we are killed.

    Raises:
        SlotTaken: another process holds it.

    """
    path = state_dir / "slots" / f"{slot}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            msg = (
                f"slot {slot!r} belongs to the live process {file.read().strip() or '(unknown)'}; stop it, or start "
                "this worker under another --slot"
            )
            raise SlotTaken(msg) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
