"""Runs the demo's autoscaler and ends it and its workers when the demo is gone, however it went.

Run as `python -m penstock.demo.leash STATE_DIR PIPELINE ARGUMENT...` (the arguments are the Python interpreter's). It
acts at SIGTERM, at the end of its standard input, whose other end the demo holds, at the loss of its parent, and when
the autoscaler ends by itself. Its exit code is the autoscaler's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

#: Seconds between two looks at the parent and at the autoscaler.
LOOK_S = 0.5

#: Seconds from SIGTERM to SIGKILL for the autoscaler; it only has to leave a group and to write what is left.
STOP_S = 15.0


def main(arguments: list[str]) -> int:
    """Run until told to stop; returns the autoscaler's exit code."""
    state_dir, pipeline, *command = arguments
    parent = os.getppid()
    told, tell = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(tell, b"."))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    autoscaler = subprocess.Popen([sys.executable, *command], stdin=subprocess.DEVNULL)
    while os.getppid() == parent and autoscaler.poll() is None:
        if select.select([0, told], [], [], LOOK_S)[0]:
            break
    autoscaler.terminate()
    try:
        code = autoscaler.wait(STOP_S)
    except subprocess.TimeoutExpired:
        autoscaler.kill()
        code = autoscaler.wait()
    _stop_workers(Path(state_dir), pipeline)
    return code


def _stop_workers(state_dir: Path, pipeline: str) -> None:
    """Drain the workers: the autoscaler's end stops none."""
    from autoscaler.actuators.processes import ProcessActuator  # noqa: PLC0415 - the leash idles as a small process
    from autoscaler.errors import AutoscalerError  # noqa: PLC0415

    with contextlib.suppress(AutoscalerError):
        ProcessActuator(pipeline, state_dir, ("{slot}",)).stop_workers()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
