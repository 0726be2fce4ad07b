"""Real workers on the session's real Kafka: a model, a template to fork from, and a pipeline to serve."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from autoscaler.actuators.launchers import SubprocessLauncher
from penstock.local.security import ADMIN, client_settings
from penstock.local.services import LocalServices
from penstock.template_launcher import TemplateLauncher
from streams import topics
from streams.acls import Role, of_role
from streams.kafka import Admin, KafkaSettings, new_producer, new_reader
from streams.kafka.grants import GrantsAdmin, wait_for_user
from streams.kafka.permissions import survey
from streams.records import Encoding, decode_result, encode_request
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from streams.acls import Grant

#: y = 2 x: every answer can be checked by eye.
_DOUBLING_MODEL = """
import sys, tensorflow as tf
class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": 2.0 * x}
module = Doubling()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})
"""


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look until it holds; fail with `what` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_s} s still not: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def doubling_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel directory with version 1 of y = 2 x."""
    root = tmp_path_factory.mktemp("models") / "doubling"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", _DOUBLING_MODEL, str(root / "1")], check=True, env=environment, capture_output=True
    )
    return root


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemplateLauncher]:
    """A worker template: workers of tests start as quickly as those of the autoscaler."""
    launcher = TemplateLauncher(SubprocessLauncher())
    launcher.start(tmp_path_factory.mktemp("template") / "template.log")
    yield launcher
    launcher.close()


