"""The process actuator on real processes: nothing is mocked, small Python programs stand in for workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from autoscaler.actuators import identity
from autoscaler.actuators.advisory import AdvisoryActuator, advice
from autoscaler.actuators.base import ActuatorSettings
from autoscaler.actuators.processes import ProcessActuator
from autoscaler.errors import ActuatorFailed, StaleDecider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTINGS = ActuatorSettings(
    drain_deadline_s=0.6, backoff_initial_s=0.05, backoff_max_s=0.2, stable_after_s=30, refused_retry_s=300
)
#: Runs until SIGTERM, then ends at once; says so in its log.
OBEDIENT = "import signal,sys; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause()"
#: Does not end on SIGTERM.
STUBBORN = "import signal,time\nsignal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: time.sleep(60)"


class Fleet:
    """An actuator on small programs, with the test's helpers around it."""

    def __init__(self, state: Path, program: str = OBEDIENT) -> None:
        self.state = state
        self.removed: list[str] = []
        self.argv = [sys.executable, "-S", "-c", program, "{slot}", "{type}"]
        self.actuator = self.another()

    def another(self) -> ProcessActuator:
        """A second actuator on the same state directory."""
        return ProcessActuator("p", self.state, self.argv, settings=SETTINGS, on_removed=self.removed.append)

    def pids(self) -> dict[str, int]:
        """Live workers by slot."""
        _, records = self.actuator._look()
        return {slot.name("p"): record.pid for slot, record in records.items() if record.pid is not None}

    def logs(self, slot: str) -> str:
        """What a worker has written."""
        path = self.state / "logs" / f"{slot}.log"
        return path.read_text() if path.exists() else ""

    def until(self, condition: Callable[[], bool], deadline_s: float = 15) -> None:
        """Reconcile until it is so."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, (self.pids(), self.actuator.problems())
            self.actuator.reconcile()
            time.sleep(0.01)

    def up(self, fleet: dict[str, int], epoch: int = 1) -> dict[str, int]:
        """Declare, and wait until each worker has installed its handler."""
        self.actuator.declare(fleet, epoch)
        self.until(
            lambda: (
                len(self.pids()) == sum(fleet.values())
                and all(self.logs(slot).endswith("up\n") for slot in self.pids())
            )
        )
        return self.pids()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose workers end with the test."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.actuator.stop_workers()


def test_a_declared_fleet_runs_in_sessions_of_its_own(fleet: Fleet) -> None:
    """Workers are told their slot, type and moment of asking, and are no part of this process's session."""
    pids = fleet.up({"cpu": 2, "gpu": 1})
    assert set(pids) == {"p-cpu-0", "p-cpu-1", "p-gpu-0"}
    for pid in pids.values():
        assert os.getsid(pid) == pid
    with open(f"/proc/{pids['p-gpu-0']}/environ") as file:  # noqa: PTH123 - not a file of the project
        assert "PENSTOCK_ASKED_AT_S=" in file.read()
    assert fleet.actuator.status().running == {"cpu": 2, "gpu": 1}
    assert fleet.actuator.status().declared == {"cpu": 2, "gpu": 1}


def test_a_crashed_worker_is_restarted_in_its_slot(fleet: Fleet) -> None:
    """SIGKILL on a worker brings a new process under the same name."""
    before = fleet.up({"cpu": 2})
    os.kill(before["p-cpu-1"], signal.SIGKILL)
    fleet.until(lambda: len(fleet.pids()) == 2 and fleet.pids()["p-cpu-1"] != before["p-cpu-1"])
    assert fleet.pids()["p-cpu-0"] == before["p-cpu-0"]


def test_scale_in_drains_the_highest_slot_and_tells_the_group(fleet: Fleet) -> None:
    """The highest number gets SIGTERM; once it has ended its membership is removed."""
    fleet.up({"cpu": 3})
    fleet.actuator.declare({"cpu": 1}, 1)
    fleet.until(lambda: fleet.removed == ["p-cpu-1", "p-cpu-2"])
    assert set(fleet.pids()) == {"p-cpu-0"}
    assert not list((fleet.state / "fleet/p/slots").glob("*-[12].json"))


def test_a_worker_that_does_not_drain_is_killed_at_its_deadline(tmp_path: Path) -> None:
    """SIGTERM, the deadline, then SIGKILL; not before."""
    fleet = Fleet(tmp_path, STUBBORN)
    pid = fleet.up({"cpu": 1})["p-cpu-0"]
    born = identity.birth(pid)
    asked_s = time.monotonic()
    fleet.actuator.declare({}, 1)
    fleet.until(lambda: fleet.removed == ["p-cpu-0"])
    assert time.monotonic() - asked_s >= SETTINGS.drain_deadline_s
    assert born is not None
    assert not identity.alive(pid, born)


def test_a_crash_loop_is_visible_and_slows_down(tmp_path: Path) -> None:
    """A program that ends at once is restarted with pauses, and named as a crash loop."""
    fleet = Fleet(tmp_path, "import sys; print('start', flush=True); sys.exit(3)")
    fleet.actuator.declare({"cpu": 1}, 1)
    fleet.until(lambda: any(problem.crashes >= 3 for problem in fleet.actuator.problems()))
    (problem,) = fleet.actuator.problems()
    assert problem.meaning.startswith("crash loop")
    starts = fleet.logs("p-cpu-0").count("start")
    fleet.actuator.stop_workers()
    assert 3 <= starts <= 5


