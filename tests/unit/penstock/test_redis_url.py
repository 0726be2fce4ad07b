"""The Redis URL from its parts, and what does not fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import redis

from penstock import settings
from penstock.errors import InvalidSettings
from penstock.redis_url import compose

if TYPE_CHECKING:
    from pathlib import Path

_LEAST = '[pipeline]\nname = "digits"\nmodel = "models/digits"\n'


def test_user_password_and_certificates_reach_the_client() -> None:
    """As redis-py reads the URL, whatever characters are in them."""
    url = compose(
        "rediss://redis.example:6380/2",
        username="pen/stock",
        password="p@ss:w%rd?",
        ca_file="/c a/ca.pem",
        cert_file="/c/client.pem",
    )
    pool = redis.ConnectionPool.from_url(url)
    found = pool.connection_kwargs
    assert (found["host"], found["port"], found["db"]) == ("redis.example", 6380, 2)
    assert (found["username"], found["password"]) == ("pen/stock", "p@ss:w%rd?")
    assert found["ssl_ca_certs"] == "/c a/ca.pem"
    assert found["ssl_certfile"] == found["ssl_keyfile"] == "/c/client.pem"
    assert pool.connection_class is redis.SSLConnection


def test_a_url_alone_stays_as_it_is() -> None:
    """Its own user and options too."""
    url = "redis://u:p%40@h:1/0?health_check_interval=2"
    assert compose(url) == url


@pytest.mark.parametrize(
    ("url", "parts", "told"),
    [
        ("redis://u:s3cret@h:1", {"password": "x"}, "redis.url has a user or a password too"),
        ("redis://h:1", {"ca_file": "ca.pem"}, "need TLS, and redis.url begins with redis://"),
        ("rediss://h:1", {"key_file": "k.pem"}, "without redis.cert_file"),
        ("redis://[h:1", {}, "redis.url is not understood"),
    ],
)
def test_parts_that_do_not_fit_are_refused(url: str, parts: dict[str, str], told: str) -> None:
    """Without the URL in the message."""
    with pytest.raises(InvalidSettings, match=re.escape(told)) as refused:
        compose(url, **parts)
    assert "s3cret" not in str(refused.value)


def test_settings_name_files_from_their_own_place(tmp_path: Path) -> None:
    """Secrets and certificates lie relative to the settings file; nothing shows the password."""
    (tmp_path / "redis-password").write_text("s3cret\n")
    (tmp_path / "kafka-password").write_text("t0p\n")
    path = tmp_path / "penstock.toml"
    path.write_text(
        _LEAST + "[redis]\nurl = 'rediss://h:6380/0'\nusername = 'p'\npassword = 'file:redis-password'\n"
        "ca_file = 'ca.pem'\n[kafka.client]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'SCRAM-SHA-512'\n"
        "sasl_plain_username = 'app'\nsasl_plain_password = 'file:kafka-password'\nssl_cafile = 'ca.pem'\n"
    )
    tree = settings.load(path, {})
    url = tree.redis.resolved_url()
    assert url is not None
    assert url.startswith("rediss://p:s3cret@h:6380/0?ssl_ca_certs=")
    assert tree.kafka.client["ssl_cafile"] == str(tmp_path / "ca.pem")
    assert tree.kafka.resolved_client()["sasl_plain_password"] == "t0p"
    assert "s3cret" not in repr(tree)
    assert "t0p" not in repr(tree)


def test_variables_carry_secrets_and_switches(tmp_path: Path) -> None:
    """Text stays text where it is a password; "false" is no truth."""
    path = tmp_path / "penstock.toml"
    path.write_text(_LEAST)
    prefix = "PENSTOCK_KAFKA__CLIENT__"
    environ = {
        f"{prefix}SECURITY_PROTOCOL": "SASL_SSL",
        f"{prefix}SASL_MECHANISM": "PLAIN",
        f"{prefix}SASL_PLAIN_USERNAME": "true",
        f"{prefix}SASL_PLAIN_PASSWORD": "12345",
        f"{prefix}SSL_CHECK_HOSTNAME": "False",
        f"{prefix}CONNECTIONS_MAX_IDLE_MS": "60000",
    }
    client = settings.load(path, environ).kafka.client
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("true", "12345")
    assert client["ssl_check_hostname"] is False
    assert client["connections_max_idle_ms"] == 60_000


def test_a_password_file_that_is_missing_is_said(tmp_path: Path) -> None:
    """Field, path and cure."""
    path = tmp_path / "penstock.toml"
    path.write_text(_LEAST + "[redis]\nurl = 'redis://h:1/0'\npassword = 'file:gone'\n")
    with pytest.raises(InvalidSettings, match=r"redis\.password=file:.*gone: No such file"):
        settings.load(path, {}).redis.resolved_url()
