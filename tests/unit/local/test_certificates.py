"""The embedded broker's certificates: trusted by their own authority, readable by their owner, renewed in time."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from penstock.local import certificates
from penstock.local.security import USERS, SecuritySpec, client_settings, properties

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, hostname: str) -> ssl.SSLObject:
    """Both ends of a TLS handshake in memory; the server's end.

    Raises:
        ssl.SSLError: either refuses the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    for _ in range(5):
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    there.read(0)
    return there


def serving(directory: Path) -> ssl.SSLContext:
    """As the broker does: its certificate shown, and one asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "broker.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def spec(tmp_path: Path) -> SecuritySpec:
    """All files made."""
    spec = SecuritySpec(tmp_path / "security", 9094)
    spec.prepare()
    return spec


@pytest.mark.parametrize("hostname", ["127.0.0.1", "localhost"])
def test_both_ends_trust_each_other(spec: SecuritySpec, hostname: str) -> None:
    """The broker sees the user's name, and the user the broker under its address."""
    end = shake_hands(serving(spec.directory), spec.context("worker"), hostname)
    shown = end.getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "worker"),),)


def test_strangers_are_refused(spec: SecuritySpec, tmp_path: Path) -> None:
    """Another authority's certificate, another host's name, and no certificate at all."""
    other = SecuritySpec(tmp_path / "other", 9094)
    other.prepare()
    mixed = ssl.create_default_context(cafile=str(spec.ca))
    mixed.load_cert_chain(other.certificate("worker"))
    for client, hostname in (
        (mixed, "localhost"),
        (other.context("worker"), "localhost"),
        (spec.context("worker"), "elsewhere.example"),
        (ssl.create_default_context(cafile=str(spec.ca)), "localhost"),
    ):
        with pytest.raises(ssl.SSLError):
            shake_hands(serving(spec.directory), client, hostname)


def test_all_of_it_is_for_its_owner_alone(spec: SecuritySpec) -> None:
    """Keys, passwords and the folder."""
    assert spec.directory.stat().st_mode & 0o777 == 0o700
    files = list(spec.directory.iterdir())
    assert len(files) == 2 + 1 + 2 * len(USERS)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_second_start_keeps_what_is_there(spec: SecuritySpec) -> None:
    """Clients go on with their files."""
    before = {path.name: path.read_bytes() for path in spec.directory.iterdir()}
    spec.prepare()
    assert {path.name: path.read_bytes() for path in spec.directory.iterdir()} == before


def test_certificates_are_renewed_in_their_last_month(tmp_path: Path) -> None:
    """All together, as a new authority signs them."""
    certificates.ensure(tmp_path, ["broker"], NOW - dt.timedelta(days=705))
    old = (tmp_path / "broker.pem").read_bytes()
    certificates.ensure(tmp_path, ["broker"], NOW)
    new = (tmp_path / "broker.pem").read_bytes()
    assert new != old
    assert x509.load_pem_x509_certificate(new).not_valid_after_utc > NOW + dt.timedelta(days=700)


def test_the_broker_denies_by_default_and_passwords_are_named_by_file(spec: SecuritySpec) -> None:
    """No listener without locks; what clients are told holds no secret."""
    told = properties(spec, port=9093, controller_port=9095)
    assert "PLAINTEXT" not in str(told)
    assert told["allow.everyone.if.no.acl.found"] == "false"
    assert told["super.users"] == "User:admin;User:broker"
    for way in ("scram", "plain", "mutual"):
        assert spec.password("worker") not in str(client_settings(spec, "worker", way))  # type: ignore[arg-type]
