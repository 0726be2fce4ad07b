"""Settings of the autoscaler's process that are no policy: every default once, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class AutoscalerSettings:
    """Where the autoscaler's own port is.

    Raises:
        ValueError: a field is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Port for `/metrics`, `/livez` and `/readyz`; left out = off. 0 = any free one: it stands in the log.
    metrics_port: int | None = None
    #: Address that the port is opened on. Loopback, since nothing asks who the reader is; `0.0.0.0` in a container.
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if self.metrics_port is not None and not 0 <= self.metrics_port < 2**16:
            raise ValueError(
                f"autoscaler.metrics_port={self.metrics_port}: must be from 0 (any free port) to 65535, or left out"
            )
