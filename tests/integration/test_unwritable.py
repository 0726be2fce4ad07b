"""Results and dead letters that a broker refuses: the request fails with its reason, and nobody else waits for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from streams import topics
from streams.headers import DLQ_CUT, DLQ_REASON, header
from streams.kafka import Admin
from streams.kafka.admin import TopicSpec
from streams.records import encode_request

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]

#: Bytes of a request that a gzip of a few thousand bytes unpacks to, above what any topic here takes.
UNPACKED = 2 * 2**20


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_what_a_broker_refuses_costs_its_own_request_only(served: Any, delivery: str) -> None:
    """A reply topic that is deleted after its use, a compacted one, a narrow one; a request that came compressed."""
    with served.config.open("a") as config:
        config.write(f'delivery = "{delivery}"\n')
    mine, compacted, narrow = (f"{served.name}.{name}" for name in ("mine", "compacted", "narrow"))
    with Admin(served.kafka, "test-unwritable") as admin:
        admin.create_topics(
            {
                mine: TopicSpec(1, 1, {}),
                compacted: TopicSpec(1, 1, {"cleanup.policy": "compact"}),
                narrow: TopicSpec(1, 1, {"max.message.bytes": "200"}),
            }
        )
        slot = f"{served.name}-cpu-0"
        pid = served.start(slot)
        served.wait_ready(slot)
        served.send("first", np.ones((1, 4)), headers=[("reply-to", mine.encode())])
        served.producer.flush()
        assert len(served.read(mine, 1)) == 1
        admin.delete_topics([mine])
    for name, topic in (("gone", mine), ("compacted", compacted), ("narrow", narrow)):
        served.send(name, np.ones((1, 4)), headers=[("reply-to", topic.encode())])
    packing = KafkaProducer(
        bootstrap_servers=served.kafka.bootstrap_servers, compression_type="gzip", max_request_size=2 * UNPACKED
    )
    value, headers = encode_request({"x": np.zeros((UNPACKED // 16, 4), np.float32)}, request_id="packed")
    packing.send(topics.requests(served.name), value, b"packed", [("request-id", b"packed"), *headers]).get(30)
    packing.close()
    served.send("last", np.ones((1, 4)))
    served.producer.flush()
    by_id: dict[str, Any] = {}

    def all_there() -> bool:
        # At-least-once repeats what was written beside a record that was refused.
        by_id.update({result.id: result for result in served.results(5)})
        return len(by_id) == 5

    served.wait_until(all_there, 120, "an answer to each request")
    assert by_id["last"].error is None
    reasons = {name: result.error.split(":")[0] for name, result in by_id.items() if result.error is not None}
    assert reasons == {
        "gone": "reply-topic-missing", "compacted": "reply-topic-missing", "narrow": "result-too-large",
        "packed": "record-too-large",
    }  # fmt: skip
    letters = served.read(topics.dead_letters(served.name), 4)
    cut = [letter for letter in letters if header(letter.headers, DLQ_CUT) is not None]
    assert {header(letter.headers, DLQ_REASON) for letter in cut} == {b"record-too-large"}
    assert {letter.value for letter in cut} == {b""}
    if delivery == "exactly-once":
        assert (len(letters), len(cut)) == (4, 1)
    assert served.pids[slot] == pid
    assert served.stop(slot) == 0
