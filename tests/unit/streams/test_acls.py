"""Permissions as data, and as the lines that grant them."""

from __future__ import annotations

import shlex

import pytest

from streams.acls import Grant, Operation, Pattern, Resource, Role, kafka_acls, of_role
from streams.errors import InvalidPipelineName


def test_a_worker_may_take_answer_and_report_and_nothing_else() -> None:
    """Exactly once: its transactional ids begin with its pipeline's name."""
    assert [str(grant) for grant in of_role(Role.WORKER, "digits")] == [
        "Read on topic digits.requests",
        "Read on group penstock.digits",
        "Write on topic digits.results",
        "Write on topic digits.dead-letters",
        "Write on transactional-id digits-*",
        "Write on topic penstock.telemetry",
    ]


def test_one_worker_is_meant_by_its_slot() -> None:
    """Then its transactional id is a name and no prefix."""
    (grant,) = (
        grant
        for grant in of_role(Role.WORKER, "digits", slot="digits-cpu-0")
        if grant.resource is Resource.TRANSACTIONAL_ID
    )
    assert (grant.name, grant.pattern) == ("digits-cpu-0", Pattern.LITERAL)


def test_without_transactions_there_is_one_permission_less() -> None:
    """At least once."""
    lacking = set(of_role(Role.WORKER, "digits")) - set(of_role(Role.WORKER, "digits", exactly_once=False))
    assert {grant.resource for grant in lacking} == {Resource.TRANSACTIONAL_ID}


def test_an_autoscaler_that_only_advises_takes_nobody_out_of_the_group() -> None:
    """Describe instead of Read on the workers' group."""
    advising = of_role(Role.AUTOSCALER, "digits", manages_workers=False)
    assert "Describe on group penstock.digits" in [str(grant) for grant in advising]
    assert "Read on group penstock.digits" not in [str(grant) for grant in advising]


def test_reply_topics_and_groups_are_added() -> None:
    """A worker writes to them besides its own, a client reads them instead, alone or in a group."""
    worker = [str(grant) for grant in of_role(Role.WORKER, "digits", reply_topics=["mine"])]
    assert {"Write on topic digits.results", "Write on topic mine"} <= set(worker)
    client = [str(grant) for grant in of_role(Role.CLIENT, "digits", reply_topics=["mine"], groups=["readers"])]
    assert client == ["Write on topic digits.requests", "Read on topic mine", "Read on group readers"]


def test_a_topic_for_bulk_asks_for_more_of_those_who_use_it() -> None:
    """Clients send there, workers take in a group of their own, operators make it; the autoscaler does not look."""
    more = {
        role: {str(grant) for grant in set(of_role(role, "digits", bulk=True)) - set(of_role(role, "digits"))}
        for role in Role
    }
    assert more == {
        Role.CLIENT: {"Write on topic digits.requests.bulk"},
        Role.WORKER: {"Read on topic digits.requests.bulk", "Read on group penstock.digits.bulk"},
        Role.AUTOSCALER: set(),
        Role.OPERATOR: {
            "Create on topic digits.requests.bulk",
            "DescribeConfigs on topic digits.requests.bulk",
            "Describe on topic digits.requests.bulk",
            "Describe on group penstock.digits.bulk",
        },
    }


def test_no_role_may_change_the_cluster() -> None:
    """Nobody alters, and only an operator deletes, which is for dead letters alone."""
    for role in Role:
        for grant in of_role(role, "digits"):
            assert grant.operation in set(Operation)
            if grant.operation is Operation.DELETE:
                assert (role, grant.name) == (Role.OPERATOR, "digits.dead-letters")


def test_the_lines_for_kafkas_own_tool() -> None:
    """Quoted for a shell; a prefix says so."""
    grants = [
        Grant(Resource.TOPIC, "digits.results", Operation.WRITE, "w"),
        Grant(Resource.TRANSACTIONAL_ID, "digits-", Operation.WRITE, "w", Pattern.PREFIXED),
    ]
    first, second = kafka_acls(grants, "User:CN=a b", "host:9093").splitlines()
    assert shlex.split(first) == [
        *("kafka-acls.sh", "--bootstrap-server", "host:9093", "--add", "--allow-principal", "User:CN=a b"),
        *("--operation", "Write", "--topic", "digits.results"),
    ]
    assert second.endswith("--transactional-id digits- --resource-pattern-type prefixed")


def test_a_name_that_is_none_is_refused() -> None:
    """Before anything is granted for it."""
    with pytest.raises(InvalidPipelineName):
        of_role(Role.WORKER, "*")
