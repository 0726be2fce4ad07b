"""Settings of the autoscaler's process: its port, and which policy it runs. Every default once, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autoscaler.policies.registry import NAMES


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
    #: Port for `/metrics`, `/livez` and `/readyz`; left out = off. 0 = any free one: it stands in the log.
    metrics_port: int | None = None
    #: Address that the port is opened on. Loopback, since nothing asks who the reader is; `0.0.0.0` in a container.
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        # The name only: a worker reads the same file, and may have nothing of what a policy imports.
        if self.policy.partition(":")[0] not in NAMES:
            raise ValueError(
                f"autoscaler.policy={self.policy!r}: use one of {', '.join(NAMES)}; parameters are written "
                "NAME:parameter=value,..."
            )
        if self.metrics_port is not None and not 0 <= self.metrics_port < 2**16:
            raise ValueError(
                f"autoscaler.metrics_port={self.metrics_port}: must be from 0 (any free port) to 65535, or left out"
            )
