"""Before a process begins: may its user do all that its role takes? Said by name at once, not at the first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.acls import Resource
from streams.errors import NotAuthorized, TopicMissing
from streams.kafka.permissions import survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from streams.acls import Grant, Role
    from streams.kafka import Admin, KafkaSettings


def check(
    admin: Admin, grants: Iterable[Grant], *, role: Role, settings: KafkaSettings, creates_topics: bool = False
) -> None:
    """See that a role may do its work; nothing is written or joined for it.

    Args:
        admin: a connection as the process's own user.
        grants: `streams.acls.of_role` for this very process.
        role: for the message.
        settings: what `admin` was made of, for the user's name in the message.
        creates_topics: whether the role makes topics that do not exist.

    Raises:
        TopicMissing: a topic does not exist, and the role does not create it.
        NotAuthorized: names each missing permission, what it is for, and the command that grants it.
        KafkaFailure: or another of its kinds: it could not be found out.
    """
    found = survey(admin, grants)
    if found.lacking:
        raise NotAuthorized(_refusal(found.lacking, role, settings))
    if found.absent and not creates_topics:
        msg = f"{', '.join(found.absent)}: no such topic; create the pipeline's topics first with `penstock topics`"
        raise TopicMissing(msg)


def _refusal(lacking: tuple[Grant, ...], role: Role, settings: KafkaSettings) -> str:
    principal = principal_of(settings.client)
    wants = "; ".join(f"{grant} (to {grant.why})" for grant in lacking)
    commands = "\n".join(f"  {grant.command(principal)}" for grant in lacking)
    msg = (
        f"the {role} may not do its work: {_user(principal)} lacks {wants}; "
        f"have an administrator grant it, or all of `penstock acls --role {role}`:\n{commands}"
    )
    if any(grant.resource is Resource.TRANSACTIONAL_ID for grant in lacking):
        msg += '\nwithout transactions a worker can run with worker.delivery = "at-least-once"'
    return msg


def principal_of(client: Mapping[str, Any]) -> str:
    """Kafka's name for the user that settings log in as; a placeholder where only the broker knows it."""
    name = client.get("sasl_plain_username")
    return f"User:{name}" if name else "User:NAME"


def _user(principal: str) -> str:
    return "the user of the client's certificate" if principal == "User:NAME" else principal
