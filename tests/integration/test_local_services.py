"""The embedded Kafka and Redis, for real: start, stop, kill, side by side."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
import requests
from click.testing import CliRunner
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from redis.exceptions import NoPermissionError

from penstock.cli import down, status, up
from penstock.errors import PortTaken
from penstock.local import services as local
from penstock.local.services import LocalServices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for this module; each test starts what it needs in it. The blank and the umlaut are on purpose."""
    path = tmp_path_factory.mktemp("local") / "a földer"
    path.mkdir()
    yield path
    local.stop(path)


@pytest.fixture(autouse=True)
def offline(services: LocalServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's services have filled the jar cache: from here on no start may use the network."""

    def refuse(*_: object, **__: object) -> requests.Response:
        raise requests.exceptions.ConnectionError("a second start went to the network")

    monkeypatch.setattr(requests, "request", refuse)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait for something that is bound to come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def write(bootstrap: str, topic: str, value: bytes) -> None:
    """Create a topic and write one record that all replicas have."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    producer.send(topic, value).get(timeout=30)
    producer.close()


def read(bootstrap: str, topic: str) -> bytes:
    """The first record of a topic."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    try:
        return bytes(next(consumer).value)
    finally:
        consumer.close()


def pids(folder: Path) -> tuple[int | None, int | None]:
    """The processes of a folder."""
    seen = local.status(folder)
    return seen.kafka.pid, seen.redis.pid


def test_the_commands_start_show_adopt_and_stop(folder: Path) -> None:
    """up, status, up again (the same processes), down, status: as a person types them."""
    run, where = CliRunner(), ["--directory", str(folder)]
    first = run.invoke(up.command, ["--local", *where])
    assert first.exit_code == 0, first.output
    password = redis.ConnectionPool.from_url(
        (folder / ".penstock" / "redis-url").read_text().strip()
    ).connection_kwargs["password"]
    assert "redis://penstock:***@127.0.0.1:" in first.output
    assert password not in first.output
    assert str(folder / ".penstock" / "redis-url") in first.output

    shown = run.invoke(status.command, ["--json", *where])
    assert shown.exit_code == 0
    seen = json.loads(shown.output)
    assert seen["running"]
    assert seen["kafka"]["address"] in first.output
    assert password not in shown.output

    before = pids(folder)
    again = run.invoke(up.command, ["--local", *where])
    assert again.exit_code == 0, again.output
    assert pids(folder) == before

    assert run.invoke(down.command, where).output == "Stopped.\n"
    assert not any(pid and psutil.pid_exists(pid) for pid in before)
    assert run.invoke(status.command, where).exit_code == 3
    assert run.invoke(down.command, where).output == "Nothing runs here.\n"


def test_killed_services_come_back_where_they_were_with_their_records(folder: Path) -> None:
    """After SIGKILL of both: the same addresses, the same password, and no acknowledged record lost."""
    before = LocalServices.start(folder)
    write(before.bootstrap, "kept", b"record")
    for pid in pids(folder):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pids(folder) == (None, None))
    after = LocalServices.start(folder)
    assert (after.bootstrap, after.redis_url) == (before.bootstrap, before.redis_url)
    assert read(after.bootstrap, "kept") == b"record"


def test_a_hung_broker_without_a_note_is_found_and_replaced(folder: Path) -> None:
    """A broker that answers nothing and that nobody noted is ended before a new one starts on its data."""
    LocalServices.start(folder)
    hung, _ = pids(folder)
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    assert local.status(folder).kafka.health == "not answering"
    (folder / ".penstock" / "services.json").unlink()
    LocalServices.start(folder)
    assert local.status(folder).running
    assert pids(folder)[0] != hung
    assert not psutil.pid_exists(hung)


def test_two_folders_run_side_by_side(services: LocalServices, folder: Path) -> None:
    """Neither sees the other's topics or keys, and stopping one leaves the other."""
    other = LocalServices.start(folder)
    write(other.bootstrap, "only-here", b"x")
    with KafkaAdminClient(bootstrap_servers=services.bootstrap) as admin:
        assert "only-here" not in admin.list_topics()
    with redis.Redis.from_url(other.redis_url) as here, redis.Redis.from_url(services.redis_url) as there:
        here.set("side", "by side")
        assert there.get("side") is None
    other.stop()
    assert local.status(services.directory).running


def test_redis_takes_nobody_without_the_password(services: LocalServices) -> None:
    """No password, and a wrong one, are both refused; the right one serves, and dangerous commands stay off."""
    address = services.redis_url.rpartition("@")[2]
    for user in ("", "penstock:guess@", "default:@"):
        with (
            redis.Redis.from_url(f"redis://{user}{address}") as client,
            pytest.raises((redis.AuthenticationError, NoPermissionError)),
        ):
            client.ping()
    with redis.Redis.from_url(services.redis_url) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.execute_command("SHUTDOWN")


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    """The command names the option, the port and the cure, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(PortTaken):
            LocalServices.start(tmp_path, redis_port=port)
        shown = CliRunner().invoke(up.command, ["--local", "--kafka-port", str(port), "--directory", str(tmp_path)])
    assert shown.exit_code == 69
    assert f"--kafka-port {port} is taken" in shown.output
    assert "name another port" in shown.output
    assert pids(tmp_path) == (None, None)
