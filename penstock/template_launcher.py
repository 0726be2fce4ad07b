"""The launcher that asks the worker template to fork, and starts whole processes where there is none."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscaler.errors import ActuatorFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.actuators.base import Launcher

log = logging.getLogger(__name__)

#: Seconds that the template may take to import TensorFlow on a busy machine.
START_S = 120.0


class TemplateLauncher:
    """Forks workers from a template process; see `penstock.worker_template`.

    Args:
        fallback: used when the template is gone.

    """

    def __init__(self, fallback: Launcher) -> None:
        self._fallback = fallback
        # Socket paths are limited to 107 bytes, so not under the state directory.
        self._directory = tempfile.TemporaryDirectory(prefix="penstock-")
        self._socket_path = str(Path(self._directory.name) / "t")
        self._process: subprocess.Popen[bytes] | None = None
        self._forked: set[int] = set()

    def start(self, log_path: Path, *, wait_s: float = START_S) -> None:
        """Start the template and wait until it can fork; without it workers still start, only slower."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock.worker_template", self._socket_path, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        began = time.monotonic()
        while not Path(self._socket_path).exists():
            if self._process.poll() is not None or time.monotonic() - began > wait_s:
                log.warning("template.not_there", extra={"exit_code": self._process.poll(), "see": str(log_path)})
                return
            time.sleep(0.05)
        log.info("template.ready", extra={"after_s": round(time.monotonic() - began, 2)})

    def launch(self, argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> int:
        """See `Launcher.launch`."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        order = {"argv": list(argv), "env": dict(env), "log": str(log_path)}
        answer = self._ask({"launch": order}) if "penstock" in argv else None
        if answer is None:
            return self._fallback.launch(argv, env, log_path)
        if "pid" not in answer:
            raise ActuatorFailed(f"the worker template cannot fork: {answer.get('error')}; check this host's limits")
        self._forked.add(answer["pid"])
        return int(answer["pid"])

    def exit_code(self, pid: int) -> int | None:
        """See `Launcher.exit_code`."""
        if pid not in self._forked:
            return self._fallback.exit_code(pid)
        answer = self._ask({"exit_code": pid}) or {}
        code = answer.get("code")
        if code is not None:
            self._forked.discard(pid)
        return code

    def close(self) -> None:
        """End the template; the workers go on."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(5)
        self._directory.cleanup()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(self._socket_path)
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    answer: dict[str, Any] = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            log.warning("template.no_answer", extra={"error": str(error)})
            return None
        return answer
