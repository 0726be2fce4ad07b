"""All that one worker process is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.records import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.model import WorkerType
    from inference_workers.settings import WorkerSettings
    from streams.kafka import KafkaSettings


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """All that one worker process is told."""

    pipeline: str
    model_dir: Path
    slot: str
    worker_type: WorkerType
    #: `cpu`, `gpu:N` or `emulated`.
    device: str
    kafka: KafkaSettings
    settings: WorkerSettings
    state_dir: Path
    asked_at_s: float
    #: Largest value that the results topic takes, in bytes.
    max_result_bytes: int
    #: Seconds within which requests want their results.
    objective_s: float

    @property
    def limits(self) -> Limits:
        """What one request may ask for."""
        settings = self.settings
        return Limits(
            max_record_bytes=settings.max_record_bytes,
            max_rows=settings.max_request_rows,
            max_json_depth=settings.max_json_depth,
            max_inputs=settings.max_inputs,
            max_headers=settings.max_headers,
            max_header_bytes=settings.max_header_bytes,
        )
