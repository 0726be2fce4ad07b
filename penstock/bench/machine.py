"""On what it was measured: the machine and the versions."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from penstock.bench.children import PEERS_PYTHON

#: Distributions that the rows name.
SHOWN = (
    "penstock", "tensorflow-cpu", "numpy", "kafka-python", "confluent-kafka", "aiokafka", "faststream", "quixstreams",
    "faust-streaming", "keras",
)  # fmt: skip


def machine() -> dict[str, str]:
    """Processor, cores, memory, Python and system."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load average before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what is installed here."""
    found = {}
    for name in SHOWN:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def peer_versions() -> dict[str, str]:
    """The same in the virtual environment of the peers; empty when there is none."""
    if not PEERS_PYTHON.is_file():
        return {}
    script = (
        "import json, importlib.metadata as m\n"
        f"names = {SHOWN!r}\n"
        "have = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: have[n] for n in names if n in have}))"
    )
    done = subprocess.run([str(PEERS_PYTHON), "-c", script], capture_output=True, text=True, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told
