"""Asking a cluster what the connected user may do, without doing any of it.

Topics: their description carries the permitted operations (KIP-430). Groups and transactional ids: requests that the
broker authorises first and then refuses for another reason, because they name no member and no producer that exists.
So nothing is written, joined, fenced or begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka.protocol.consumer import HeartbeatRequest
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.protocol.producer import AddOffsetsToTxnRequest

from streams.acls import Operation, Resource
from streams.kafka.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.acls import Grant
    from streams.kafka.admin import Admin

#: No producer has it.
_NO_PRODUCER = -1
#: Coordinators of groups.
_GROUP_KEYS = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out."""

    #: Permissions that the connected user lacks.
    lacking: tuple[Grant, ...]
    #: Topics that do not exist, as far as this user may see them.
    absent: tuple[str, ...]


def survey(admin: Admin, grants: Iterable[Grant]) -> Survey:
    """Look which of some permissions the connected user lacks. Of topics that do not exist nothing more is said.

    Args:
        admin: the connection, and by it the user.
        grants: literal ones; a prefixed one is asked for its prefix as if it were a name.

    Raises:
        KafkaFailure: or one of its kinds: it could not be found out.
    """
    asked = tuple(grants)
    with translated("find out what this user may do"):
        operations = _of_topics(admin, {grant.name for grant in asked if grant.resource is Resource.TOPIC})
        lacking = tuple(grant for grant in asked if not _permitted(admin, grant, operations))
    return Survey(lacking, tuple(sorted(name for name, found in operations.items() if found is None)))


def _permitted(admin: Admin, grant: Grant, topics: dict[str, frozenset[str] | None]) -> bool:
    client: Any = admin._client  # noqa: SLF001 - one package
    if grant.resource is Resource.TOPIC:
        operations = topics[grant.name]
        return operations is None or grant.operation.name in operations
    if grant.resource is Resource.TRANSACTIONAL_ID:
        request = AddOffsetsToTxnRequest(
            transactional_id=grant.name, producer_id=_NO_PRODUCER, producer_epoch=_NO_PRODUCER, group_id="penstock"
        )
        # The group is looked at after the transactional id, so its refusal says that the id is permitted.
        return _error(client, request) is not kafka_errors.TransactionalIdAuthorizationFailedError
    if grant.operation is Operation.DESCRIBE:
        finder = FindCoordinatorRequest(
            key=grant.name, key_type=_GROUP_KEYS, coordinator_keys=[grant.name], max_version=3
        )
        return _error(client, finder) is not kafka_errors.GroupAuthorizationFailedError
    beat = HeartbeatRequest(group_id=grant.name, generation_id=-1, member_id="", group_instance_id=None)
    return _error(client, beat) is not kafka_errors.GroupAuthorizationFailedError


def _error(client: Any, request: Any) -> Any:
    """The kind of error that a request is answered with."""
    manager = client._manager  # noqa: SLF001 - the library has no public call for these requests
    return kafka_errors.for_code(manager.run(manager.send, request).error_code)


def _of_topics(admin: Admin, names: set[str]) -> dict[str, frozenset[str] | None]:
    """What may be done with each topic; `None` = it does not exist."""
    if not names:
        return {}
    found: dict[str, frozenset[str] | None] = dict.fromkeys(names)
    for entry in admin._client.describe_topics(sorted(names)):  # noqa: SLF001 - one package
        if entry["error_code"] == kafka_errors.TopicAuthorizationFailedError.errno:
            found[entry["name"]] = frozenset()
        elif entry["error_code"] != kafka_errors.UnknownTopicOrPartitionError.errno:
            found[entry["name"]] = frozenset(entry["authorized_operations"])
    return found
