"""Policies by name. A policy's module is imported when it is asked for."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any, cast

from autoscaler.errors import UnknownPolicy

if TYPE_CHECKING:
    from autoscaler.model import Objective
    from autoscaler.policies.base import Policy
    from autoscaler.settings import PolicySettings

#: Name -> module, class, and what differs from the class's defaults.
_POLICIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "penstock": ("penstock_policy", "PenstockPolicy", {}),
    "static": ("static", "StaticPolicy", {}),
    "keda": ("keda", "KedaPolicy", {"name": "keda"}),
    "keda-tuned": ("keda", "KedaPolicy", {"name": "keda-tuned", "lag_threshold": 0}),
    "knative": ("knative", "KnativePolicy", {}),
    "ray-serve": ("ray_serve", "RayServePolicy", {}),
    "flink": ("flink", "FlinkPolicy", {}),
    "numaflow": ("numaflow", "NumaflowPolicy", {}),
    "faro-mdc": ("faro", "FaroPolicy", {}),
    "square-root": ("textbook", "SquareRootPolicy", {}),
    "pooled-erlang": ("textbook", "PooledErlangPolicy", {}),
}

#: All names, Penstock's own first.
NAMES: tuple[str, ...] = tuple(_POLICIES)

#: Fields of a policy that are no parameters of its rule.
_NO_PARAMETERS = {"objective", "settings", "name", "forecaster"}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def build(name: str, objective: Objective, settings: PolicySettings | None = None, **parameters: object) -> Policy:
    """A policy.

    Args:
        name: One of `NAMES`.
        objective: What must hold.
        settings: Of `penstock`; rivals do not look at them. Defaults when left out.
        **parameters: Of this policy, see `parameters`; text is read as the type of the default, as for a command line.

    Raises:
        UnknownPolicy: no policy has that name, or it has no such parameter, or the value is none of its kind.
        ValueError: a value is out of its range.
    """
    kind, preset = _found(name)
    known = parameters_of(name)
    given: dict[str, Any] = dict(preset)
    for parameter, value in parameters.items():
        if parameter not in known:
            raise UnknownPolicy(
                f"{name} has no parameter {parameter!r}: it has {', '.join(known) or 'none'}; for penstock use settings"
            )
        given[parameter] = _read(name, parameter, value, known[parameter])
    if settings is not None and any(field.name == "settings" for field in dataclasses.fields(kind)):
        given["settings"] = settings
    return cast("Policy", kind(objective, **given))


def named(text: str, objective: Objective, settings: PolicySettings | None = None) -> Policy:
    """The policy that a line of text asks for, as on the command line and in the settings.

    Args:
        text: `NAME` or `NAME:parameter=value,parameter=value`.
        objective: What must hold.
        settings: Of `penstock`.

    Raises:
        UnknownPolicy: no policy of that name, or a parameter that it does not have or take.
        ValueError: a value is out of its range.
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, object] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UnknownPolicy(f"{part!r} has no value: write NAME:parameter=value,...")
        parameters[key.strip()] = value.strip()
    return build(name, objective, settings, **parameters)


def parameters_of(name: str) -> dict[str, object]:
    """The parameters of a policy with their defaults.

    Raises:
        UnknownPolicy: no policy has that name.
    """
    kind, preset = _found(name)
    return {
        field.name: preset.get(field.name, field.default)
        for field in dataclasses.fields(kind)
        if field.name not in _NO_PARAMETERS
    }


def _found(name: str) -> tuple[type[Any], dict[str, Any]]:
    if name not in _POLICIES:
        raise UnknownPolicy(f"policy {name!r} is not known: use one of {', '.join(NAMES)}")
    module, kind, preset = _POLICIES[name]
    return getattr(importlib.import_module(f"autoscaler.policies.{module}"), kind), preset


def _read(name: str, parameter: str, value: object, default: object) -> object:
    """The value; text as the type of the default says."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    try:
        if isinstance(default, bool):
            return _WORDS[value.strip().lower()]
        return int(value) if isinstance(default, int) else float(value)
    except (KeyError, ValueError) as error:
        wanted = "true or false" if isinstance(default, bool) else f"a number, e.g. {default}"
        raise UnknownPolicy(f"{name}: {parameter}={value!r} is not understood: write {wanted}") from error
