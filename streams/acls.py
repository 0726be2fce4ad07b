"""Who may do what, at least: the permissions that each role needs in a Kafka cluster that denies by default.

Data alone. `penstock acls` prints it, the start of each process checks it (`streams.preflight`), and the tests run
each role with exactly this. Kafka implies `Describe` by `Read`, `Write`, `Delete` and `Alter`, so it stands here only
where it is all that is needed. An idempotent producer needs nothing beyond `Write` on its topic since Kafka 2.8
(KIP-679).
"""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import topics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Resource(enum.StrEnum):
    """What a permission is about; the value is the option of `kafka-acls.sh`."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Pattern(enum.StrEnum):
    """How the name of a permission is meant."""

    LITERAL = "literal"
    #: All names that begin with it.
    PREFIXED = "prefixed"


class Operation(enum.StrEnum):
    """What is permitted, as `kafka-acls.sh` has it."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DELETE = "Delete"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


class Role(enum.StrEnum):
    """Who asks."""

    #: Sends requests and reads their results.
    CLIENT = "client"
    #: A worker process.
    WORKER = "worker"
    #: The autoscaler's process.
    AUTOSCALER = "autoscaler"
    #: A person or a job: creates topics, looks at them, works on dead letters.
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission."""

    resource: Resource
    name: str
    operation: Operation
    #: What it is for.
    why: str
    pattern: Pattern = Pattern.LITERAL

    def __str__(self) -> str:
        star = "*" if self.pattern is Pattern.PREFIXED else ""
        return f"{self.operation} on {self.resource} {self.name}{star}"

    def command(self, principal: str, bootstrap: str = "$BOOTSTRAP") -> str:
        """The line for Kafka's own tool that grants it.

        Args:
            principal: e.g. `User:worker`.
            bootstrap: `host:port`, or a shell variable's name with its `$`.
        """
        server = bootstrap if bootstrap.startswith("$") else shlex.quote(bootstrap)
        pattern = "" if self.pattern is Pattern.LITERAL else f" --resource-pattern-type {self.pattern}"
        return (
            f"kafka-acls.sh --bootstrap-server {server} --add --allow-principal {shlex.quote(principal)} "
            f"--operation {self.operation} --{self.resource} {shlex.quote(self.name)}{pattern}"
        )


def of_role(
    role: Role,
    pipeline: str,
    *,
    exactly_once: bool = True,
    slot: str | None = None,
    manages_workers: bool = True,
    reply_topics: Collection[str] = (),
    groups: Collection[str] = (),
    bulk: bool = False,
) -> tuple[Grant, ...]:
    """What a role needs for one pipeline, and no more.

    Args:
        role: who asks.
        pipeline: its name.
        exactly_once: a worker's delivery; the other needs no transactions.
        slot: the one worker that is meant; `None` = all workers of the pipeline.
        manages_workers: whether the autoscaler starts and stops workers, or only says what it would do.
        reply_topics: results topics besides the pipeline's own (`reply-to`), for workers and clients.
        groups: names under which a client shares the results with others (`streams.result_feed`).
        bulk: whether the pipeline has a topic for bulk.

    Raises:
        InvalidPipelineName: it is none.
    """
    topics.validate_pipeline_name(pipeline)
    more = _bulk(role, pipeline) if bulk else ()
    if role is Role.CLIENT:
        return _client(pipeline, reply_topics, groups) + more
    if role is Role.WORKER:
        return _worker(pipeline, reply_topics, slot=slot, exactly_once=exactly_once) + more
    if role is Role.AUTOSCALER:
        return _autoscaler(pipeline, manages_workers=manages_workers) + more
    return _operator(pipeline) + more


def kafka_acls(grants: Iterable[Grant], principal: str, bootstrap: str = "$BOOTSTRAP") -> str:
    """The lines for Kafka's own tool, one a grant."""
    return "".join(f"{grant.command(principal, bootstrap)}\n" for grant in grants)


def agents_group(pipeline: str) -> str:
    """The consumer group of a pipeline's autoscalers."""
    return f"penstock.autoscaler.{pipeline}"


def _topic(name: str, operation: Operation, why: str) -> Grant:
    return Grant(Resource.TOPIC, name, operation, why)


