"""The command line: every command loads and explains itself; errors are cause and cure with an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from penstock.cli.main import COMMANDS, cli, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    """`--help` of each command works without services."""
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_an_error_says_cause_and_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file that is not there: two lines on standard error, exit code 64."""
    assert run(["topics", "--config", str(tmp_path / "none.toml")]) == 64
    told = capsys.readouterr().err
    assert told.startswith("Error: the settings file")
    assert "\nDo: name a readable file with --config" in told


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["worker", "--slto", "a"], "--slto"),
        (["wroker"], "wroker"),
        (["--nonsense"], "--nonsense"),
        (["verify", "delivery", "--runs", "many"], "--runs"),
        (["verify", "delivery", "--fault", "sigkil"], "--fault"),
        (["bench", "data-plane", "--rows", "penstok"], "penstok"),
        (["bench", "data-plane", "--set", "max_batch=3"], "--set"),
        (["bench", "data-plane", "--profile"], "--report"),
        (["acls", "--role", "king"], "king"),
        (["topics", "too", "many"], "too many"),
        (["health", "worker"], "--slot"),
        (["dlq", "ls", "--since", "yesterday"], "--since"),
        (["model", "pin"], "VERSION"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which names what is wrong, on standard error."""
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: ")
    assert told.err.count("\n") == 1
    assert named in told.err


def test_the_light_client_stays_light() -> None:
    """Importing the client loads no TensorFlow, Faust, statsmodels or scipy, nor the command line's libraries."""
    heavy = "{'tensorflow','faust','statsmodels','scipy','pydantic','click'}"
    subprocess.run(
        [sys.executable, "-c", f"import streams.client, sys; assert not {heavy} & set(sys.modules)"], check=True
    )


def test_health_tells_a_fresh_sign_of_life_from_a_stale_one(tmp_path: Path) -> None:
    """Exit 0 within 15 seconds of the last sign, 1 after, 1 without any."""
    arguments = ["health", "worker", "--state", str(tmp_path), "--slot", "digits-cpu-0"]
    assert run(arguments) == 1
    path = tmp_path / "health" / "digits-cpu-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"state": "ready", "pid": 1}))
    assert run(arguments) == 0
    os.utime(path, (1, 1))
    assert run(arguments) == 1


def test_health_says_what_is_wrong_with_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that serves an older version than it should is alive, and says so."""
    path = tmp_path / "health" / "w0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"state": "ready", "pid": 1, "model": "version 3 is not served: it does not load"}))
    assert run(["health", "worker", "--state", str(tmp_path), "--slot", "w0"]) == 0
    assert capsys.readouterr().out.endswith("s ago; model: version 3 is not served: it does not load\n")


def test_an_autoscaler_whose_policy_lacks_a_parameter_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known before anything is asked of a broker: what is wrong, what there is, and exit code 64."""
    config = tmp_path / "penstock.toml"
    config.write_text('[pipeline]\nname = "p"\nmodel = "m"\n[autoscaler]\npolicy = "keda:lag=3"\n', encoding="utf-8")
    assert run(["autoscaler", "--config", str(config)]) == 64
    said = capsys.readouterr().err
    assert "autoscaler.policy='keda:lag=3': keda has no parameter 'lag'" in said
    assert "lag_threshold" in said