@dataclass
class Pipeline:
    """One pipeline under test: its topics, its workers, what was sent and what came back."""

    name: str
    kafka: KafkaSettings
    directory: Path
    launcher: TemplateLauncher
    producer: Any
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.directory / "penstock.toml"

    def start(self, slot: str) -> int:
        """Start a worker."""
        environment = {**os.environ, "PENSTOCK_ASKED_AT_S": str(time.time())}
        argv = [sys.executable, "-m", "penstock", "worker", "--config", str(self.config), "--slot", slot]
        self.pids[slot] = self.launcher.launch(argv, environment, self.directory / f"{slot}.log")
        return self.pids[slot]

    @staticmethod
    def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """See `wait_until`; tests cannot import this module."""
        wait_until(condition, timeout_s, what)

    def log(self, slot: str) -> str:
        """What a worker has logged."""
        path = self.directory / f"{slot}.log"
        return path.read_text() if path.exists() else ""

    def wait_ready(self, slot: str, times: int = 1) -> None:
        """Wait until a worker has said `times` times over its restarts that it is ready."""
        wait_until(
            lambda: self.log(slot).count('"worker.ready"') >= times, 90, f"{slot} ready\n{self.log(slot)[-2000:]}"
        )

    def kill(self, slot: str) -> None:
        """SIGKILL a worker and wait until it is gone."""
        pid = self.pids.pop(slot)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _gone(pid), 10, f"{slot} dead")

    def stop(self, slot: str) -> int | None:
        """SIGTERM a worker; its exit code."""
        os.kill(self.pids[slot], signal.SIGTERM)
        return self.exit_code(slot)

    def exit_code(self, slot: str) -> int | None:
        """The exit code of a worker that ends by itself."""
        pid = self.pids.pop(slot)
        code: list[int | None] = [None]

        def ended() -> bool:
            code[0] = self.launcher.exit_code(pid)
            return code[0] is not None

        wait_until(ended, 30, f"{slot} ended\n{self.log(slot)[-2000:]}")
        return code[0]

    def send(
        self,
        request_id: str,
        x: np.ndarray,
        *,
        encoding: Encoding = Encoding.BINARY,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Send one good request."""
        value, content = encode_request({"x": x.astype(np.float32)}, request_id=request_id, encoding=encoding)
        self.send_raw(value, content + (headers or []), key=request_id.encode())

    def send_raw(self, value: bytes | None, headers: list[tuple[str, bytes]], *, key: bytes | None = None) -> None:
        """Send any bytes as a request."""
        self.producer.send(topics.requests(self.name), value=value, key=key or b"k", headers=headers)

    def results(self, count: int, timeout_s: float = 60.0) -> list[Any]:
        """All results a read-committed reader sees once there are `count`, doubles included."""
        return [decode_result(r.value, r.headers) for r in self.read(topics.results(self.name), count, timeout_s)]

    def read(self, topic: str, count: int, timeout_s: float = 60.0) -> list[Any]:
        """All records of a topic, once there are `count`; then up to its end, so that doubles are seen too."""
        reader = new_reader(self.kafka, [topic], isolation="read_committed", from_="earliest")
        found: list[Any] = []
        deadline = time.monotonic() + timeout_s
        try:
            while len(found) < count and time.monotonic() < deadline:
                found += [record for records in reader.poll(200).values() for record in records]
            while more := [record for records in reader.poll(500).values() for record in records]:
                found += more
        finally:
            reader.close()
        return found


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def served(
    pipeline: str, kafka_settings: KafkaSettings, tmp_path: Path, doubling_model: Path, template: TemplateLauncher
) -> Iterator[Pipeline]:
    """A pipeline with four partitions and no worker yet."""
    with Admin(kafka_settings, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=4))
    (tmp_path / "penstock.toml").write_text(
        f'[pipeline]\nname = "{pipeline}"\nmodel = "{doubling_model}"\n'
        f'[kafka]\nbootstrap_servers = "{kafka_settings.servers[0]}"\n'
        "[worker]\nmax_batch = 16\ndrain_s = 10\n"
    )
    producer = new_producer(kafka_settings, "test")
    under_test = Pipeline(pipeline, kafka_settings, tmp_path, template, producer)
    yield under_test
    producer.close()
    for pid in under_test.pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Secured:
    """A broker with locks, and its administrator at work."""

    services: LocalServices
    admin: KafkaSettings
    grants: GrantsAdmin

    def settings(self, user: str, way: str = "scram", **more: Any) -> KafkaSettings:
        """How a user connects: by `scram`, `plain` or `mutual`."""
        return KafkaSettings(self.bootstrap(way), client=self.client(user, way), **more)

    def bootstrap(self, way: str) -> str:
        """Where the listener is."""
        return (self.services.mutual_bootstrap or "") if way == "mutual" else self.services.bootstrap

    def client(self, user: str, way: str) -> dict[str, Any]:
        """A user's `kafka.client`."""
        assert self.services.security is not None
        return client_settings(self.services.security, user, way)  # type: ignore[arg-type]

    def new_user(self) -> str:
        """A user that nobody else has, with a password and without permissions."""
        assert self.services.security is not None
        user = f"user-{uuid.uuid4().hex[:8]}"
        password = uuid.uuid4().hex
        self.services.security.password_file(user).write_text(password)
        self.grants.set_passwords({user: password})
        wait_for_user(self.settings(user))
        return user

    def permit(self, user: str, grants: Collection[Grant], look: Admin | None = None) -> None:
        """Give permissions, and wait until the broker goes by them; `look` is a connection as that user, if any."""
        self.grants.grant(grants, f"User:{user}")
        self._until(user, grants, look, lacking=0)

    def forbid(self, user: str, grants: Collection[Grant], look: Admin | None = None) -> None:
        """Take permissions away, and wait until the broker goes by it."""
        assert self.grants.revoke(grants, f"User:{user}") == len(grants)
        self._until(user, grants, look, lacking=len(grants))

    def _until(self, user: str, grants: Collection[Grant], look: Admin | None, *, lacking: int) -> None:
        with contextlib.nullcontext(look) if look else Admin(self.settings(user), "test-look") as admin:
            wait_until(lambda: len(survey(admin, grants).lacking) == lacking, 30, "permissions known")

    def toml(self, user: str, way: str) -> str:
        """The tables `kafka` and `kafka.client` of a settings file."""
        lines = [f'{name} = "{value}"' for name, value in self.client(user, way).items()]
        return "\n".join((f'[kafka]\nbootstrap_servers = "{self.bootstrap(way)}"\n[kafka.client]', *lines, ""))


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A second broker, with locks; started for the first test that asks for it."""
    with LocalServices.start(tmp_path_factory.mktemp("secured"), ephemeral=True, secure=True) as services:
        assert services.security is not None
        admin = KafkaSettings(services.bootstrap, client=client_settings(services.security, ADMIN, "scram"))
        with GrantsAdmin(admin, "test-grants") as grants:
            yield Secured(services, admin, grants)


@pytest.fixture
def secured_pipeline(
    pipeline: str, secured: Secured, tmp_path: Path, doubling_model: Path, template: TemplateLauncher
) -> Iterator[Pipeline]:
    """A pipeline on the secured broker; its topics are there, its settings file is the test's to write (`secure`)."""
    with Admin(secured.admin, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=2))
    client = secured.new_user()
    secured.permit(client, of_role(Role.CLIENT, pipeline))
    (tmp_path / "penstock.toml").write_text(f'[pipeline]\nname = "{pipeline}"\nmodel = "{doubling_model}"\n')
    settings = secured.settings(client)
    producer = new_producer(settings, "test")
    under_test = Pipeline(pipeline, settings, tmp_path, template, producer)
    yield under_test
    producer.close()
    for pid in under_test.pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
