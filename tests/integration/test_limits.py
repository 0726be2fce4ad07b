"""Each limit of a request, at it and one beyond it, on a real worker."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streams import topics
from streams.headers import DLQ_REASON, header
from streams.records import encode_request

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]

#: What the worker under test allows.
LIMITS = {
    "max_record_bytes": 4000,
    "max_request_rows": 8,
    "max_json_depth": 5,
    "max_inputs": 2,
    "max_headers": 5,
    "max_header_bytes": 300,
}


def body(rows: int = 1, inputs: int = 1, **more: Any) -> bytes:
    """A request by hand; nested data take one level of arrays a dimension, besides the four of the envelope."""
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * (4 * rows)}
    tensors = [{**tensor, "name": "x" if number == 0 else f"x{number}"} for number in range(inputs)]
    return json.dumps({"inputs": tensors, **more}).encode()


def padded(value: bytes, size: int) -> bytes:
    """The same JSON, so many bytes long."""
    return value + b" " * (size - len(value))


def nested(levels: int) -> dict[str, Any]:
    """Parameters in a request whose JSON is `levels` deep in all."""
    inner: Any = 1
    for _ in range(levels - 1):
        inner = [inner]
    return {"parameters": inner}


def of_bytes(total: int, request_id: str) -> list[tuple[str, bytes]]:
    """One header of ours, and one that fills up to so many bytes."""
    used = len("request-id") + len(request_id) + len("fill")
    return [("request-id", request_id.encode()), ("fill", b"x" * (total - used))]


def sent(name: str) -> dict[str, tuple[bytes, list[tuple[str, bytes]], str | None]]:
    """By request id: value, headers, and the code that it fails with; `None` = it is answered."""
    ids = {kind: [("request-id", f"{name}-{kind}".encode())] for kind in ("at", "over")}
    four = [(f"h{number}", b"") for number in range(4)]
    cases: dict[str, tuple[tuple[bytes, list[tuple[str, bytes]]], tuple[bytes, list[tuple[str, bytes]]], str]] = {
        "bytes": ((padded(body(), 4000), ids["at"]), (padded(body(), 4001), ids["over"]), "record-too-large"),
        "rows": ((body(8), ids["at"]), (body(9), ids["over"]), "too-many-rows"),
        "depth": ((body(**nested(5)), ids["at"]), (body(**nested(6)), ids["over"]), "json-too-deep"),
        "headers": ((body(), ids["at"] + four), (body(), [*ids["over"], *four, ("h", b"")]), "too-many-headers"),
        "header-bytes": (
            (body(), of_bytes(300, f"{name}-at")),
            (body(), of_bytes(301, f"{name}-over")),
            "too-many-headers",
        ),
        # Two inputs are within the limit, though this model takes one.
        "inputs": ((body(inputs=2), ids["at"]), (body(inputs=3), ids["over"]), "too-many-inputs"),
    }
    at, over, code = cases[name]
    return {
        f"{name}-at": (*at, "unexpected-inputs" if name == "inputs" else None),
        f"{name}-over": (*over, code),
    }


def as_before(name: str, *more: tuple[str, bytes]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """One of many same-shaped binary requests, which workers take by a shorter way."""
    value, headers = encode_request({"x": np.ones((1, 4), np.float32)}, request_id=name)
    return value, [*headers, *more]


def test_what_is_over_a_limit_fails_with_its_code_and_costs_nothing_else(served: Any) -> None:
    """At the limit a request is answered; beyond it, it fails and leaves a dead letter; the worker lives on."""
    with served.config.open("a") as config:
        config.writelines(f"{name} = {value}\n" for name, value in LIMITS.items())
    slot = f"{served.name}-cpu-0"
    pid = served.start(slot)
    served.wait_ready(slot)
    expected: dict[str, str | None] = {}
    for name in ("bytes", "rows", "depth", "headers", "header-bytes", "inputs"):
        for request_id, (value, headers, code) in sent(name).items():
            served.send_raw(value, headers)
            expected[request_id] = code
    few = [(f"h{number}", b"") for number in range(2)]
    for number, (more, code) in enumerate(
        [((), None), (few, None), ([*few, ("h", b"")], "too-many-headers"), ([("h", b"x" * 300)], "too-many-headers")]
    ):
        served.send_raw(*as_before(f"again-{number}", *more))
        expected[f"again-{number}"] = code
    served.producer.flush()
    results = served.results(len(expected))
    assert {result.id: result.error and result.error.split(":")[0] for result in results} == expected
    failed = sorted(code for code in expected.values() if code)
    letters = served.read(topics.dead_letters(served.name), len(failed))
    assert sorted((header(letter.headers, DLQ_REASON) or b"").decode() for letter in letters) == failed
    assert served.pids[slot] == pid
    assert served.stop(slot) == 0
