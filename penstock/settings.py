"""The settings of a pipeline: one frozen tree from `penstock.toml` and `PENSTOCK_*`, checked together at the start.

Each default stands once, in the dataclass of the layer that uses it; this module only composes them. Secrets are kept
out of representations, logs and error messages.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from autoscaler.actuators.base import ActuatorSettings
from autoscaler.model import Objective, WorkerType
from autoscaler.settings import PolicySettings
from inference_workers.settings import WorkerSettings
from penstock import redis_url
from penstock.autoscaler_settings import AutoscalerSettings
from penstock.errors import InvalidSettings
from streams import secrets
from streams.errors import AuthenticationFailed
from streams.kafka.settings import KafkaSettings
from streams.topics import TopicSettings, validate_pipeline_name

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Variables with our prefix that are no settings.
_NO_SETTINGS = frozenset({"PENSTOCK_ASKED_AT_S", "PENSTOCK_CACHE", "PENSTOCK_TRACES"})
_PREFIX = "PENSTOCK_"
#: Raw client settings that name files.
_CLIENT_FILES = frozenset({"ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"})


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

    #: `redis://[user:password@]host:port/db`, or `rediss://` for TLS.
    url: SecretStr | None = None
    #: File that holds the URL instead, so that no secret stands in the settings; relative to the settings file.
    url_file: Path | None = None
    #: ACL user, where the URL names none.
    username: str | None = None
    #: Its password, where the URL has none; better `file:/run/secrets/redis-password`.
    password: SecretStr | None = None
    #: For `rediss://`: whom to trust; the system's authorities by default.
    ca_file: Path | None = None
    #: For `rediss://`: the certificate that this side shows, where the server asks for one.
    cert_file: Path | None = None
    #: Its key; by default in the same file.
    key_file: Path | None = None

    def resolved_url(self) -> str | None:
        """The URL with its password: a secret.

        Raises:
            InvalidSettings: a file cannot be read, or the parts do not fit each other.

        """
        url = self._url()
        if url is None:
            return None
        password = None
        if self.password is not None:
            try:
                password = secrets.read(self.password.get_secret_value(), "redis.password")
            except AuthenticationFailed as error:
                raise InvalidSettings(str(error), "see docs/how-to/secure.md") from error
        ca_file, cert_file, key_file = (
            None if path is None else str(path) for path in (self.ca_file, self.cert_file, self.key_file)
        )
        return redis_url.compose(
            url, username=self.username, password=password, ca_file=ca_file, cert_file=cert_file, key_file=key_file
        )

    def _url(self) -> str | None:
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

    def located(self, base: Path) -> RedisSettings:
        """The same with its files named from a directory on."""
        paths = {
            name: base / path
            for name in ("url_file", "ca_file", "cert_file", "key_file")
            if (path := getattr(self, name)) is not None
        }
        password = self.password and SecretStr(secrets.absolute(self.password.get_secret_value(), base))
        return self.model_copy(update={**paths, "password": password})


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
    _fill_from_profiles(tree, path.resolve().parent)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise InvalidSettings(f"{path}: {told(error)}", "see docs/reference/settings.md") from error
    base = path.resolve().parent
    return settings.model_copy(
        update={
            "state_dir": base / settings.state_dir,
            "pipeline": settings.pipeline.model_copy(update={"model": base / settings.pipeline.model}),
            "redis": settings.redis.located(base),
            "kafka": dataclasses.replace(settings.kafka, client=_located(settings.kafka.client, base)),
        }
    )


def _fill_from_profiles(tree: dict[str, Any], base: Path) -> None:
    """Worker types that name a `profile`: device, curve and start from that file, where the table does not say them."""
    kinds = tree.get("worker_types")
    for kind in kinds if isinstance(kinds, list) else ():
        if isinstance(kind, dict) and "profile" in kind:
            from penstock.profile.file import read  # noqa: PLC0415 - SciPy takes a second, and few settings need it

            for name, value in read(base / str(kind.pop("profile"))).worker_type.items():
                kind.setdefault(name, value)


def _put(tree: dict[str, Any], name: str, value: str) -> None:
    *sections, field = name.removeprefix(_PREFIX).lower().split("__")
    place = tree
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InvalidSettings(
                f"the variable {name}: {section!r} is not a section", "see docs/reference/settings.md"
            )
    place[field] = _typed(field, value) if sections == ["kafka", "client"] else value


def _typed(field: str, value: str) -> str | bool | int:
    """A raw client setting from a variable, which is text always: kafka-python takes the text "false" for true."""
    if "password" in field or "username" in field:
        return value
    if value.lower() in {"true", "false"}:
        return value.lower() == "true"
    return int(value) if value.isdecimal() else value


def _located(client: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Raw client settings with their files named from a directory on."""
    return {
        name: str(base / value)
        if name in _CLIENT_FILES and isinstance(value, str)
        else secrets.absolute(value, base)
        if isinstance(value, str)
        else value
        for name, value in client.items()
    }


def told(error: ValidationError, *, values: bool = False) -> str:
    """Pydantic's findings in our form: field, what is wrong.

    Args:
        error: What pydantic found.
        values: Say the value too; only for what holds no secrets.
    """
    said = []
    for found in error.errors(include_input=values, include_url=False, include_context=False):
        field = ".".join(str(part) for part in found["loc"])
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            message = "unknown key; check the spelling"
        elif values and field and found["type"] != "value_error":
            field = f"{field}={found['input']!r}"
        said.append(f"{field}: {message}" if field else message)
    return "; ".join(said)
