"""What an idle pipeline costs: CPU share of its autoscaler and its worker over 30 seconds, on the embedded services."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from penstock.local.services import LocalServices

WINDOW_S = 30.0
#: Seconds for the caches of a fresh start to fill before the window.
SETTLE_S = 10.0

_MODEL = """
import sys, tensorflow as tf
class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": 2.0 * x}
module = Doubling()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})
"""


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    """Start everything, wait until the worker is ready, measure, stop everything."""
    with tempfile.TemporaryDirectory(prefix="penstock-idle-") as name:
        directory = Path(name)
        subprocess.run([sys.executable, "-c", _MODEL, str(directory / "models/doubling/1")], check=True)
        with LocalServices.start(directory, ephemeral=True) as services:
            (directory / "penstock.toml").write_text(
                '[pipeline]\nname = "idle"\nmodel = "models/doubling"\n'
                f'[kafka]\nbootstrap_servers = "{services.bootstrap}"\n'
                f'[redis]\nurl_file = "{services.redis_url_file}"\n'
            )
            command = [sys.executable, "-m", "penstock", "autoscaler", "--config", str(directory / "penstock.toml")]
            with (directory / "autoscaler.log").open("wb") as log:
                autoscaler = subprocess.Popen([*command, "--stop-workers-on-exit"], stdout=log, stderr=log)
            try:
                _measure(autoscaler.pid, directory / ".penstock/state")
            finally:
                autoscaler.terminate()
                autoscaler.wait(60)


def _measure(autoscaler: int, state: Path) -> None:
    log, lock = state / "logs/idle-cpu-0.log", state / "slots/idle-cpu-0.lock"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"worker.ready"' in log.read_text()):
        if time.monotonic() > deadline:
            sys.exit(f"the worker is not ready after 120 s; see {log}")
        time.sleep(0.2)
    time.sleep(SETTLE_S)
    pids = {"autoscaler": autoscaler, "worker": int(lock.read_text())}
    before, began = {name: _cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(WINDOW_S)
    took = time.monotonic() - began
    for name, pid in pids.items():
        print(f"{name:<10} {(_cpu_s(pid) - before[name]) / took:6.2%} of a core over {took:.0f} s, idle")
    print(f"machine: {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
