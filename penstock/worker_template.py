"""A process with TensorFlow imported that forks workers: a fraction of a second from asked to warm, not several.

Importing TensorFlow takes seconds of CPU and hundreds of megabytes a process; a fork shares both. Forking is safe here
because nothing has run yet: TensorFlow starts its thread pools, and CUDA its context, at the first operation, which
only ever happens in the children. The template touches neither Kafka nor the model.

Protocol: one JSON object a connection over a Unix socket. `{"launch": {"argv", "env", "log"}}` -> `{"pid"}`;
`{"exit_code": pid}` -> `{"code": int | null}`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

#: Seconds between looks at whether the owner lives.
_LOOK_S = 2.0
_LONGEST_REQUEST = 4 * 1024 * 1024


def main(socket_path: str, owner_pid: int) -> None:
    """Serve until the owner is gone. The children go on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow  # noqa: F401, PLC0415, ICN001 - what all this is for

    import penstock.cli.worker  # noqa: F401, PLC0415 - the rest of what a worker imports

    # Keep the collector from touching, and so copying, what the children share.
    gc.collect()
    gc.freeze()
    # Ctrl-C in a terminal goes to the whole group; the owner decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended: dict[int, int] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path)
        listener.listen()
        listener.settimeout(_LOOK_S)
        while os.getppid() == owner_pid:
            _reap(ended)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                _serve(connection, listener, ended)


def _serve(connection: socket.socket, listener: socket.socket, ended: dict[int, int]) -> None:
    connection.settimeout(5)
    try:
        with connection.makefile("rb") as lines:
            request = json.loads(lines.readline(_LONGEST_REQUEST))
        if "launch" in request:
            answer: dict[str, int | None] = {"pid": _fork(request["launch"], connection, listener)}
        else:
            _reap(ended)
            answer = {"code": ended.pop(int(request["exit_code"]), None)}
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except (OSError, ValueError, KeyError) as error:
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")


def _reap(ended: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended[pid] = os.waitstatus_to_exitcode(status)


def _fork(order: dict[str, Any], *inherited: socket.socket) -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; those here are idle pools of numerical libraries, which
        # start their own anew after a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        _become(order, inherited)
    return pid


def _become(order: dict[str, Any], inherited: tuple[socket.socket, ...]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        for handle in inherited:
            handle.close()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["env"])
        from penstock.__main__ import main as penstock  # noqa: PLC0415 - in the child only

        sys.argv = list(order["argv"])
        code = penstock(order["argv"][order["argv"].index("penstock") + 1 :])
    except BaseException as error:  # noqa: BLE001 - nothing of the template may run on in a child
        with contextlib.suppress(OSError):
            os.write(2, f"worker ended by {type(error).__name__}: {error}\n".encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1], int(sys.argv[2]))
    Path(sys.argv[1]).unlink(missing_ok=True)
