"""Telling a process of ours from every other one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from penstock.local.process import ProcessRef, find, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = "import sys, time; print('ready', flush=True); time.sleep(600)"
TIDY = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {READY}"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"


def start(tmp_path: Path, code: str = READY) -> ProcessRef:
    """A Python process that has said that it is ready."""
    output = tmp_path / "output"
    marker = str(tmp_path / "marker")
    ref = spawn([sys.executable, "-c", code, marker], marker=marker, output=output, environment=os.environ)
    deadline = time.monotonic() + 20
    while "ready" not in output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return ref


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessRef]:
    """A process that ends with the test."""
    ref = start(tmp_path)
    yield ref
    ref.stop(timeout_s=5)


def test_a_spawned_process_has_a_session_of_its_own(sleeper: ProcessRef) -> None:
    """Ctrl-C at the terminal does not reach it."""
    assert sleeper.alive()
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


def test_a_process_is_alive_from_the_first_look_on(tmp_path: Path) -> None:
    """The system shows a new command line late; until then the process would pass for another one."""
    for _ in range(20):
        ref = spawn(["/bin/sleep", "60"], marker="60", output=tmp_path / "output", environment={})
        assert ref.alive()
        assert ref.stop(timeout_s=10)


def test_a_reused_pid_is_not_taken_for_ours_and_not_killed(sleeper: ProcessRef) -> None:
    """Neither another age nor another command line passes, and stopping such a reference harms nobody."""
    older = dataclasses.replace(sleeper, created_at_s=sleeper.created_at_s - 60)
    other = dataclasses.replace(sleeper, marker="/somewhere/else/server.properties")
    for stale in (older, other):
        assert not stale.alive()
        assert stale.stop(timeout_s=1)
    assert sleeper.alive()


def test_stopping_reports_obedience_and_collects_the_child(tmp_path: Path) -> None:
    """SIGTERM suffices for a process that obeys; afterwards not even a zombie is left."""
    ref = start(tmp_path)
    assert ref.stop(timeout_s=10)
    assert not ref.alive()
    with pytest.raises(ProcessLookupError):
        os.kill(ref.pid, 0)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """It is given its time, then it goes."""
    ref = start(tmp_path, DEAF)
    assert not ref.stop(timeout_s=0.1)
    assert not ref.alive()


def test_a_stopped_process_is_woken_to_end(tmp_path: Path) -> None:
    """One that was frozen by SIGSTOP and tidies up at SIGTERM, as Java does, still ends by it."""
    ref = start(tmp_path, TIDY)
    os.kill(ref.pid, signal.SIGSTOP)
    assert ref.stop(timeout_s=10)
    assert not ref.alive()


def test_a_zombie_counts_as_dead(tmp_path: Path) -> None:
    """A killed child that nobody waited for is not alive, and looking at it collects it."""
    ref = start(tmp_path)
    os.kill(ref.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while ref.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(ref.pid, 0)


def test_an_unnoted_process_is_found_by_program_and_marker(sleeper: ProcessRef, tmp_path: Path) -> None:
    """The service is found; another program with the same file open is not taken for it."""
    program = os.path.basename(sys.executable)  # noqa: PTH119
    found = find(program, sleeper.marker)
    assert found is not None
    assert found.pid == sleeper.pid
    assert find("java", sleeper.marker) is None
    assert find(program, str(tmp_path / "another")) is None


def test_java_options_of_the_caller_do_not_reach_it(tmp_path: Path) -> None:
    """A `JAVA_TOOL_OPTIONS` in the environment would change the broker behind our back."""
    output = tmp_path / "output"
    ref = spawn(
        [sys.executable, "-c", "import os; print(sorted(os.environ))", "m"],
        marker="m",
        output=output,
        environment={"JAVA_TOOL_OPTIONS": "-Xmx1m", "KEPT": "1"},
    )
    assert os.waitpid(ref.pid, 0)[1] == 0
    assert "KEPT" in output.read_text()
    assert "JAVA_TOOL_OPTIONS" not in output.read_text()


def test_spawning_leaves_no_warning_behind() -> None:
    """A starter that ends before its service does so without a ResourceWarning."""
    code = (
        "import os, sys\nfrom penstock.local.process import spawn\nfrom pathlib import Path\n"
        "ref = spawn([sys.executable, '-c', 'pass'], marker='-c', output=Path(os.devnull), environment=os.environ)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