def _client(pipeline: str, reply_topics: Collection[str], groups: Collection[str]) -> tuple[Grant, ...]:
    return (
        _topic(topics.requests(pipeline), Operation.WRITE, "send requests"),
        *(_topic(name, Operation.READ, "read results") for name in (reply_topics or (topics.results(pipeline),))),
        *(Grant(Resource.GROUP, name, Operation.READ, "share the results in a group") for name in groups),
    )


def _worker(pipeline: str, reply_topics: Collection[str], *, slot: str | None, exactly_once: bool) -> tuple[Grant, ...]:
    transactions: tuple[Grant, ...] = ()
    if exactly_once:
        name, pattern = (slot, Pattern.LITERAL) if slot else (f"{pipeline}-", Pattern.PREFIXED)
        transactions = (
            Grant(Resource.TRANSACTIONAL_ID, name, Operation.WRITE, "answer exactly once: slots are named so", pattern),
        )
    return (
        _topic(topics.requests(pipeline), Operation.READ, "take requests"),
        Grant(Resource.GROUP, topics.group(pipeline), Operation.READ, "share the partitions, commit what is answered"),
        *(_topic(name, Operation.WRITE, "write results") for name in (topics.results(pipeline), *reply_topics)),
        _topic(topics.dead_letters(pipeline), Operation.WRITE, "keep what has no answer"),
        *transactions,
        _topic(topics.TELEMETRY, Operation.WRITE, "report to the autoscaler"),
    )


def _autoscaler(pipeline: str, *, manages_workers: bool) -> tuple[Grant, ...]:
    workers = (
        (Operation.READ, "see what is answered, and take slots that were scaled in out of the group")
        if manages_workers
        else (Operation.DESCRIBE, "see what is answered")
    )
    return (
        _topic(topics.TELEMETRY, Operation.READ, "read the tape"),
        _topic(topics.TELEMETRY, Operation.WRITE, "write samples and claims"),
        Grant(Resource.GROUP, agents_group(pipeline), Operation.READ, "agree on who decides"),
        _topic(topics.requests(pipeline), Operation.DESCRIBE, "see what has arrived"),
        Grant(Resource.GROUP, topics.group(pipeline), *workers),
    )


def _bulk(role: Role, pipeline: str) -> tuple[Grant, ...]:
    name, group = topics.bulk(pipeline), topics.bulk_group(pipeline)
    if role is Role.CLIENT:
        return (_topic(name, Operation.WRITE, "send requests that can wait"),)
    if role is Role.WORKER:
        return (
            _topic(name, Operation.READ, "take requests that can wait"),
            Grant(Resource.GROUP, group, Operation.READ, "share its partitions, commit what is answered"),
        )
    if role is Role.OPERATOR:
        return (
            _topic(name, Operation.CREATE, "create the topics"),
            _topic(name, Operation.DESCRIBE_CONFIGS, "compare the topics with the settings"),
            _topic(name, Operation.DESCRIBE, "see the topics"),
            Grant(Resource.GROUP, group, Operation.DESCRIBE, "see how far the workers are"),
        )
    # The autoscaler does not count bulk: it is served with what urgent requests leave.
    return ()


def _operator(pipeline: str) -> tuple[Grant, ...]:
    own = (topics.requests(pipeline), topics.results(pipeline), topics.dead_letters(pipeline), topics.TELEMETRY)
    letters = topics.dead_letters(pipeline)
    return (
        *(_topic(name, Operation.CREATE, "create the topics") for name in own),
        *(_topic(name, Operation.DESCRIBE_CONFIGS, "compare the topics with the settings") for name in own),
        *(_topic(name, Operation.DESCRIBE, "see the topics") for name in (topics.results(pipeline), topics.TELEMETRY)),
        _topic(letters, Operation.READ, "look at dead letters"),
        _topic(letters, Operation.DELETE, "purge dead letters"),
        _topic(topics.requests(pipeline), Operation.WRITE, "replay dead letters"),
        _topic(letters, Operation.WRITE, "mark what was replayed"),
        Grant(
            Resource.TRANSACTIONAL_ID,
            f"penstock.{pipeline}.dlq-replay",
            Operation.WRITE,
            "replay each letter exactly once",
        ),
        Grant(Resource.GROUP, topics.group(pipeline), Operation.DESCRIBE, "see how far the workers are"),
    )
