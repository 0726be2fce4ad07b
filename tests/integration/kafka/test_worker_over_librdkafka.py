"""Real workers with the other client: the same model, the same promises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_worker_answers_each_request_once(served: Pipeline, delivery: str) -> None:
    """One of two is stopped on the way, and with exactly-once another is killed and restarted."""
    text = served.config.read_text().replace("[kafka]\n", '[kafka]\nlibrary = "librdkafka"\n')
    served.config.write_text(f'{text}delivery = "{delivery}"\n')
    served.start("w0")
    served.start("w1")
    served.wait_ready("w0")
    served.wait_ready("w1")
    assert '"group.even_shares"' in served.log("w0")
    for number in range(1500):
        served.send(f"r{number}", np.full((1, 4), number))
        if number == 500:
            served.producer.flush()
            served.results(100)
            assert served.stop("w1") == 0
        if number == 1000 and delivery == "exactly-once":
            served.producer.flush()
            served.kill("w0")
            served.start("w0")
    served.producer.flush()
    results = served.results(1500)
    counts = Counter(result.id for result in results)
    assert counts.keys() == {f"r{number}" for number in range(1500)}
    # Stopped in order, at-least-once repeats nothing either: the offsets of what is in hand are committed first.
    assert set(counts.values()) == {1}, {name: count for name, count in counts.items() if count > 1}
    assert all(np.all(result.outputs["y"] == 2 * int(result.id[1:])) for result in results)
    assert served.stop("w0") == 0
