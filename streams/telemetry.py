"""The autoscaler's input tape on the wire: compact JSON, one object a record, `kind` first.

The values are those of `autoscaler.model`, field by field; decoders are derived from their annotations once, at import,
so that a field added there is on the wire without a line here. Fields that a reader does not know are passed over and
fields with a default may be missing: agents and workers of two versions share the topic while they are rolled out.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from autoscaler.model import ArrivalSample, Claim, TelemetryRecord, WorkerReport
from streams.errors import MalformedTelemetry

#: What the field `kind` says, by type. Never renamed: records of a day ago are still on the topic.
KINDS: dict[str, type[TelemetryRecord]] = {"arrivals": ArrivalSample, "report": WorkerReport, "claim": Claim}
_NAMES = {kind: name for name, kind in KINDS.items()}

Decoder = Callable[[Any], Any]


def key(record: TelemetryRecord) -> bytes:
    """The record's key: its pipeline, so that one partition holds all there is to know of one pipeline, in order."""
    return record.pipeline.encode()


def encode(record: TelemetryRecord) -> bytes:
    """The record as it is written.

    Raises:
        MalformedTelemetry: a number is infinite or not a number, which JSON has no word for.
    """
    try:
        fields = {"kind": _NAMES[type(record)], **_plain(record)}
        return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        msg = f"telemetry of {record.pipeline!r} holds a number that is not finite; give None for what is not known"
        raise MalformedTelemetry(msg) from error


def decode(value: bytes | None) -> TelemetryRecord:
    """The record that `encode` wrote, equal to it field by field.

    Raises:
        MalformedTelemetry: it is not such a record; the message says where.
    """
    try:
        fields = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        msg = f"telemetry is not JSON: {error}"
        raise MalformedTelemetry(msg) from error
    return of_fields(fields)


def of_fields(fields: Any) -> TelemetryRecord:
    """The record of a JSON value that was read already.

    Raises:
        MalformedTelemetry: as of `decode`.
    """
    if not isinstance(fields, dict):
        msg = f"telemetry must be a JSON object, not {type(fields).__name__}"
        raise MalformedTelemetry(msg)
    kind = fields.get("kind")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        msg = (
            f"telemetry kind={str(kind)[:40]!r}: must be one of {', '.join(KINDS)}; a newer version may have written it"
        )
        raise MalformedTelemetry(msg)
    try:
        record: TelemetryRecord = decoder(fields)
    except (ValueError, OverflowError) as error:
        msg = f"telemetry {kind}: {error}"
        raise MalformedTelemetry(msg) from error
    return record


def _plain(value: Any) -> Any:
    """A value of the model as JSON has it."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value


def _decoder(hint: Any) -> Decoder:
    """What turns JSON into a value of an annotation; each raises ValueError for what does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (_decoder(argument) for argument in arguments if argument is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        entry = _decoder(arguments[0])
        return lambda value: tuple(entry(item) for item in _of(value, list))
    if origin is Mapping:
        name, entry = _name if arguments[0] is int else str, _decoder(arguments[1])
        return lambda value: {name(key): entry(item) for key, item in _of(value, dict).items()}
    if dataclasses.is_dataclass(hint):
        return _object(typing.cast("type", hint))
    if issubclass(hint, enum.Enum):
        return typing.cast("Decoder", hint)
    return {float: _number, int: _integer, str: _string, bool: _boolean}[hint]


def _object(cls: type) -> Decoder:
    hints = typing.get_type_hints(cls)
    fields = [(field.name, _decoder(hints[field.name]), _required(field)) for field in dataclasses.fields(cls)]

    def build(value: Any) -> Any:
        given, arguments = _of(value, dict), {}
        for name, decoder, required in fields:
            if name in given:
                try:
                    arguments[name] = decoder(given[name])
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
            elif required:
                raise ValueError(f"{name} is missing")
        return cls(**arguments)

    return build


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _of(value: Any, kind: type) -> Any:
    # Exactly this type: JSON's true is an int to Python.
    if type(value) is not kind:
        raise ValueError(f"must be {kind.__name__}, not {str(value)[:40]!r}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"must be a number, not {str(value)[:40]!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


def _integer(value: Any) -> int:
    return int(_of(value, int))


def _string(value: Any) -> str:
    return str(_of(value, str))


def _boolean(value: Any) -> bool:
    return bool(_of(value, bool))


def _name(value: str) -> int:
    # `int` also takes "1_0", " 1" and other scripts' digits: two names of one partition.
    number = int(value)
    if str(number) != value:
        raise ValueError(f"must be named by a whole number, not {value[:40]!r}")
    return number


_DECODERS = {name: _object(cls) for name, cls in KINDS.items()}
