"""Secrets that are named by their file instead of standing in settings: `file:/run/secrets/kafka-password`.

Read each time a client connects, so that a secret that was changed needs no restart, and settings never hold one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a value begins with that is to be read from a file; the rest is the file's path.
PREFIX = "file:"


def read(value: str, field: str) -> str:
    """The value itself, or the content of the file that it names, without the line's end.

    Args:
        value: as it stands in the settings.
        field: where it stands, for the message.

    Raises:
        AuthenticationFailed: the file cannot be read, or there is nothing in it.
    """
    if not value.startswith(PREFIX):
        return value
    path = Path(value.removeprefix(PREFIX))
    try:
        content = path.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        msg = f"{field}={value}: the file is not UTF-8 text; write the secret alone into it"
        raise AuthenticationFailed(msg) from None  # the cause would show the bytes
    except OSError as error:
        msg = f"{field}={value}: {error.strerror}; name a file that this process may read"
        raise AuthenticationFailed(msg) from error
    if not content:
        msg = f"{field}={value}: the file is empty; write the secret into it"
        raise AuthenticationFailed(msg)
    return content


def resolved(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Settings with each `file:` read.

    Args:
        settings: names and values.
        section: where they stand, for messages, e.g. `kafka.client`.

    Raises:
        AuthenticationFailed: see `read`.
    """
    return {
        name: read(value, f"{section}.{name}") if isinstance(value, str) else value for name, value in settings.items()
    }


def absolute(value: str, base: Path) -> str:
    """A value whose `file:` names a path from `base` on, where it was relative."""
    return f"{PREFIX}{base / value.removeprefix(PREFIX)}" if value.startswith(PREFIX) else value
