"""How services end: with their owner when ephemeral, and whatever the disk says."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.errors import AlreadyRunning
from penstock.local import services, state
from penstock.local.java import Java
from penstock.local.paths import Layout, make_private
from penstock.local.process import ProcessRef, spawn

if TYPE_CHECKING:
    from pathlib import Path

OWNER = """
import sys, time
from pathlib import Path
from penstock.local import guard
watcher = guard.start(Path(sys.argv[1]))
if sys.argv[2] == "forked":  # a child that keeps the guard's input open
    import os
    if os.fork() == 0:
        time.sleep(600)
print("guarded", flush=True)
time.sleep(600)
"""


def noted_service(layout: Layout) -> ProcessRef:
    """A process that the directory's note takes for its broker."""
    service = spawn(
        [sys.executable, "-c", "import time; time.sleep(600)", "marker"],
        marker="marker",
        output=layout.root / "output",
        environment=os.environ,
    )
    state.save(layout.state, state.State("id", 1, 2, 3, kafka=service))
    return service


@pytest.mark.parametrize("owner_kind", ["alone", "forked"])
def test_the_guard_of_a_killed_owner_stops_the_services_and_deletes_their_data(tmp_path: Path, owner_kind: str) -> None:
    """No process and no file stays, even where a forked child outlives the owner."""
    layout = Layout.of(tmp_path)
    make_private(layout.root)
    service = noted_service(layout)
    arguments = [sys.executable, "-c", OWNER, str(tmp_path), owner_kind]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "guarded\n"
        assert service.alive()
        owner.kill()
        owner.wait()
        deadline = time.monotonic() + 30
        try:
            while service.alive() or layout.root.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    if os.getsid(process.pid) == owner.pid:
                        process.kill()


def test_ephemeral_services_refuse_a_folder_with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would delete what was meant to stay."""
    layout = Layout.of(tmp_path)
    layout.kafka.mkdir(parents=True)
    monkeypatch.setattr(services, "java_with_kafka", lambda _: Java("java", ()))
    with pytest.raises(AlreadyRunning, match="empty directory"):
        services.LocalServices.start(tmp_path, ephemeral=True)
    assert layout.kafka.exists()


def test_a_full_disk_does_not_keep_services_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note cannot be written, and the process ends all the same."""
    layout = Layout.of(tmp_path)
    make_private(layout.root)
    service = noted_service(layout)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state, "save", full)
    assert services.stop(tmp_path)
    assert not service.alive()
    assert not services.stop(tmp_path)
