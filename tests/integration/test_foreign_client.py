"""A client that is not ours: the console tools inside Kafka's own jars, a request typed by hand."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from penstock.local.services import java_with_kafka
from streams import topics

if TYPE_CHECKING:
    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


def test_a_request_typed_by_hand_is_answered(served: Pipeline) -> None:
    """No header, no id, whole numbers for floats, nested data: the result is JSON that a person can read."""
    served.start("w0")
    java = java_with_kafka()
    request = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}]}
    broker = ["--bootstrap-server", served.kafka.servers[0]]
    subprocess.run(
        java.command("org.apache.kafka.tools.ConsoleProducer", *broker, "--topic", topics.requests(served.name)),
        input=json.dumps(request).encode() + b"\n",
        check=True,
        capture_output=True,
        timeout=60,
    )
    read = java.command(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *broker,
        *("--topic", topics.results(served.name), "--from-beginning", "--max-messages", "1", "--timeout-ms", "60000"),
        *("--isolation-level", "read_committed", "--property", "print.headers=true"),
    )
    printed = subprocess.run(read, check=True, capture_output=True, timeout=90).stdout.decode()
    headers, _, body = printed.strip().partition("\t")
    assert "status:ok" in headers
    result = json.loads(body)
    assert result["outputs"][0]["data"] in ([2, 4, 6, 8, 10, 12, 14, 16], [[2, 4, 6, 8], [10, 12, 14, 16]])
