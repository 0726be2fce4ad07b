"""A penstock process whose wall clock is set from outside: `python -m penstock.verify.shifted_clock FILE COMMAND...`.

FILE holds the offset in seconds as one little-endian double; whoever writes it moves the clock of this process alone,
at once and for every reader of `time.time` and `time.time_ns` in it, which is where Penstock and kafka-python read it.
`datetime.now` (the stamps of log lines) cannot be moved: compiled libraries hold on to it. The monotonic clock is
left alone, as it is when an operator or NTP sets a machine's clock.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path
from typing import Any

#: One double, little-endian.
FORMAT = struct.Struct("<d")


def set_offset(path: Path, seconds: float) -> None:
    """Set the clock of the processes that look at this file so many seconds ahead (or behind, if negative).

    In place, because they have mapped it; eight aligned bytes are written as one.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(FORMAT.pack(seconds))


def install(path: Path) -> None:
    """Make every wall clock of this process obey the file from now on."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), FORMAT.size, prot=mmap.PROT_READ)
    real_s, real_ns = time.time, time.time_ns

    def offset_s() -> float:
        return float(FORMAT.unpack_from(shared)[0])

    changed: Any = time
    changed.time = lambda: real_s() + offset_s()
    changed.time_ns = lambda: real_ns() + round(offset_s() * 1e9)


def main(arguments: list[str]) -> int:
    """Install the clock before anything else of ours is imported, then run the command."""
    install(Path(arguments[0]))
    from penstock.__main__ import main as penstock  # noqa: PLC0415 - what is imported takes the clock that it finds

    return penstock(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
