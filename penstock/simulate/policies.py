"""Policies as they are named on the command line: `NAME` or `NAME:parameter=value,...`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.errors import AutoscalerError
from autoscaler.policies import registry
from penstock.simulate.errors import BadInput

if TYPE_CHECKING:
    from autoscaler.model import Objective
    from autoscaler.policies.base import Policy
    from autoscaler.settings import PolicySettings

#: The schedule that knew the load, which is no policy of the registry.
CLAIRVOYANT = "clairvoyant"


def build(text: str, objective: Objective, settings: PolicySettings | None = None) -> Policy:
    """The policy of one `--policy`.

    Args:
        text: `NAME` or `NAME:parameter=value,parameter=value`.
        objective: Of the scenario.
        settings: Of `penstock`.

    Raises:
        BadInput: no policy of that name, or a parameter that it does not have or take.
    """
    try:
        return registry.named(text, objective, settings)
    except (AutoscalerError, ValueError, TypeError) as error:
        cause, _, cure = str(error).partition(": ")
        known = f"use one of {', '.join(registry.NAMES)}, {CLAIRVOYANT}; see docs/how-to/simulate.md"
        named = text.partition(":")[0] in registry.NAMES
        raise BadInput(f"--policy {text}: {cause}", cure if named and cure else known) from error
