"""Write the tables of docs/reference/settings.md anew from the settings' dataclasses: keys, defaults, `#:` comments.

The text around the tables is written by hand and stays. A test tells when this is to be run.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from autoscaler.actuators.base import ActuatorSettings
from autoscaler.forecasting.settings import ForecastSettings
from autoscaler.model import Objective, ServiceCurve, WorkerType
from autoscaler.settings import PolicySettings
from inference_workers.settings import WorkerSettings
from penstock.autoscaler_settings import AutoscalerSettings
from streams.kafka import KafkaSettings
from streams.topics import TopicSettings

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/settings.md"
#: Heading of the page -> the dataclass below it.
SECTIONS: dict[str, type[Any]] = {
    "pipeline.objective": Objective,
    "topics": TopicSettings,
    "kafka": KafkaSettings,
    "worker": WorkerSettings,
    "policy": PolicySettings,
    "policy.forecast": ForecastSettings,
    "actuator": ActuatorSettings,
    "autoscaler": AutoscalerSettings,
    "worker_types": WorkerType,
    "worker_types.curve": ServiceCurve,
}
#: Fields that have a section of their own.
ELSEWHERE = {(WorkerType, "curve"), (PolicySettings, "forecast")}


def comments(kind: type[Any]) -> dict[str, str]:
    """The `#:` comment above each field, in one line."""
    found: dict[str, str] = {}
    held: list[str] = []
    for line in inspect.getsource(kind).splitlines():
        if line.startswith("    #: "):
            held.append(line[7:].strip())
        elif field := re.match(r"    (\w+): ", line):
            found[field[1]] = " ".join(held)
            held = []
        elif not line.strip():
            held = []
    return found


def shown(value: object) -> str:
    """A default as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return repr(list(value))
    return "left out" if value is None else "{}" if value == {} else repr(value)


def rows(kind: type[Any]) -> dict[str, tuple[str, str]]:
    """Default and meaning of each key."""
    meanings = comments(kind)
    found = {}
    for field in dataclasses.fields(kind):
        if (kind, field.name) in ELSEWHERE:
            continue
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        value = "required" if default is dataclasses.MISSING else f"`{shown(default)}`"
        found[field.name] = (value, meanings.get(field.name, ""))
    return found


def written(page: str) -> str:
    """The page with its tables as they should be.

    Raises:
        ValueError: a heading has no table.
    """
    for heading, kind in SECTIONS.items():
        lines = [f"| `{key}` | {default} | {meaning} |\n" for key, (default, meaning) in rows(kind).items()]
        table = "| key | default | meaning |\n|---|---|---|\n" + "".join(lines)
        pattern = rf"(?m)(^#+ {re.escape(heading)}\n(?:[^|#\n][^\n]*\n|\n)*)(?:^\|[^\n]*\n)+"
        found = re.search(pattern, page)
        if found is None:
            raise ValueError(f"{PAGE}: no table below the heading {heading!r}")
        page = page[: found.end(1)] + table + page[found.end() :]
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
