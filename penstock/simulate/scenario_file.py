"""A scenario from its TOML file, checked; what is left out is as in the reference scenario."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoscaler.model import ServiceCurve
from autoscaler.simulation.scenario import REFERENCE_TYPE, Scenario, SimulatedType
from penstock.errors import InvalidInput
from penstock.settings import told
from penstock.simulate.errors import BadInput

_SCENARIO, _TYPE = Scenario(), REFERENCE_TYPE
_HELP = "see docs/how-to/simulate.md"


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Type(_Checked):
    name: str = _TYPE.name
    a_s: float = _TYPE.curve.a_s
    b_s: float = _TYPE.curve.b_s
    max_batch: int = _TYPE.curve.max_batch
    price_per_hour: float = _TYPE.price_per_hour
    boot_s: float = _TYPE.boot_s
    boot_spread: float = _TYPE.boot_spread
    min: int = _TYPE.min_workers
    max: int = _TYPE.max_workers

    @model_validator(mode="after")
    def _check(self) -> _Type:
        self.built()
        return self

    def built(self) -> SimulatedType:
        return SimulatedType(
            name=self.name,
            curve=ServiceCurve(self.a_s, self.b_s, self.max_batch),
            price_per_hour=self.price_per_hour,
            boot_s=self.boot_s,
            boot_spread=self.boot_spread,
            min_workers=self.min,
            max_workers=self.max,
        )


class _File(_Checked):
    partitions: int = _SCENARIO.partitions
    skew: float = _SCENARIO.skew
    objective_s: float = _SCENARIO.objective_s
    objective_share: float = _SCENARIO.objective_share
    commit_interval_s: float = _SCENARIO.commit_interval_s
    rebalance: Literal["cooperative", "eager"] = _SCENARIO.rebalance
    rebalance_pause_s: float = _SCENARIO.rebalance_pause_s
    mean_workers: float | None = None
    mean_rate: float | None = None
    warm_up_s: float = _SCENARIO.warm_up_s
    seed: int = _SCENARIO.seed
    worker_type: tuple[_Type, ...] = Field(default=(_Type(),), min_length=1)

    @model_validator(mode="after")
    def _check(self) -> _File:
        if self.mean_workers is not None and self.mean_rate is not None:
            raise ValueError(f"mean_workers={self.mean_workers}, mean_rate={self.mean_rate}: give one of them")
        self.built()
        return self

    def built(self) -> Scenario:
        workers = _SCENARIO.mean_workers if self.mean_workers is None else self.mean_workers
        return Scenario(
            **{
                **self.model_dump(exclude={"worker_type"}),
                "mean_workers": None if self.mean_rate is not None else workers,
                "worker_types": tuple(kind.built() for kind in self.worker_type),
            }
        )


def read_scenario(path: Path) -> Scenario:
    """The scenario of a TOML file.

    Raises:
        BadInput: unreadable, an unknown key, or a value out of range; names file, field, value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"the scenario {path}: {error.strerror or error}", "name a readable file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the scenario {path}: byte {error.start} is not UTF-8 text", "save it as UTF-8") from error
    return parse_scenario(text, str(path), path.resolve().parent)


def parse_scenario(text: str, name: str, base: Path | None = None) -> Scenario:
    """The same from TOML text.

    Args:
        text: the file's content.
        name: what errors call it.
        base: directory that profiles are named from; the working one by default.

    Raises:
        BadInput: an unknown key, a value out of range, or a profile that cannot be used.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"the scenario {name} is not TOML: {error}", "mend the line that it names") from error
    _fill_from_profiles(tree, name, Path() if base is None else base)
    try:
        return _File.model_validate(tree).built()
    except ValidationError as error:
        raise BadInput(f"the scenario {name}: {told(error, values=True)}", _HELP) from error


def _fill_from_profiles(tree: dict[str, Any], name: str, base: Path) -> None:
    """Worker types that name a `profile` of `penstock profile`: their curve and boot are those that it chose.

    A boot time in the table wins, since a profile knows nothing of images to pull. A curve does not: half of one
    measurement and half of another is no curve.
    """
    kinds = tree.get("worker_type")
    for number, kind in enumerate(kinds if isinstance(kinds, list) else ()):
        if not isinstance(kind, dict) or "profile" not in kind:
            continue
        field = f"the scenario {name}: worker_type.{number}.profile"
        given = kind.pop("profile")
        if not isinstance(given, str):
            raise BadInput(f"{field}={given!r}", "name a file of `penstock profile`, relative to the scenario")
        said = [key for key in ("a_s", "b_s", "max_batch") if key in kind]
        if said:
            raise BadInput(f"{field}={given!r} beside {', '.join(said)}", "give a profile or a curve, not both")
        from penstock.profile.file import read  # noqa: PLC0415 - SciPy takes a second, and few scenarios need it

        try:
            found = read(base / given)
        except InvalidInput as error:
            raise BadInput(f"{field}: {error.cause}", error.cure) from error
        curve = found.curve
        kind |= {"a_s": curve.a_s, "b_s": curve.b_s, "max_batch": curve.max_batch}
        kind.setdefault("boot_s", found.worker_type["boot_s"])
