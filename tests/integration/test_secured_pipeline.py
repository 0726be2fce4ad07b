"""Whole pipelines over encrypted, authenticated connections, each process with its role's permissions and no more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import redis

from streams import topics
from streams.acls import Role, of_role
from streams.kafka import new_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


class CommandLines(threading.Thread):
    """What `ps` would show of the processes below this one, collected while a test runs."""

    def __init__(self, marker: str) -> None:
        super().__init__(daemon=True)
        self._marker = marker
        self._over = threading.Event()
        self.seen: set[str] = set()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(0.2):
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or ())
                if self._marker in line:
                    self.seen.add(line)

    def end(self) -> set[str]:
        """No more looking."""
        self._over.set()
        self.join()
        return self.seen


@pytest.fixture
def command_lines(tmp_path: Path) -> Iterator[CommandLines]:
    """A look-out for the processes of this test."""
    thread = CommandLines(str(tmp_path))
    thread.start()
    yield thread
    thread.end()


def ask(pipeline: Any, count: int) -> None:
    """Send requests, and see each answered once and right."""
    for number in range(count):
        pipeline.send(f"r{number}", np.full((1, 4), number))
    pipeline.producer.flush()
    results = pipeline.results(count)
    assert sorted(result.id for result in results) == sorted(f"r{number}" for number in range(count))
    assert all(result.ok and np.all(result.outputs["y"] == 2 * int(result.id[1:])) for result in results)


@pytest.mark.parametrize("way", ["plain", "mutual"])
def test_a_worker_serves_by_password_and_by_certificate(secured: Any, secured_pipeline: Any, way: str) -> None:
    """The user `worker` with its role's permissions, over SASL PLAIN and over a client's certificate."""
    under_test = secured_pipeline
    grants = of_role(Role.WORKER, under_test.name)
    secured.grants.grant(grants, "User:worker")
    under_test.config.write_text(under_test.config.read_text() + secured.toml("worker", way))
    slot = f"{under_test.name}-cpu-0"
    under_test.start(slot)
    under_test.wait_ready(slot)
    ask(under_test, 20)
    assert under_test.stop(slot) == 0
    assert '"worker.leave_failed"' not in under_test.log(slot)
    secured.grants.revoke(grants, "User:worker")


@contextlib.contextmanager
def autoscaler(config: Path, worker_config: Path, log: Path) -> Iterator[None]:
    """An autoscaler's process, ended with its workers."""
    command = [sys.executable, "-m", "penstock", "autoscaler", "--stop-workers-on-exit"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--config", str(config), "--worker-config", str(worker_config)],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0, log.read_text()[-3000:]


def with_wrong_password(config: Path, wrong: str) -> str:
    """What a worker and an autoscaler say when their password is refused; each ends for a person to look."""
    said = ""
    for command in (["worker", "--slot", "wrong-0"], ["autoscaler", "--actuator", "advisory"]):
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *command, "--config", str(config), "--log-level", "DEBUG"],
            env=os.environ | {"PENSTOCK_KAFKA__CLIENT__SASL_PLAIN_PASSWORD": wrong},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 64, done
        assert "check user, password and mechanism" in done.stderr
        said += done.stdout + done.stderr
    return said


def tape(settings: Any) -> str:
    """All of the telemetry topic."""
    reader = new_reader(settings, [topics.TELEMETRY], from_="earliest")
    found: list[Any] = []
    while more := [record for batch in reader.poll(500).values() for record in batch]:
        found += more
    reader.close(autocommit=False)
    return str(found)


def test_the_whole_job_runs_by_scram_and_shows_no_secret(
    secured: Any, secured_pipeline: Any, command_lines: CommandLines, tmp_path: Path
) -> None:
    """Autoscaler and its workers, each as a user of its own; no secret in logs, files, telemetry, Redis or `ps`."""
    under_test, services = secured_pipeline, secured.services
    users = {role: secured.new_user() for role in (Role.AUTOSCALER, Role.WORKER)}
    for role, user in users.items():
        secured.grants.grant(of_role(role, under_test.name), f"User:{user}")
    account = redis.ConnectionPool.from_url(services.redis_url).connection_kwargs
    (tmp_path / "redis-password").write_text(account["password"] + "\n")
    base, worker_config = under_test.config.read_text(), tmp_path / "worker.toml"
    worker_config.write_text(base + secured.toml(users[Role.WORKER], "scram"))
    redis_lines = (
        f'[redis]\nurl = "redis://{services.redis_url.rpartition("@")[2]}"\nusername = "{account["username"]}"\n'
        'password = "file:redis-password"\n'
    )
    under_test.config.write_text(base + redis_lines + secured.toml(users[Role.AUTOSCALER], "scram"))
    slot, log = f"{under_test.name}-cpu-0", tmp_path / "autoscaler.log"
    with autoscaler(under_test.config, worker_config, log):
        ready = started_log(under_test, tmp_path, slot, log)
        ask(under_test, 20)
        with redis.Redis.from_url(services.redis_url, decode_responses=True) as store:
            keys = [f"penstock:{under_test.name}:{name}" for name in ("decisions", "metrics")]
            under_test.wait_until(lambda: store.exists(*keys) == 2, 30, "a decision in Redis")
            kept = str([store.xrange(keys[0]), store.hgetall(keys[1])])
        # A failure on the way: the worker is killed, and its successor has to log in anew.
        os.kill(int((tmp_path / f".penstock/state/slots/{slot}.lock").read_text()), signal.SIGKILL)
        under_test.wait_until(lambda: ready.read_text().count('"worker.ready"') == 2, 60, "a second worker")

    wrong = f"wr0ng-{account['password'][:8]}"
    shown = {"failures": with_wrong_password(under_test.config, wrong), "redis": kept, "telemetry": tape(secured.admin)}
    shown["ps"] = "\n".join(command_lines.end())
    assert str(worker_config) in shown["ps"]
    assert under_test.name in shown["telemetry"]
    logs = (services.directory / ".penstock/kafka/logs").glob("*.log")
    for path in (*logs, *(path for path in tmp_path.rglob("*") if path.is_file() and path.name != "redis-password")):
        shown[str(path)] = path.read_text(errors="replace")
    assert any("health" in place for place in shown)
    secrets = [wrong, account["password"], *(services.security.password(user) for user in (*users.values(), "admin"))]
    secrets += [line for line in services.security.certificate("admin").read_text().splitlines() if len(line) == 64][:2]
    assert [(place, secret[:4]) for place, text in shown.items() for secret in secrets if secret in text] == []


def started_log(under_test: Any, root: Path, slot: str, autoscaler_log: Path) -> Path:
    """The log of a worker that an autoscaler has started, once it is ready."""
    found: list[Path] = []

    def ready() -> bool:
        found[:] = [path for path in root.rglob(f"*{slot}*.log") if '"worker.ready"' in path.read_text()]
        return bool(found)

    under_test.wait_until(ready, 90, f"a worker\n{autoscaler_log.read_text()[-3000:]}")
    return found[0]
