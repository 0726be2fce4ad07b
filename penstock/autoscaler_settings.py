"""Settings of the autoscaler's process: its port, and which policy it runs. Every default once, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autoscaler.policies.registry import NAMES

#: Each takes processor time beside the policy in charge, and has its own keys and series.
MOST_SHADOWS = 8


@dataclass(frozen=True, slots=True)
class AutoscalerSettings:
    """Which policy decides, and where the autoscaler's own port is.

    Raises:
        ValueError: a field is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Which policy decides: `penstock`, which `[policy]` steers, or a rival by its name and with its parameters, e.g.
    #: `keda:lag_threshold=20`; `penstock simulate --list` names all. For comparison: only `penstock` looks ahead.
    policy: str = "penstock"
    #: Policies that decide beside it and are not obeyed, by the same names, e.g. `["keda", "static:workers=4"]`. They
    #: are shown the fleet that is there, which is the work of the policy in charge.
    shadow: tuple[str, ...] = ()
    #: Port for `/metrics`, `/livez` and `/readyz`; left out = off. 0 = any free one: it stands in the log.
    metrics_port: int | None = None
    #: Address that the port is opened on. Loopback, since nothing asks who the reader is; `0.0.0.0` in a container.
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        # The name only: a worker reads the same file, and may have nothing of what a policy imports.
        for field, rule in (("policy", self.policy), *(("shadow", one) for one in self.shadow)):
            if rule.partition(":")[0] not in NAMES:
                raise ValueError(
                    f"autoscaler.{field}={rule!r}: use one of {', '.join(NAMES)}; parameters are written "
                    "NAME:parameter=value,..."
                )
        if len(set(self.shadow)) < len(self.shadow) or len(self.shadow) > MOST_SHADOWS:
            raise ValueError(
                f"autoscaler.shadow={list(self.shadow)}: name each once, and at most {MOST_SHADOWS}: each is one more "
                "decision a second"
            )
        if self.metrics_port is not None and not 0 <= self.metrics_port < 2**16:
            raise ValueError(
                f"autoscaler.metrics_port={self.metrics_port}: must be from 0 (any free port) to 65535, or left out"
            )
