"""Each role does its work with exactly the permissions of `streams.acls`, and not without a single one of them."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from streams import headers as names
from streams import preflight, topics
from streams.acls import Operation, Resource, Role, agents_group, of_role
from streams.client import InferenceClient
from streams.dead_letters_plan import PurgeRule
from streams.dead_letters_topic import DeadLetterTopic, ReplayOrder
from streams.errors import ClientClosed, KafkaFailure, NotAuthorized
from streams.kafka import Admin, new_producer, new_reader, translated
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.permissions import survey
from streams.kafka.transactions import TransactionalProducer, open_transactions
from streams.records import Outgoing
from streams.telemetry_link import TelemetryLink
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.kafka import KafkaSettings

pytestmark = pytest.mark.services


class Hooks:
    """Takes whatever partitions there are."""

    def __init__(self) -> None:
        self.mine: set[int] = set()

    def assigned(self, partitions: Any) -> None:
        """Remember."""
        self.mine |= set(partitions)

    def revoking(self, partitions: Any) -> None:
        """Nothing is in hand."""

    def drained(self, partitions: Any) -> bool:  # noqa: ARG002 - the protocol's signature
        """Nothing is in hand."""
        return True

    def revoked(self, partitions: Any) -> None:
        """Forget."""
        self.mine -= set(partitions)


@contextlib.contextmanager
def closing(thing: Any, **how: Any) -> Iterator[Any]:
    """Close it whatever happens."""
    try:
        yield thing
    finally:
        with contextlib.suppress(KafkaFailure):
            thing.close(**how)


def work(settings: KafkaSettings, pipeline: str, transactions: Callable[..., Any] = open_transactions) -> None:
    """All that a worker does with Kafka: take a request, answer it and a bad one in a transaction, report, leave."""
    slot = f"{pipeline}-cpu-0"
    consumer = GroupConsumer(
        settings,
        topic=topics.requests(pipeline),
        group=topics.group(pipeline),
        instance_id=slot,
        hooks=Hooks(),
        session_timeout_ms=6000,
        revoke_drain_s=0.1,
        max_poll_records=10,
    )
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(Admin(settings, "test-worker"))
        stack.enter_context(closing(consumer))
        record = first(lambda: [record for records in consumer.poll(0.5).values() for record in records])
        out = transactions(settings, transactional_id=slot, timeout_ms=5000, max_request_bytes=2**20)
        stack.enter_context(closing(out))
        answers = [
            Outgoing(topic(pipeline), record.key, b"v", [], record.partition)
            for topic in (topics.results, topics.dead_letters)
        ]
        out.send(
            answers,
            topic=topics.requests(pipeline),
            group=consumer.metadata(),
            offsets={record.partition: record.offset + 1},
        )
        report = new_producer(settings, "test-report", acks=1, enable_idempotence=False)
        stack.enter_context(closing(report, timeout=1))
        with translated("report"):
            report.send(topics.TELEMETRY, key=pipeline.encode(), value=b"{}").get(5)
        admin.remove_static_members(topics.group(pipeline), [slot])


def first(poll: Callable[[], list[Any]]) -> Any:
    """The first record there is."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if records := poll():
            return records[0]
    pytest.fail("no record")


def request_and_read(settings: KafkaSettings, pipeline: str) -> None:
    """All that a client does: write a request, be able to read results, alone."""
    with InferenceClient(pipeline, settings, delivery_timeout_s=5) as client:
        future = client.submit({"x": np.zeros((1, 4), np.float32)}, request_id="r")
    error = future.exception(10)
    if not isinstance(error, ClientClosed):
        assert error is not None
        raise error
    reader = new_reader(settings, [topics.results(pipeline)], from_="earliest")
    with closing(reader, autocommit=False), translated("read results"):
        reader.poll(200)


def decide(settings: KafkaSettings, pipeline: str) -> None:
    """All that an autoscaler does besides its agent: topics, samples, the tape, and slots that were scaled in."""
    link = TelemetryLink(settings, pipeline, TopicSettings())
    with closing(link):
        link.prepare()
        sample = link.sample(None, None)
        offset = link.publish(sample)
        assert [kept for _, kept in link.recent(time.time() - 60, offset + 1)][-1] == sample
        link.remove_members(topics.group(pipeline), ["nobody"])
        link.remove_members(agents_group(pipeline), ["nobody"])


def operate(settings: KafkaSettings, pipeline: str) -> None:
    """What a person does: topics, dead letters read, replayed and purged, a look at the group."""
    with Admin(settings, "test-operator") as admin:
        assert ensure_topics(admin, pipeline, TopicSettings(partitions=1)) == ()
        admin.committed(topics.group(pipeline), topics.requests(pipeline))
        admin.end_offsets(topics.results(pipeline))
    with DeadLetterTopic(settings, pipeline) as letters:
        outcome = letters.replay(ReplayOrder(), threading.Event())
        assert outcome.sent == outcome.plan.count > 0
        letters.purge(letters.plan_purge(PurgeRule("all")))


ROLES: dict[Role, Callable[[KafkaSettings, str], None]] = {
    Role.CLIENT: request_and_read,
    Role.WORKER: work,
    Role.AUTOSCALER: decide,
    Role.OPERATOR: operate,
}
#: What only a cluster without the topics would refuse.
UNPROVEN = {Operation.CREATE}
#: A consumer that may not see its topic waits for it in silence, so the preflight is what tells.
SILENT = {(Role.WORKER, Resource.TOPIC, Operation.READ)}


