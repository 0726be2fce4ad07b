"""The worker as a process, on a real broker, with a real model."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streams import topics
from streams.client import InferenceClient
from streams.headers import CONTENT_TYPE, HEADER_LENGTH
from streams.kafka import Admin
from streams.records import Encoding, Status, encode_request
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


def _json(**changes: object) -> bytes:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    return json.dumps({"inputs": [{**tensor, **changes}]}).encode()


_BINARY = encode_request({"x": np.ones((1, 4), np.float32)})[0]
_AS_BINARY = (CONTENT_TYPE, b"application/octet-stream")

#: Kind -> value, headers, and the code that it must be refused with.
MALFORMED: dict[str, tuple[bytes | None, list[tuple[str, bytes]], str]] = {
    "no value": (None, [], "empty-value"),
    "empty": (b"", [], "empty-value"),
    "not utf-8": (b"\xff\xfe{}", [], "invalid-utf8"),
    "not json": (b"{inputs", [], "invalid-json"),
    "too deep": (b"[" * 5000 + b"]" * 5000, [], "json-too-deep"),
    "a list": (b"[1]", [], "not-an-object"),
    "no inputs": (b"{}", [], "missing-inputs"),
    "name is a number": (_json(name=7), [], "bad-input-name"),
    "negative dimension": (_json(shape=[-1, 4]), [], "bad-shape"),
    "huge shape": (_json(shape=[2**30, 2**30]), [], "bad-shape"),
    "unknown datatype": (_json(datatype="FLOAT"), [], "unknown-datatype"),
    "text for numbers": (_json(data=["a", "b", "c", "d"]), [], "bad-data"),
    "too few numbers": (_json(data=[1, 2]), [], "shape-data-mismatch"),
    "unknown encoding": (b"{}", [(CONTENT_TYPE, b"application/x-protobuf")], "unsupported-content-type"),
    "binary without length": (_BINARY, [_AS_BINARY], "bad-content-length"),
    "binary length beyond value": (_BINARY, [_AS_BINARY, (HEADER_LENGTH, b"99999")], "bad-content-length"),
    "binary cut off": (
        _BINARY[:-3],
        [_AS_BINARY, (HEADER_LENGTH, b"%d" % (len(_BINARY) - 16))],
        "binary-size-mismatch",
    ),
    "deadline is text": (_json(), [("deadline-ms", b"soon")], "bad-header"),
    "another input": (_json(name="z"), [], "unexpected-inputs"),
    "wrong width": (_json(shape=[1, 5], data=[1, 2, 3, 4, 5]), [], "wrong-shape"),
    "wrong datatype": (_json(datatype="BYTES", data=["a", "b", "c", "d"]), [], "wrong-datatype"),
    "pinned to another version": (_json(), [("model-version", b"99")], "model-version-unavailable"),
}


def test_a_thousand_malformed_requests_cost_no_good_one(served: Pipeline) -> None:
    """Good requests are answered, each bad one fails with its code and leaves a dead letter, the process goes on."""
    pid = served.start("w0")
    kinds = list(MALFORMED)
    expected: dict[str, str] = {}
    for number in range(1000):
        served.send(f"good-{number}", np.full((1, 4), number))
        value, headers, code = MALFORMED[kinds[number % len(kinds)]]
        expected[f"bad-{number}"] = code
        served.send_raw(value, [*headers, ("request-id", b"bad-%d" % number)], key=b"bad-%d" % number)
    served.producer.flush()

    results = served.results(2000)

    assert Counter(result.status for result in results) == {Status.OK: 1000, Status.FAILED: 1000}
    for result in results:
        if result.ok:
            assert np.all(result.outputs["y"] == 2 * int(result.id.removeprefix("good-")))
        else:
            assert result.error.startswith(expected.pop(result.id) + ":"), result
    assert not expected
    letters = served.read(topics.dead_letters(served.name), 1000)
    assert len(letters) == 1000
    assert served.pids["w0"] == pid
    assert served.stop("w0") == 0


def test_a_worker_killed_in_the_middle_repeats_and_loses_nothing(served: Pipeline) -> None:
    """After SIGKILL and restart of one of two workers a read-committed reader sees each id once."""
    served.start("w0")
    served.start("w1")
    served.wait_ready("w0")
    served.wait_ready("w1")
    for number in range(3000):
        served.send(f"r{number}", np.full((1, 4), number))
        if number == 1500:
            served.producer.flush()
            served.results(200)
            served.kill("w0")
            served.start("w0")
    served.producer.flush()

    results = served.results(3000)

    assert Counter(result.id for result in results) == {f"r{number}": 1 for number in range(3000)}
    assert all(np.all(result.outputs["y"] == 2 * int(result.id[1:])) for result in results)


def test_order_within_a_partition_is_kept(served: Pipeline) -> None:
    """Results of one key come in the order of their requests."""
    served.start("w0")
    for number in range(500):
        value, headers = encode_request({"x": np.ones((1, 4), np.float32)}, request_id=f"r{number}")
        served.send_raw(value, headers, key=b"one-key")
    served.producer.flush()
    assert [result.id for result in served.results(500)] == [f"r{number}" for number in range(500)]


def test_headers_are_obeyed(served: Pipeline) -> None:
    """A passed deadline expires without the model; trace context, key and rows come back; reply-to is followed."""
    reply_topic = f"{served.name}.mine"
    with Admin(served.kafka, "test-reply") as admin:
        from streams.kafka import TopicSpec  # noqa: PLC0415 - this test only

        admin.create_topics({reply_topic: TopicSpec(1, 1, {})})
    served.start("w0")
    past = b"%d" % (time.time() * 1000 - 1)
    served.send("late", np.ones((1, 4)), headers=[("deadline-ms", past)])
    served.send("traced", np.ones((40, 4)), encoding=Encoding.JSON, headers=[("traceparent", b"00-ab-cd-01")])
    served.send("elsewhere", np.ones((1, 4)), headers=[("reply-to", reply_topic.encode())])
    served.send("nowhere", np.ones((1, 4)), headers=[("reply-to", b"no-such-topic")])
    served.producer.flush()

    by_id = {result.id: result for result in served.results(3)}

    assert by_id["late"].status is Status.EXPIRED
    assert by_id["traced"].traceparent == "00-ab-cd-01"
    assert by_id["traced"].outputs["y"].shape == (40, 4), "more rows than a batch takes are split and joined"
    assert by_id["nowhere"].error.startswith("reply-topic-missing")
    assert "elsewhere" not in by_id
    assert [record.key for record in served.read(reply_topic, 1)] == [b"elsewhere"]


def test_bulk_is_answered_beside_urgent_requests(served: Pipeline) -> None:
    """Each lane in order, each request once; a bad record of bulk leaves its dead letter like any other."""
    with Admin(served.kafka, "test") as admin:
        ensure_topics(admin, served.name, TopicSettings(partitions=4, bulk=True))
    served.start("w0")
    served.wait_ready("w0")
    value, content = encode_request({"x": np.ones((1, 4), np.float32)}, request_id="x")
    content = [one for one in content if one[0] != "request-id"]
    for index in range(300):
        served.send(f"urgent-{index}", np.full((1, 4), index))
        headers = [*content, ("request-id", b"bulk-%d" % index)]
        served.producer.send(topics.bulk(served.name), value=value, key=b"k", headers=headers)
    served.producer.send(topics.bulk(served.name), value=b"{", headers=[("request-id", b"bad")])
    results = served.results(601)
    assert Counter(one.id for one in results) == Counter(
        [f"{lane}-{index}" for lane in ("urgent", "bulk") for index in range(300)] + ["bad"]
    )
    bulk = [one.id for one in results if one.id.startswith("bulk-")]
    assert bulk == [f"bulk-{index}" for index in range(300)]
    with InferenceClient(served.name, served.kafka, bulk=True) as client:
        assert client.submit({"x": np.ones((1, 4), np.float32)}).result(30).source.startswith(topics.bulk(served.name))
    (letter,) = served.read(topics.dead_letters(served.name), 1)
    assert dict(letter.headers)["dlq-source"].decode().startswith(topics.bulk(served.name))
    assert served.stop("w0") == 0


def test_a_key_that_fills_a_record_stops_nobody(served: Pipeline) -> None:
    """There is no room for the key beside any answer: it fails alone, and the next is answered."""
    served.start("w0")
    served.wait_ready("w0")
    value, content = encode_request({"x": np.ones((1, 4), np.float32)}, request_id="large")
    served.send_raw(value, content, key=b"k" * (1024 * 1024 - 2000))
    served.send("next", np.ones((1, 4)))
    by_id = {one.id: one for one in served.results(2)}
    assert (by_id["large"].status, by_id["next"].status) == (Status.FAILED, Status.OK)
    assert "shorter key" in (by_id["large"].error or "")


def test_a_second_worker_of_the_same_slot_refuses_to_run(served: Pipeline) -> None:
    """Two processes never share a slot: the second says who holds it and exits with 73."""
    first = served.start("w0")
    served.wait_ready("w0")
    served.start("w0")
    served.pids["second"] = served.pids["w0"]
    served.pids["w0"] = first
    second = served.pids.pop("second")
    deadline = time.monotonic() + 60
    while (code := served.launcher.exit_code(second)) is None:
        assert time.monotonic() < deadline
    assert code == 73
    assert f"live process {first}" in served.log("w0")


def test_at_least_once_answers_everything(served: Pipeline) -> None:
    """The other way of delivery: no transaction, nothing lost."""
    served.config.write_text(served.config.read_text() + 'delivery = "at-least-once"\n')
    served.start("w0")
    for number in range(300):
        served.send(f"r{number}", np.full((1, 4), number))
    served.producer.flush()
    results = served.results(300)
    assert {result.id for result in results} == {f"r{number}" for number in range(300)}
    assert served.stop("w0") == 0
    with Admin(served.kafka, "test-lag") as admin:
        committed = admin.committed(topics.group(served.name), topics.requests(served.name))
        assert {p: offset or 0 for p, offset in committed.items()} == admin.end_offsets(topics.requests(served.name))


def test_an_emulated_boot_takes_its_time_and_a_stop_in_it_joins_nobody(served: Pipeline) -> None:
    """The second worker is told to stop while it boots: it ends, and the group has had one member all the time."""
    emulated = (
        '[[worker_types]]\nname = "cpu"\ndevice = "emulated"\n'
        "[worker_types.curve]\na_s = 0.01\nb_s = 0.001\nmax_batch = 8\n"
    )
    asked = served.config.read_text()
    served.config.write_text(f"{asked}emulated_boot_s = 2.0\n{emulated}")
    served.start("w0")
    served.wait_ready("w0")
    (ready,) = [line for line in map(json.loads, served.log("w0").splitlines()) if line["event"] == "worker.ready"]
    assert ready["boot_s"] >= 2.0
    served.config.write_text(f"{asked}emulated_boot_s = 600.0\n{emulated}")
    served.start("w1")
    served.wait_until(lambda: '"worker.booting"' in served.log("w1"), 60, "w1 boots")
    assert served.stop("w1") == 0
    assert '"worker.warm"' not in served.log("w1")
    with Admin(served.kafka, "test") as admin:
        assert set(admin.assignments(topics.group(served.name))) == {"w0"}
