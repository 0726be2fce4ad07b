"""Secrets named by their file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams import secrets
from streams.errors import AuthenticationFailed
from streams.kafka import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "app"}


def test_a_file_is_read_when_a_client_connects(tmp_path: Path) -> None:
    """Its content without the line's end, as it is at that moment; the settings keep the name only."""
    file = tmp_path / "password"
    file.write_text("first secret \n")
    settings = KafkaSettings("b:9092", client={**SASL, "sasl_plain_password": f"file:{file}"})
    assert settings.resolved_client()["sasl_plain_password"] == "first secret "
    file.write_text("second")
    assert settings.common()["sasl_plain_password"] == "second"
    assert "second" not in repr(settings)
    assert str(file) not in repr(settings)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not UTF-8")]
)
def test_a_file_without_a_secret_is_said_by_name(tmp_path: Path, content: bytes | None, told: str) -> None:
    """With the field and the cure, and never with what is in it."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AuthenticationFailed, match=rf"kafka\.client\.sasl_plain_password=file:.*{told}"):
        secrets.resolved({"sasl_plain_password": f"file:{file}"}, "kafka.client")


def test_other_values_stay_as_they_are() -> None:
    """Text that names no file, and what is no text."""
    given = {"ssl_check_hostname": False, "sasl_plain_username": "app", "request_timeout_ms": 5}
    assert secrets.resolved(given, "kafka.client") == given


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ({"sasl_plain_password": "s3cret", "sasl_mechanism": "PLAIN"}, "has no effect with security_protocol='PLAIN"),
        ({**SASL, "security_protocol": "SSL", "sasl_plain_password": "s3cret"}, "choose a protocol with SASL"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "ssl_cafile": "ca.pem"}, "with SSL"),
        ({"security_protocol": "SASL_SSL", "sasl_plain_password": "s3cret"}, "sasl_mechanism is missing"),
        ({"security_protocol": "TLS"}, "must be one of PLAINTEXT, SSL"),
    ],
)
def test_credentials_that_would_be_ignored_are_refused(client: dict[str, str], told: str) -> None:
    """A protocol that was forgotten must not mean plain text in silence."""
    with pytest.raises(ValueError, match=told) as refused:
        KafkaSettings("b:9092", client=client)
    assert "s3cret" not in str(refused.value)