@pytest.fixture
def fed(secured: Any, pipeline: str) -> Iterator[str]:
    """A pipeline with one partition, and requests in it for whoever takes them."""
    with Admin(secured.admin, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=1))
    producer = new_producer(secured.admin, "test")
    for _ in range(20):
        producer.send(topics.requests(pipeline), value=b"v", key=b"k")
    producer.close()
    return pipeline


@contextlib.contextmanager
def prepared(secured: Any, pipeline: str) -> Iterator[None]:
    """A new dead letter, and no member left in the group from a round that failed."""
    producer = new_producer(secured.admin, "test")
    headers = [(names.DLQ_REASON, b"model-failed"), (names.DLQ_SOURCE, f"{topics.requests(pipeline)}/0/0".encode())]
    producer.send(topics.dead_letters(pipeline), value=b"v", key=b"k", headers=headers).get(10)
    producer.close()
    yield
    with Admin(secured.admin, "test") as admin:
        admin.remove_static_members(topics.group(pipeline), [f"{pipeline}-cpu-0"])


@pytest.mark.parametrize("role", list(Role))
def test_a_role_works_with_its_permissions_and_with_none_less(secured: Any, fed: str, role: Role) -> None:
    """All of it works with all of them; without any one the work fails, saying that it is not authorized."""
    user = secured.new_user()
    settings = secured.settings(user, request_timeout_ms=6_000, bootstrap_timeout_ms=6_000)
    grants = of_role(role, fed)
    secured.permit(user, grants)
    with prepared(secured, fed):
        ROLES[role](settings, fed)
    seen: set[tuple[Resource, Operation]] = set()
    with Admin(settings, "test-look") as look:
        for grant in grants:
            secured.forbid(user, [grant], look)
            with pytest.raises(NotAuthorized, match=re.escape(str(grant))):
                preflight.check(look, grants, role=role, settings=settings)
            kind = grant.resource, grant.operation
            if grant.operation not in UNPROVEN and (role, *kind) not in SILENT and not (alike(kind) and kind in seen):
                with prepared(secured, fed):
                    said = refusal(ROLES[role], settings, fed)
                assert "ask whoever runs the cluster" in said, f"worked without {grant}"
            seen.add(kind)
            secured.permit(user, [grant], look)


def alike(kind: tuple[Resource, Operation]) -> bool:
    """Whether one topic's permission of this kind stands for those of the others: the same call asks for all."""
    return kind in {(Resource.TOPIC, Operation.DESCRIBE_CONFIGS), (Resource.TOPIC, Operation.DESCRIBE)}


def refusal(do: Callable[[KafkaSettings, str], None], settings: KafkaSettings, pipeline: str) -> str:
    """What is said when something is not permitted; empty = all of it went well."""
    try:
        do(settings, pipeline)
    except NotAuthorized as error:
        return str(error)
    return ""


def test_an_operator_creates_topics_only_with_the_permission(secured: Any, pipeline: str) -> None:
    """Each topic that does not exist needs its own."""
    user = secured.new_user()
    grants = of_role(Role.OPERATOR, pipeline)
    secured.grants.grant(grants, f"User:{user}")
    create = [grant for grant in grants if grant.operation is Operation.CREATE and grant.name.startswith(pipeline)]
    assert len(create) == 3
    settings = secured.settings(user)
    secured.grants.revoke(create[:1], f"User:{user}")
    with Admin(settings, "test") as admin:
        with pytest.raises(NotAuthorized, match=f"create the topic {create[0].name}"):
            ensure_topics(admin, pipeline, TopicSettings(partitions=1))
        secured.grants.grant(create, f"User:{user}")
        assert created_in_time(admin, pipeline)


def created_in_time(admin: Admin, pipeline: str) -> bool:
    """Whether the topics can be made once the broker has heard of the permission."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return ensure_topics(admin, pipeline, TopicSettings(partitions=1)) == ()
        except NotAuthorized:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def test_permissions_of_one_pipeline_reach_no_other(secured: Any, fed: str) -> None:
    """A worker of one pipeline lacks all of another's but the shared telemetry."""
    user = secured.new_user()
    secured.permit(user, of_role(Role.WORKER, fed))
    others = of_role(Role.WORKER, "another", slot="another-cpu-0")
    with Admin(secured.settings(user), "test") as admin:
        lacking = survey(admin, others).lacking
    assert set(lacking) == {grant for grant in others if grant.name != topics.TELEMETRY}


@pytest.mark.parametrize("transactions", [open_transactions, TransactionalProducer])
def test_a_refused_record_is_never_committed_over(secured: Any, fed: str, transactions: Callable[..., Any]) -> None:
    """kafka-python puts a refusal into a future; the request's offset must not be committed without its answer."""
    user = secured.new_user()
    settings = secured.settings(user)
    granted = of_role(Role.WORKER, fed)
    secured.permit(user, [grant for grant in granted if grant.name != topics.results(fed)])
    with pytest.raises(NotAuthorized, match=f"{fed}.results.*ask whoever runs the cluster"):
        work(settings, fed, transactions)
    with Admin(secured.admin, "test") as admin:
        assert admin.committed(topics.group(fed), topics.requests(fed)) == {0: None}
    letters = new_reader(secured.admin, [topics.dead_letters(fed)], from_="earliest")
    with closing(letters, autocommit=False):
        assert letters.poll(500) == {}
