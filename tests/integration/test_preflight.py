"""A process that lacks a permission says so at its start, by name; a stranger costs no more than his own record."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from streams import topics
from streams.acls import Operation, Role, of_role
from streams.headers import DLQ_REASON, header
from streams.kafka import Admin, TopicSpec

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


def without(role: Role, pipeline: str, name: str, operation: Operation) -> list[Any]:
    """A role's permissions but one."""
    grants = of_role(role, pipeline)
    rest = [grant for grant in grants if (grant.name, grant.operation) != (name, operation)]
    assert len(rest) == len(grants) - 1
    return rest


def test_a_worker_that_may_not_answer_says_so_before_it_loads_its_model(secured: Any, secured_pipeline: Any) -> None:
    """Exit code 64, with the permission and the command that grants it; no model was touched, no record either."""
    under_test = secured_pipeline
    user = secured.new_user()
    missing = topics.results(under_test.name)
    secured.permit(user, without(Role.WORKER, under_test.name, missing, Operation.WRITE))
    base = re.sub(r"model = .*", 'model = "there/is/none"', under_test.config.read_text())
    under_test.config.write_text(base + secured.toml(user, "scram"))
    slot = f"{under_test.name}-cpu-0"
    under_test.start(slot)
    under_test.wait_until(lambda: "worker.failed" in under_test.log(slot), 60, "a refusal")
    assert under_test.exit_code(slot) == 64
    said = under_test.log(slot)
    assert f"User:{user} lacks Write on topic {missing} (to write results)" in said
    assert f"--allow-principal User:{user} --operation Write --topic {missing}" in said
    assert "worker.warm" not in said


def test_an_autoscaler_that_may_not_see_requests_says_so(secured: Any, secured_pipeline: Any) -> None:
    """Exit code 64 at once; with a broker that is away it would wait."""
    under_test = secured_pipeline
    user = secured.new_user()
    missing = topics.requests(under_test.name)
    secured.permit(user, without(Role.AUTOSCALER, under_test.name, missing, Operation.DESCRIBE))
    under_test.config.write_text(under_test.config.read_text() + secured.toml(user, "scram"))
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "autoscaler", "--config", str(under_test.config)],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 64, done
    assert f"lacks Describe on topic {missing} (to see what has arrived)" in done.stderr


def test_a_reply_topic_that_the_worker_may_not_write_to_costs_its_own_record_only(
    secured: Any, secured_pipeline: Any
) -> None:
    """Strangers name topics: one that is not permitted fails that request, and the worker goes on."""
    under_test = secured_pipeline
    forbidden = f"{under_test.name}.secret"
    with Admin(secured.admin, "test") as admin:
        admin.create_topics({forbidden: TopicSpec(1, 1)})
    secured.grants.grant(of_role(Role.WORKER, under_test.name), "User:worker")
    under_test.config.write_text(under_test.config.read_text() + secured.toml("worker", "mutual"))
    slot = f"{under_test.name}-cpu-0"
    under_test.start(slot)
    for number in range(10):
        headers = [("reply-to", forbidden.encode())] if number == 5 else []
        under_test.send(f"r{number}", np.full((1, 4), number), headers=headers)
    under_test.producer.flush()
    results = {result.id: result for result in under_test.results(10)}
    assert len(results) == 10
    assert [name for name, result in results.items() if not result.ok] == ["r5"]
    as_admin = dataclasses.replace(under_test, kafka=secured.admin)
    letters = as_admin.read(topics.dead_letters(under_test.name), 1)
    assert [header(letter.headers, DLQ_REASON) for letter in letters] == [b"reply-topic-missing"]
    assert under_test.stop(slot) == 0
