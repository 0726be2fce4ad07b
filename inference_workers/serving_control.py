"""What a person has said about a model's versions: `serving.json` in its directory, read by every worker of it.

`{"pin": "2", "previous": "3", "shadow": {"version": "4", "share": 0.1}}`; each key may be missing. It is replaced
whole, by a rename, so that no worker reads half of it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from inference_workers.model_versions import parse_number

FILE = "serving.json"
#: Nobody needs more for it; a larger file is something else under its name.
_LONGEST = 65536


class BadControl(Exception):
    """`serving.json` says something that cannot be; the message names the key and what it may be."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that computes a share of the requests too, to be compared."""

    version: str
    #: Of the requests, above 0 and at most 1.
    share: float


@dataclass(frozen=True, slots=True)
class Control:
    """All that a person can say; nothing of it = the newest version is served."""

    #: The only version to serve.
    pin: str | None = None
    #: What was served when `pin` was set: where the next roll-back leads if the workers do not know better.
    previous: str | None = None
    shadow: Shadow | None = None


def read(model_dir: Path) -> Control:
    """What is said now; no file = nothing.

    Raises:
        BadControl: the file cannot be read or understood.

    """
    path = model_dir / FILE
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1)
    except FileNotFoundError:
        return Control()
    except OSError as error:
        raise BadControl(f"{path}: {error.strerror}; make it readable, or remove it") from error
    if len(text) > _LONGEST:
        raise BadControl(f"{path} has more than {_LONGEST} bytes; write it with `penstock model`, or remove it")
    try:
        return parse(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise BadControl(f"{path}: {error}; write it with `penstock model`, or remove it") from error


def parse(told: Any) -> Control:
    """The control that JSON stands for.

    Raises:
        ValueError: it stands for none.

    """
    fields = _object(told, {"pin", "previous", "shadow"}, "the file")
    return Control(
        _version(fields.get("pin"), "pin"), _version(fields.get("previous"), "previous"), _shadow(fields.get("shadow"))
    )


def write(model_dir: Path, control: Control) -> None:
    """Replace what is said.

    Raises:
        OSError: the directory cannot be written.

    """
    told: dict[str, Any] = {}
    if control.pin is not None:
        told["pin"] = control.pin
    if control.previous is not None:
        told["previous"] = control.previous
    if control.shadow is not None:
        told["shadow"] = {"version": control.shadow.version, "share": control.shadow.share}
    handle, temporary = tempfile.mkstemp(prefix=f".{FILE}-", dir=model_dir)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(told, indent=1) + "\n")
            # Workers run under other users, and `mkstemp` makes it readable for its own alone.
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(model_dir / FILE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _object(value: Any, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {str(value)[:40]!r}: must be an object")  # noqa: TRY004 - one error for the file
    if unknown := value.keys() - keys:
        raise ValueError(f"{what} has the unknown key {min(unknown)[:40]!r}; known are {', '.join(sorted(keys))}")
    return value


def _shadow(told: Any) -> Shadow | None:
    if told is None:
        return None
    fields = _object(told, {"version", "share"}, "shadow")
    version, share = _version(fields.get("version"), "shadow.version"), cast("Any", fields.get("share"))
    if version is None:
        raise ValueError("shadow.version is missing")
    # Exactly these types: JSON's true is a number to Python.
    if type(share) not in (int, float):
        raise ValueError(f"shadow.share={str(share)[:40]!r}: must be a number")
    return Shadow(version, checked_share(float(share)))


def checked_share(share: float) -> float:
    """The share, if it is one.

    Raises:
        ValueError: it is not above 0 and at most 1.

    """
    if not 0 < share <= 1:
        raise ValueError(f"shadow.share={share:g}: must be above 0 and at most 1")
    return share


def _version(value: Any, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or parse_number(value) is None:
        raise ValueError(f'{what}={str(value)[:40]!r}: must be a version\'s number in quotes, e.g. "3"')
    return value
