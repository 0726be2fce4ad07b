"""`profile.json`: written by `penstock profile`, read by settings, planner and simulator."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping  # noqa: TC003 - read back by these annotations
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from autoscaler.model import Objective, ServiceCurve
from autoscaler.planning.service_fit import Best, Fit  # noqa: TC001 - read back by these annotations
from autoscaler.whole_file import write_whole
from penstock.errors import InvalidInput
from penstock.profile.job import Measured  # noqa: TC001 - read back by these annotations

if TYPE_CHECKING:
    from pathlib import Path

#: Form of the file; a reader refuses others.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """One device with one setting: what was measured and what follows from it."""

    measured: Measured
    fit: Fit
    #: For the objective; `None` = it cannot be met.
    best: Best | None
    #: Why the figures are not to be trusted; empty = they are.
    doubts: tuple[str, ...]

    @property
    def label(self) -> str:
        """What it is called, e.g. `cpu, 1 thread`."""
        job = self.measured.job
        if job.emulated is not None:
            curve = job.emulated
            return f"emulated({curve.a_s * 1000:g} ms + {curve.b_s * 1000:g} ms/row, batch {curve.max_batch})"
        return f"{job.device}, {job.threads} thread{'s' if job.threads > 1 else ''}{', XLA' if job.xla else ''}"


@dataclass(frozen=True, slots=True)
class Profile:
    """The whole file."""

    model: str
    version: str
    made_at: str
    machine: Mapping[str, str]
    objective: Objective
    settings: tuple[Setting, ...]
    #: Index of the setting that takes the highest rate in time, and so is what a worker type reads.
    chosen: int
    #: Settings that could not be measured, and why.
    failed: tuple[str, ...] = ()

    @property
    def setting(self) -> Setting:
        """The chosen one."""
        return self.settings[self.chosen]

    @property
    def curve(self) -> ServiceCurve:
        """The chosen setting's service curve, with its best batch."""
        fit, best = self.setting.fit, self.setting.best
        return ServiceCurve(fit.a_s, fit.b_s, best.max_batch if best else fit.holds_to)

    @property
    def worker_type(self) -> dict[str, Any]:
        """What a `[[worker_types]]` table takes from it."""
        measured = self.setting.measured
        return {
            "device": "emulated" if measured.job.emulated is not None else measured.job.device,
            "curve": asdict(self.curve),
            "boot_s": round(measured.boot_s, 3),
        }

    def as_json(self) -> dict[str, Any]:
        """The file's content; beside what is needed to read it back, what people and other programs look for."""
        told = {"schema": SCHEMA, **asdict(self), "worker_type": self.worker_type}
        for entry, setting in zip(told["settings"], self.settings, strict=True):
            entry["label"] = setting.label
            entry["boot_s"] = setting.measured.boot_s
            entry["trusted"] = not setting.doubts
            entry["knee_rows"] = setting.fit.knee_rows if setting.fit.b_s > 0 else None
            for shown, size in zip(entry["measured"]["sizes"], setting.measured.sizes, strict=True):
                shown["rows_per_s"] = size.rows_per_s
        return told


_ADDED = {"label", "boot_s", "trusted", "knee_rows"}


def write(path: Path, profile: Profile) -> None:
    """Write it whole."""
    write_whole(path, json.dumps(profile.as_json(), indent=1) + "\n")


def read(path: Path) -> Profile:
    """Read one back.

    Raises:
        InvalidInput: it is missing, or was not written by `penstock profile` of this form.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"the profile {path}: {error.strerror}", "make it by `penstock profile MODEL`") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the profile {path} is not JSON: {error}", "make it by `penstock profile MODEL`") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise InvalidInput(f"{path} is no profile of form {SCHEMA}", "make it by `penstock profile MODEL`")
    told = {name: value for name, value in told.items() if name not in {"schema", "worker_type"}}
    try:
        for entry in told["settings"]:
            for name in _ADDED:
                entry.pop(name, None)
            for size in entry["measured"]["sizes"]:
                size.pop("rows_per_s", None)
        found: Profile = TypeAdapter(Profile).validate_python(told)
        _check(found)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        said = f"at {error.errors()[0]['loc']}" if isinstance(error, ValidationError) else f"({error!r})"
        raise InvalidInput(f"the profile {path} is damaged {said}", "make it again by `penstock profile`") from error
    return found


def _check(found: Profile) -> None:
    """What the types do not say.

    Raises:
        ValueError: a figure cannot be.
        LookupError: the chosen setting is not there.
    """
    if found.chosen < 0:
        raise LookupError(f"chosen={found.chosen}")
    curve, boot_s = found.curve, found.setting.measured.boot_s
    for name, value in (("a_s", curve.a_s), ("b_s", curve.b_s), ("boot_s", boot_s)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value:g}")
