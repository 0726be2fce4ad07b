"""The metrics store over TLS, with a certificate of its own and an ACL user of few rights.

The embedded server's build speaks no TLS, so a terminator of this test's stands before a real one: everything but the
server's own end of TLS is real.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import selectors
import socket
import socketserver
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest

from autoscaler.errors import StoreUnavailable
from autoscaler.model import Action, ArrivalSample, Control, Decision, FleetStatus, Observation, Rates
from autoscaler.redis_store import MetricsStore, StoreSettings
from penstock import settings
from penstock.local import certificates
from penstock.local.ports import pick
from penstock.local.redis_node import RedisNode, redis_executable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.services

#: As docs/how-to/secure.md has them.
RIGHTS = "~penstock:* +@read +@write +@transaction +@connection -@dangerous"
PASSWORD = "p@ss/w:rd?"


class Terminator(socketserver.BaseRequestHandler):
    """TLS outside, plain text to the server inside."""

    context: ssl.SSLContext
    inside: tuple[str, int]

    def handle(self) -> None:
        """Carry bytes both ways until one end is gone."""
        with contextlib.suppress(OSError), self.context.wrap_socket(self.request, server_side=True) as outside:
            outside.settimeout(5)
            with socket.create_connection(self.inside) as inside, selectors.DefaultSelector() as look:
                look.register(outside, selectors.EVENT_READ, inside)
                look.register(inside, selectors.EVENT_READ, outside)
                while all(self._carry(key.fileobj, key.data) for key, _ in look.select()):
                    pass

    @staticmethod
    def _carry(source: object, target: socket.socket) -> bool:
        assert isinstance(source, socket.socket)
        data = source.recv(65_536)
        while isinstance(source, ssl.SSLSocket) and source.pending():
            data += source.recv(65_536)
        target.sendall(data)
        return bool(data)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A real server with a user of few rights, behind TLS that asks for a certificate; `host:port`."""
    certificates.ensure(tmp_path, ["server", "client"], dt.datetime.now(dt.UTC))
    node = RedisNode(tmp_path / "redis", pick(None, "port", last=0, avoid=frozenset()), "admin", redis_executable())
    node.configure()
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    with (node.directory / "users.acl").open("a") as users:
        users.write(f"user few on #{digest} {RIGHTS}\n")
    process = node.start()
    node.wait_ready(process)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    handler = type("Handler", (Terminator,), {"context": context, "inside": ("127.0.0.1", node.port)})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
    process.stop(timeout_s=10)


def url_of(tmp_path: Path, address: str, **changes: str | None) -> str:
    """The URL that settings make, with something else here and there; `None` leaves a line out."""
    (tmp_path / "redis-password").write_text(PASSWORD + "\n")
    lines = {
        "url": f"rediss://{address}/0",
        "username": "few",
        "password": "file:redis-password",
        "ca_file": "ca.pem",
        "cert_file": "client.pem",
        **changes,
    }
    told = "".join(f'{name} = "{value}"\n' for name, value in lines.items() if value is not None)
    (tmp_path / "penstock.toml").write_text(f'[pipeline]\nname = "p"\nmodel = "m"\n[redis]\n{told}')
    url = settings.load(tmp_path / "penstock.toml", {}).redis.resolved_url()
    assert url is not None
    return url


def test_metrics_and_history_go_over_tls_with_few_rights(tmp_path: Path, address: str) -> None:
    """Written, read again, and control obeyed, as the user that the how-to describes."""
    url = url_of(tmp_path, address)
    store = MetricsStore(url, "p", StoreSettings(timeout_s=2.0, interval_s=0.05))
    store.start()
    try:
        at_s = time.time()
        rates = Rates(at_s, 40.0, 40.0, None, {}, None, None, None)
        fleet = FleetStatus({"cpu": 1}, {"cpu": 1})
        decision = Decision(
            pipeline="p",
            at_s=at_s,
            action=Action.HOLD,
            fleet={"cpu": 1},
            reason="as it is",
            bound="plan",
            plan=None,
            forecast=None,
            runner_up=None,
            runner_up_price_per_hour=None,
            price_per_hour=0.1,
            advisory=False,
        )
        observation = Observation("p", at_s, 1, rates, {0: 1}, fleet, Control())
        store.record(ArrivalSample("p", at_s, {0: 5}, {0: 4}), observation, decision)
        deadline = time.monotonic() + 15
        while not (store.health().connected and store.health().waiting == 0 and store.recent_rates(60)):
            assert time.monotonic() < deadline, store.health()
            time.sleep(0.02)
        assert store.control() is not None
    finally:
        store.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ca_file": None}, "CERTIFICATE_VERIFY_FAILED"),
        ({"cert_file": None}, "(?i)certificate|closed|reset|EOF"),
        ({"password": "wrong"}, "invalid username-password"),
        ({"username": "nobody"}, "invalid username-password"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(
    tmp_path: Path, address: str, changes: dict[str, str | None], told: str
) -> None:
    """An authority that is not trusted, no certificate, a wrong password, an unknown user."""
    store = MetricsStore(url_of(tmp_path, address, **changes), "p", StoreSettings(timeout_s=2.0))
    try:
        with pytest.raises(StoreUnavailable, match=told) as refused:
            store.recent_rates(60)
    finally:
        store.close()
    assert PASSWORD not in str(refused.value)
