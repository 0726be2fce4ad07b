"""The settings of a pipeline: one frozen tree from `penstock.toml` and `PENSTOCK_*`, checked together at the start.

Each default stands once, in the dataclass of the layer that uses it; this module only composes them. Secrets are kept
out of representations, logs and error messages.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from autoscaler.actuators.base import ActuatorSettings
from autoscaler.model import Objective, WorkerType
from autoscaler.settings import PolicySettings
from inference_workers.settings import WorkerSettings
from penstock.autoscaler_settings import AutoscalerSettings
from penstock.errors import InvalidSettings
from streams.kafka.settings import KafkaSettings
from streams.topics import TopicSettings, validate_pipeline_name

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Variables with our prefix that are no settings.
_NO_SETTINGS = frozenset({"PENSTOCK_ASKED_AT_S", "PENSTOCK_CACHE"})
_PREFIX = "PENSTOCK_"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PipelineSettings(_Frozen):
    """What is served."""

    #: Name of topics, group and Redis keys.
    name: str
    #: Directory with one folder a version, as TensorFlow Serving lays it out; relative to the settings file.
    model: Path
    objective: Objective = Objective()

    @model_validator(mode="after")
    def _check(self) -> PipelineSettings:
        validate_pipeline_name(self.name)
        return self


class RedisSettings(_Frozen):
    """Where metrics and decisions go; without an address the autoscaler keeps them to itself."""

    #: `redis://[user:password@]host:port/db`.
    url: SecretStr | None = None
    #: File that holds the URL instead, so that no secret stands in the settings; relative to the settings file.
    url_file: Path | None = None

    def resolved_url(self) -> str | None:
        """The URL with its password: a secret.

        Raises:
            InvalidSettings: the file cannot be read.

        """
        if self.url is not None:
            return self.url.get_secret_value()
        if self.url_file is None:
            return None
        try:
            return self.url_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidSettings(
                f"redis.url_file={self.url_file}: {error.strerror}", "name a readable file"
            ) from error


class Settings(_Frozen):
    """All of it."""

    pipeline: PipelineSettings
    topics: TopicSettings = TopicSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    worker: WorkerSettings = WorkerSettings()
    policy: PolicySettings = PolicySettings()
    actuator: ActuatorSettings = ActuatorSettings()
    autoscaler: AutoscalerSettings = AutoscalerSettings()
    worker_types: tuple[WorkerType, ...] = Field(default=(WorkerType(),), min_length=1)
    #: Where locks, logs and the declared fleet lie; relative to the settings file.
    state_dir: Path = Path(".penstock/state")

    @model_validator(mode="after")
    def _check(self) -> Settings:
        names = [kind.name for kind in self.worker_types]
        if len(set(names)) < len(names):
            raise ValueError(f"worker_types.name={names}: each type needs a name of its own")
        if self.worker.max_record_bytes > self.topics.max_record_bytes:
            raise ValueError(
                f"worker.max_record_bytes={self.worker.max_record_bytes}: must be at most "
                f"topics.max_record_bytes={self.topics.max_record_bytes}, which decides what enters the topic"
            )
        return self

    def worker_type(self, name: str) -> WorkerType:
        """The type of that name.

        Raises:
            InvalidSettings: there is none.

        """
        for kind in self.worker_types:
            if kind.name == name:
                return kind
        known = ", ".join(kind.name for kind in self.worker_types)
        raise InvalidSettings(f"worker type {name!r} is not in the settings", f"use one of: {known}")


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read a settings file; variables `PENSTOCK_SECTION__FIELD` win over it.

    Raises:
        InvalidSettings: unreadable, unknown key, or a value out of range; names file, field, and what is allowed.

    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(
            f"the settings file {path}: {error.strerror}", "name a readable file with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"the settings file {path} is not TOML: {error}", "mend the line that it names"
        ) from error
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(_PREFIX) and name not in _NO_SETTINGS:
            _put(tree, name, value)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise InvalidSettings(f"{path}: {_told(error)}", "see docs/reference/settings.md") from error
    base = path.resolve().parent
    return settings.model_copy(
        update={
            "state_dir": base / settings.state_dir,
            "pipeline": settings.pipeline.model_copy(update={"model": base / settings.pipeline.model}),
            "redis": settings.redis.model_copy(
                update={"url_file": base / settings.redis.url_file} if settings.redis.url_file else {}
            ),
        }
    )


def _put(tree: dict[str, Any], name: str, value: str) -> None:
    *sections, field = name.removeprefix(_PREFIX).lower().split("__")
    place = tree
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InvalidSettings(
                f"the variable {name}: {section!r} is not a section", "see docs/reference/settings.md"
            )
    place[field] = value


def _told(error: ValidationError) -> str:
    """Pydantic's findings in our form: field, what is wrong; never the input, which may be a secret."""
    told = []
    for found in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(part) for part in found["loc"])
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            message = "unknown key; check the spelling"
        told.append(f"{field}: {message}" if field else message)
    return "; ".join(told)
