"""Permissions and passwords in the cluster, for who may change them: the administrator of an embedded or small one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import kafka.errors as kafka_errors
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from streams.errors import AuthenticationFailed
from streams.kafka.translate import connect, translate, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.acls import Grant
    from streams.kafka.settings import KafkaSettings

_MECHANISM = "SCRAM-SHA-512"
#: OWASP's advice for PBKDF2 with SHA-512 is higher, but Kafka's upper bound is 16,384 and its default 4,096.
_ITERATIONS = 8192
#: Seconds between two log-ins that are tried.
_LOOK_S = 0.05


class GrantsAdmin:
    """One connection for permissions and passwords.

    Args:
        settings: where to connect, and as whom.
        client_id: shown in the broker's logs.

    Raises:
        NotAuthorized: the user may not change permissions.
        KafkaFailure: or another of its kinds, here and in each method.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._client: Any = connect(KafkaAdminClient, settings, "connect for administration", {}, client_id=client_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._client.close()

    def grant(self, grants: Iterable[Grant], principal: str) -> None:
        """Permit; what is permitted already stays so."""
        action = f"grant permissions to {principal}"
        with translated(action):
            answer = self._client.create_acls([_acl(grant, principal) for grant in grants])
        for error in answer["failed"]:
            raise translate(error(), action)

    def revoke(self, grants: Iterable[Grant], principal: str) -> int:
        """Permit no longer.

        Returns:
            How many permissions there were to take away.
        """
        action = f"revoke permissions of {principal}"
        with translated(action):
            answer = self._client.delete_acls([_acl(grant, principal) for grant in grants])
        for _, _, error in answer:
            if error is not kafka_errors.NoError:
                raise translate(error(), action)
        return sum(len(matching) for _, matching, _ in answer)

    def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Have users log in by SCRAM-SHA-512 with these passwords from now on.

        Args:
            passwords: by user. Only salted hashes of them go over the wire.
        """
        asked = [
            UserScramCredentialUpsertion(user, _MECHANISM, password, iterations=_ITERATIONS)
            for user, password in passwords.items()
        ]
        with translated("set passwords"):
            answer = self._client.alter_user_scram_credentials(asked)
        for user, error in answer.items():
            if error is not None:
                raise translate(kafka_errors.KafkaError(error), f"set the password of {user}")


def wait_for_user(settings: KafkaSettings, timeout_s: float = 10.0) -> None:
    """Wait until a user whose password was just set can log in: brokers learn of it a moment after it is kept.

    Args:
        settings: where to connect, as that user.
        timeout_s: seconds for all of it.

    Raises:
        AuthenticationFailed: the time is up.
        KafkaFailure: or another of its kinds.
    """
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        try:
            GrantsAdmin(settings, "penstock-login").close()
        except AuthenticationFailed:
            if time.monotonic() > give_up_at_s:
                raise
            time.sleep(_LOOK_S)
        else:
            return


def _acl(grant: Grant, principal: str) -> ACL:
    pattern = ResourcePattern(ResourceType[grant.resource.name], grant.name, ACLResourcePatternType[grant.pattern.name])
    return ACL(principal, "*", ACLOperation[grant.operation.name], ACLPermissionType.ALLOW, pattern)
