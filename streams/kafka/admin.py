"""What is asked of a cluster about topics and groups, in our types. Safe to call from several threads."""

from __future__ import annotations

import functools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import kafka.errors as kafka_errors
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec

from streams.errors import KafkaFailure, NotAuthorized, TopicMissing
from streams.kafka.translate import connect, translate, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kafka.structs import OffsetAndMetadata

    from streams.kafka.settings import KafkaSettings


Answer = TypeVar("Answer")

#: Pause before a call is made again, in seconds.
RETRY_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be created."""

    partitions: int
    replication_factor: int
    #: Kafka's own names and values, e.g. `{"retention.ms": "86400000"}`.
    config: Mapping[str, str] = field(default_factory=dict)


class Admin:
    """One connection for administration.

    Each method tries again for a while where the cluster is only busy: electing a leader, or making its own topics at
    the first use.

    Args:
        settings: where to connect.
        client_id: shown in the broker's logs.
        retry_s: for how long, in seconds, from the first failure of a call on.

    Raises:
        KafkaFailure: or one of its kinds, here and in each method.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, *, retry_s: float = 10.0) -> None:
        self._client: KafkaAdminClient = connect(
            KafkaAdminClient, settings, "connect for administration", {}, client_id=client_id
        )
        self._retry_s = retry_s
        self._known_for_s = settings.metadata_max_age_ms / 1000
        self._lock = threading.Lock()
        #: Partition count by topic, and when it was read: a tick should cost the offsets' request and no more.
        self._counts: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._client.close()

    def create_topics(self, specs: Mapping[str, TopicSpec]) -> frozenset[str]:
        """Create what does not exist yet, and wait until all of it can be written to.

        Returns:
            The names that were created now; the others existed, and are left as they are.
        """
        if not specs:
            return frozenset()
        asked = {
            name: {
                "num_partitions": spec.partitions,
                "replication_factor": spec.replication_factor,
                "configs": dict(spec.config),
            }
            for name, spec in specs.items()
        }
        answer = self._ask(
            f"create the topics {', '.join(specs)}", lambda: self._client.create_topics(asked, raise_errors=False)
        )
        created = set()
        for topic in answer["topics"]:
            error = kafka_errors.for_code(topic["error_code"])
            if error is kafka_errors.NoError:
                created.add(topic["name"])
            elif error is not kafka_errors.TopicAlreadyExistsError:
                said = error(topic.get("error_message") or error.description)
                raise translate(said, f"create the topic {topic['name']}")
        with translated(f"see all leaders of {', '.join(specs)}"):
            self._client.wait_for_topics(list(specs))
        return frozenset(created)

    def delete_topics(self, topics: Iterable[str]) -> None:
        """Delete topics; what does not exist is passed over."""
        names = list(topics)
        self._ask("delete topics", lambda: self._client.delete_topics(names, raise_errors=False))

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; `None` = it does not exist."""
        described = self._ask(f"describe the topic {topic}", lambda: self._client.describe_topics([topic]))
        for entry in described:
            if entry["name"] == topic and entry["error_code"] == 0:
                return len(entry["partitions"])
        codes = {entry["error_code"] for entry in described if entry["name"] == topic}
        for code in codes - {kafka_errors.UnknownTopicOrPartitionError.errno}:
            raise translate(kafka_errors.for_code(code)(topic), f"describe the topic {topic}")
        return None

    def writable(self, topic: str) -> bool:
        """Whether a topic exists, this user may write to it, and it takes records without a key.

        A compacted topic does not: the broker refuses them with the whole batch.
        """
        described = self._ask(f"describe the topic {topic}", lambda: self._client.describe_topics([topic]))
        permitted = any(
            entry["name"] == topic and entry["error_code"] == 0 and "WRITE" in entry["authorized_operations"]
            for entry in described
        )
        if not permitted:
            return False
        try:
            return "compact" not in self.config(topic).get("cleanup.policy", "")
        except NotAuthorized:
            # A stranger's topic may be written to by one who may not read its settings.
            return True

    def config(self, topic: str) -> dict[str, str]:
        """The settings of a topic that are not the broker's defaults, by Kafka's names."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        described = self._ask(f"read the settings of {topic}", lambda: self._client.describe_configs(asked))
        entries = described.get("topic", {}).get(topic, {})
        if not entries:
            # A topic without settings of its own, or one whose settings we may not read: the library drops the refusal.
            self._refuse_unpermitted(topic, "DESCRIBE_CONFIGS")
        return {name: str(entry["value"]) for name, entry in entries.items()}

    def _refuse_unpermitted(self, topic: str, operation: str) -> None:
        """Make sure that this user may do something with a topic that exists.

        Raises:
            NotAuthorized: it may not.
        """
        action = f"read the settings of {topic}"
        for entry in self._ask(action, lambda: self._client.describe_topics([topic])):
            if entry["error_code"] == 0 and operation not in entry["authorized_operations"]:
                raise translate(kafka_errors.TopicAuthorizationFailedError(topic), action)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The next offset to be written, by partition. One request a broker, whatever is in the topic."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def led_end_offsets(self, topic: str) -> dict[int, int]:
        """Likewise, of the partitions that have a leader; asking for the others fails for all."""
        (entry,) = self._ask(f"describe the topic {topic}", lambda: self._client.describe_topics([topic]))
        led = [one["partition_index"] for one in entry["partitions"] if one["leader_id"] >= 0]
        return self._offsets(topic, OffsetSpec.LATEST, led)

    def start_offsets(self, topic: str) -> dict[int, int]:
        """The first offset still kept, by partition."""
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def committed(self, group: str, topic: str) -> dict[int, int | None]:
        """The next offset to be answered, by partition; `None` = the group has never committed there."""
        count = self._count(topic)

        def ask() -> dict[TopicPartition, OffsetAndMetadata]:
            try:
                return dict(self._client.list_group_offsets({group: None})[group])
            except kafka_errors.GroupIdNotFoundError:
                return {}

        offsets = self._ask(f"read the offsets of the group {group}", ask)
        found: dict[int, int | None] = dict.fromkeys(range(count))
        for place, entry in offsets.items():
            if place.topic == topic and entry.offset >= 0:
                found[place.partition] = entry.offset
        return found

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete all records of a topic below an offset, by partition. It cannot be undone.

        Args:
            topic: an existing topic.
            before: first offset to be kept, by partition; not beyond the partition's end.
        """
        places = {TopicPartition(topic, partition): offset for partition, offset in before.items()}
        if places:
            self._ask(f"delete records of {topic}", lambda: self._client.delete_records(places))

    def assignments(self, group: str) -> dict[str, frozenset[tuple[str, int]]]:
        """What each member of a group owns, as the coordinator says now.

        Returns:
            By instance id (the member id where a member has none): topics and partitions. Empty while a rebalance is
            under way, and for a group that does not exist.
        """
        described = self._ask(f"describe the group {group}", lambda: self._client.describe_groups([group]))[group]
        if described.get("error"):
            # The library raises nothing here, and would ask a broker that coordinates the group no more for ever.
            self._forget_brokers()
        if described.get("group_state") != "Stable":
            return {}
        return {
            member["group_instance_id"] or member["member_id"]: frozenset(
                (owned["topic"], partition)
                for owned in (member["member_assignment"] or {}).get("assigned_partitions", ())
                for partition in owned["partitions"]
            )
            for member in described["members"]
        }

    def under_replicated(self, topic: str) -> int:
        """How many partitions of a topic have a copy that is not in sync, or no leader."""
        (entry,) = self._ask(f"describe the topic {topic}", lambda: self._client.describe_topics([topic]))
        return sum(
            len(partition["isr_nodes"]) < len(partition["replica_nodes"]) or partition["leader_id"] < 0
            for partition in entry["partitions"]
        )

    def remove_static_members(self, group: str, instance_ids: Iterable[str]) -> frozenset[str]:
        """Make slots that will not come back leave the group now, instead of after their session time-out.

        Returns:
            The instance ids that were members and left.
        """
        asked = list(instance_ids)
        if not asked:
            return frozenset()
        action = f"remove {', '.join(asked)} from the group {group}"

        def remove(instance_id: str) -> Any:
            # One by one: a batch's answer is keyed by member ids, which the broker fills in as it likes.
            member = MemberToRemove(group_instance_id=instance_id, reason="scaled in")
            try:
                (error,) = self._client.remove_group_members(group, [member]).values()
            except (kafka_errors.UnknownMemberIdError, kafka_errors.GroupIdNotFoundError):
                return kafka_errors.UnknownMemberIdError
            return error

        left = set()
        for instance_id in asked:
            error = self._ask(action, functools.partial(remove, instance_id))
            if error is kafka_errors.NoError:
                left.add(instance_id)
            elif error is not kafka_errors.UnknownMemberIdError:
                raise translate(error(instance_id), action)
        return frozenset(left)

    def _ask(self, action: str, call: Callable[[], Answer]) -> Answer:
        """Make a call, again where it may succeed later, until `retry_s` is over."""
        give_up_at_s: float | None = None
        while True:
            try:
                with translated(action):
                    return call()
            except KafkaFailure as error:
                now = time.monotonic()
                give_up_at_s = give_up_at_s or now + self._retry_s
                if not error.retriable or now >= give_up_at_s:
                    raise
                self._forget_brokers()
                time.sleep(RETRY_PAUSE_S)

    def _forget_brokers(self) -> None:
        """The library remembers for ever which broker coordinates a group and which controls the cluster.

        And for `metadata_max_age_ms` which brokers there are: one that is back before that leads partitions that it
        does not ask.
        """
        self._client._manager.cluster._coordinators.clear()  # noqa: SLF001 - nothing public forgets it
        self._client._controller_id = None  # noqa: SLF001 - the same
        # Not waited for: the next try sees what came of it.
        self._client._manager.cluster.request_update()  # noqa: SLF001 - the same

    def _offsets(self, topic: str, spec: OffsetSpec, partitions: Iterable[int] | None = None) -> dict[int, int]:
        asked = range(self._count(topic)) if partitions is None else partitions
        places = {TopicPartition(topic, number): spec for number in asked}
        found = self._ask(f"read the offsets of {topic}", lambda: self._client.list_partition_offsets(places))
        return {place.partition: entry.offset for place, entry in found.items()}

    def _count(self, topic: str) -> int:
        now = time.monotonic()
        with self._lock:
            count, read_at = self._counts.get(topic, (0, float("-inf")))
        if now - read_at < self._known_for_s:
            return count
        fresh = self.partitions(topic)
        if fresh is None:
            msg = f"cannot read {topic}: it does not exist; create the pipeline's topics first, or check the name"
            raise TopicMissing(msg)
        with self._lock:
            self._counts[topic] = (fresh, now)
        return fresh
