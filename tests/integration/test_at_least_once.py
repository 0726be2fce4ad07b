"""At-least-once delivery, killed: results come twice on the topic, and once to whoever asked."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streams import topics
from streams.client import InferenceClient
from streams.kafka import Admin
from streams.repeats import Repeats

if TYPE_CHECKING:
    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]

REQUESTS = 1500


def _caught_between_sending_and_committing(admin: Admin, served: Pipeline, pid: int) -> bool:
    """Hold the worker; whether it has written results whose offsets it has not committed. It stays held if so."""
    os.kill(pid, signal.SIGSTOP)
    written = sum(admin.end_offsets(topics.results(served.name)).values())
    committed = admin.committed(topics.group(served.name), topics.requests(served.name))
    if written > sum(offset or 0 for offset in committed.values()):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def test_repeats_are_on_the_topic_and_reach_nobody(served: Pipeline) -> None:
    """A worker is killed between sending and committing: its successor answers again, the client drops it."""
    served.config.write_text(served.config.read_text() + 'delivery = "at-least-once"\n')
    pid = served.start("w0")
    served.wait_ready("w0")
    with InferenceClient(served.name, served.kafka) as client, Admin(served.kafka, "test") as admin:
        futures = [client.submit({"x": np.full((1, 4), number, np.float32)}) for number in range(REQUESTS // 2)]
        deadline = time.monotonic() + 60
        while not _caught_between_sending_and_committing(admin, served, pid):
            assert time.monotonic() < deadline, "never caught with results sent and offsets not committed"
            # Something must be under way for there to be anything to catch.
            futures.append(client.submit({"x": np.full((1, 4), len(futures), np.float32)}))
        served.kill("w0")
        served.start("w0")
        while len(futures) < REQUESTS:
            futures.append(client.submit({"x": np.full((1, 4), len(futures), np.float32)}))
        results = [future.result(60) for future in futures]
        on_topic = Counter(result.id for result in served.results(len(futures)))
        repeated = sum(on_topic.values()) - len(futures)
        served.wait_until(lambda: client.duplicates == repeated, 10, f"{client.duplicates} of {repeated} counted")

        assert repeated > 0
        assert set(on_topic) == {future.request_id for future in futures}
        assert all(np.all(result.outputs["y"] == 2 * number) for number, result in enumerate(results))

        repeats = Repeats()
        read = Counter(result.id for result in client.results(group=f"{served.name}-bulk", idle_s=2, repeats=repeats))
        assert read == dict.fromkeys(on_topic, 1)
        assert repeats.count == repeated
        everything = Counter(result.id for result in client.results(group=f"{served.name}-all", idle_s=2))
        assert everything == on_topic
