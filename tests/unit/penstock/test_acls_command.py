"""`penstock acls` without a broker: the table and the lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.acls import command
from streams.acls import Role, of_role

NAME = "a-pipeline-with-quite-a-long-name"


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A settings file."""
    path = tmp_path / "penstock.toml"
    path.write_text(f'[pipeline]\nname = "{NAME}"\nmodel = "m"\n[kafka]\nbootstrap_servers = "b:9093"\n')
    return str(path)


def test_bulk_is_as_the_settings_say(config: str) -> None:
    """Nothing of it in the table without `topics.bulk`."""
    arguments = ["--config", config, "--role", "worker", "--format", "kafka-acls"]
    assert ".bulk" not in CliRunner().invoke(command, arguments, standalone_mode=False).output
    path = Path(config)
    path.write_text(path.read_text() + "[topics]\nbulk = true\n")
    told = CliRunner().invoke(command, arguments, standalone_mode=False).output
    assert f"--operation Read --topic {NAME}.requests.bulk" in told
    assert f"--operation Read --group penstock.{NAME}.bulk" in told


@pytest.mark.parametrize("role", list(Role))
def test_the_table_has_each_permission_whole(config: str, role: Role) -> None:
    """No name is cut, however long."""
    done = CliRunner().invoke(command, ["--config", config, "--role", role.value], standalone_mode=False)
    assert done.exit_code == 0, done.output
    assert f"User:{role.value}" in done.output
    for grant in of_role(role, NAME):
        assert any(f" {grant.name} " in line and f" {grant.operation} " in line for line in done.output.splitlines()), (
            grant
        )


def test_the_lines_name_the_brokers_of_the_settings(config: str) -> None:
    """Ready to be run."""
    options = ["--config", config, "--role", "worker", "--principal", "User:w", "--format", "kafka-acls"]
    done = CliRunner().invoke(command, options, standalone_mode=False)
    lines = done.output.splitlines()
    assert len(lines) == len(of_role(Role.WORKER, NAME))
    assert all(
        line.startswith("kafka-acls.sh --bootstrap-server b:9093 --add --allow-principal User:w") for line in lines
    )


def test_a_principal_without_its_kind_is_refused(config: str) -> None:
    """Kafka would take it for another user."""
    done = CliRunner().invoke(command, ["--config", config, "--role", "worker", "--principal", "w"])
    assert done.exit_code == 2
    assert "User:w" in done.output
