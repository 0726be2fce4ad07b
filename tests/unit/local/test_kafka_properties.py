"""The broker's settings as Kafka reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.local.kafka_properties import BrokerSpec, Voter, logging_properties, server_properties


def read(text: str) -> dict[str, str]:
    """Properties as Java reads them."""
    pairs = (line.split("=", 1) for line in text.splitlines())
    return {name: value.encode().decode("unicode_escape") for name, value in pairs}


def test_one_node_is_its_own_quorum_on_loopback() -> None:
    """Nothing listens beyond this machine, and nothing asks for more copies than there are nodes."""
    properties = read(server_properties(BrokerSpec(Path("/d"), 9001, 1, (Voter(1, 9002),))))
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9002"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9002"
    assert properties["offsets.topic.replication.factor"] == "1"
    assert properties["transaction.state.log.min.isr"] == "1"
    assert properties["auto.create.topics.enable"] == "false"


def test_three_nodes_keep_three_copies_and_survive_one_loss() -> None:
    """The same spec makes a node of a larger cluster."""
    voters = tuple(Voter(n, 9100 + n) for n in (1, 2, 3))
    properties = read(server_properties(BrokerSpec(Path("/d"), 9001, 2, voters)))
    assert properties["node.id"] == "2"
    assert properties["listeners"].endswith("CONTROLLER://127.0.0.1:9102")
    assert properties["controller.quorum.voters"].count("@") == 3
    assert properties["transaction.state.log.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"


def test_a_node_that_is_no_voter_is_refused() -> None:
    """A slip in the ids is said at once, not by a broker that hangs."""
    with pytest.raises(ValueError, match="node_id=4"):
        BrokerSpec(Path("/d"), 9001, 4, (Voter(1, 9002),))


@pytest.mark.parametrize("name", ["with space", "Zürich", "\U0001f600", "back\\slash", "a=b:c#d"])
def test_any_folder_name_survives_the_properties_form(name: str) -> None:
    """A folder's name may hold whatever a file system takes."""
    spec = BrokerSpec(Path("/") / name, 9001, 1, (Voter(1, 9002),))
    text = server_properties(spec)
    assert text.isascii()
    raw = read(text)["log.dirs"].encode("utf-16", "surrogatepass").decode("utf-16")
    assert raw == str(spec.data)


def test_the_broker_logs_to_a_bounded_file() -> None:
    """A long run cannot fill the disk with logs."""
    properties = read(logging_properties(BrokerSpec(Path("/d"), 9001, 1, (Voter(1, 9002),))))
    assert properties["appender.file.fileName"] == "/d/logs/server.log"
    assert properties["appender.file.strategy.max"] == "3"