def test_a_refused_configuration_is_reported_and_not_tried_hot(tmp_path: Path) -> None:
    """Exit code 64 starts once, then waits."""
    fleet = Fleet(tmp_path, "import sys; print('start', flush=True); sys.exit(64)")
    fleet.actuator.declare({"cpu": 1}, 1)
    fleet.until(lambda: bool(fleet.actuator.problems()))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        fleet.actuator.reconcile()
    (problem,) = fleet.actuator.problems()
    assert "configuration" in problem.meaning
    assert problem.exit_code == 64
    assert fleet.logs("p-cpu-0").count("start") == 1
    fleet.actuator.stop_workers()


def test_a_lower_epoch_is_refused(fleet: Fleet) -> None:
    """A stale decider changes nothing, whichever actuator it speaks through."""
    fleet.actuator.declare({"cpu": 1}, 7)
    stale = fleet.another()
    with pytest.raises(StaleDecider, match="epoch 6"):
        stale.declare({"cpu": 9}, 6)
    stale.declare({"cpu": 1}, 7)
    assert fleet.another().status().declared == {"cpu": 1}


def test_workers_are_adopted_after_the_owner_was_killed(fleet: Fleet) -> None:
    """SIGKILL on the owning process leaves its workers running; the next owner knows them and starts no others."""
    owner = textwrap.dedent(f"""
        import time, pathlib
        from autoscaler.actuators.processes import ProcessActuator
        actuator = ProcessActuator("p", pathlib.Path({str(fleet.state)!r}), {fleet.argv!r})
        actuator.declare({{"cpu": 2}}, 1)
        actuator.reconcile()
        print("done", flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        process.kill()
    fleet.actuator.reconcile()
    before = fleet.pids()
    assert len(before) == 2
    fleet.until(lambda: all(fleet.logs(slot) == "up\n" for slot in before))
    fleet.actuator.reconcile()
    assert fleet.pids() == before
    os.kill(before["p-cpu-0"], signal.SIGKILL)
    fleet.until(lambda: len(fleet.pids()) == 2 and fleet.pids()["p-cpu-0"] != before["p-cpu-0"])


def test_a_worker_whose_pid_was_not_noted_is_found(fleet: Fleet) -> None:
    """An owner killed between start and note leaves a worker that is found by its environment, not started twice."""
    pids = fleet.up({"cpu": 1})
    _, records = fleet.actuator._look()
    (record,) = records.values()
    fleet.actuator._files.keep(type(record)(record.slot, record.asked_at_s))
    late = fleet.another()
    late.reconcile()
    (found,) = late._look()[1].values()
    assert found.pid == pids["p-cpu-0"]


def test_a_reused_pid_is_never_signalled(fleet: Fleet) -> None:
    """A note that names a living stranger's pid with another birth is a dead worker; the stranger gets no signal."""
    with subprocess.Popen([sys.executable, "-S", "-c", OBEDIENT], stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        pids = fleet.up({"cpu": 1})
        _, records = fleet.actuator._look()
        (record,) = records.values()
        # The stranger has the pid that was noted for a worker which began earlier.
        assert record.born is not None
        assert not identity.send(stranger.pid, record.born, signal.SIGTERM)
        os.kill(pids["p-cpu-0"], signal.SIGKILL)
        fleet.actuator._files.keep(
            type(record)(record.slot, record.asked_at_s, pid=stranger.pid, born=record.born, crashes=0)
        )
        late = fleet.another()
        late.declare({}, 1)
        late.reconcile()
        assert stranger.poll() is None
        stranger.kill()


def test_two_actuators_keep_one_fleet(fleet: Fleet) -> None:
    """Two processes' actuators on one directory start no worker twice and agree on what runs."""
    second = fleet.another()
    fleet.actuator.declare({"cpu": 3}, 1)
    for _ in range(5):
        fleet.actuator.reconcile()
        second.reconcile()
    fleet.up({"cpu": 3})
    second.reconcile()
    assert second.status() == fleet.actuator.status()
    assert all(fleet.logs(slot).count("up") == 1 for slot in fleet.pids())


def test_a_command_that_is_not_there_is_a_crash_with_pauses(tmp_path: Path) -> None:
    """A missing executable is reported as a problem of the slot; the actuator goes on."""
    actuator = ProcessActuator("p", tmp_path, ["/no/such/worker"], settings=SETTINGS)
    actuator.declare({"cpu": 1}, 1)
    actuator.reconcile()
    actuator.reconcile()
    (problem,) = actuator.problems()
    assert problem.crashes == 1
    actuator.stop_workers()


def test_a_spoilt_declaration_is_an_error_with_a_cure(tmp_path: Path) -> None:
    """A file that is no declaration is named, with what to do."""
    fleet = Fleet(tmp_path)
    fleet.actuator.declare({}, 1)
    (tmp_path / "fleet/p/declared.json").write_text("{")
    with pytest.raises(ActuatorFailed, match="remove it"):
        fleet.actuator.reconcile()


def test_advice_changes_nothing_and_is_fenced() -> None:
    """The advisory actuator shows what runs, and refuses a stale decider as the others do."""
    actuator = AdvisoryActuator("p", lambda: {"cpu": 1})
    actuator.declare({"cpu": 3}, 5)
    actuator.reconcile()
    assert actuator.status().running == {"cpu": 1}
    assert advice({"cpu": 3}, {"cpu": 1, "gpu": 1}) == "would start 2 cpu, would stop 1 gpu"
    with pytest.raises(StaleDecider):
        actuator.declare({"cpu": 3}, 4)
