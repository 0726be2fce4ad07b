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
        (["plan", "a.csv", "--share", "nan"], "--share"),
        (["plan", "a.csv", "--objective-ms", "inf"], "--objective-ms"),
        (["analyse", "a.csv", "--bin", "nan"], "--bin"),
        (["simulate", "--length", "inf"], "--length"),
        (["loadtest", "--from", "nan"], "--from"),
        (["dlq", "replay", "--rate", "nan"], "--rate"),
        (["analyse", "a.csv", "--report", "/dev/null/x", "--bin", "-inf"], "--bin"),
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


def test_a_place_that_cannot_be_written_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the path; nothing is written beside it, and nothing printed."""
    trace = tmp_path / "load.csv"
    trace.write_text("t_seconds,requests\n" + "".join(f"{i},5\n" for i in range(600)), encoding="utf-8")
    out = tmp_path / "plan.json"
    for arguments in (["analyse"], ["plan", "--type", "cpu=40:10:8,price=1", "--out", str(out)]):
        assert run([*arguments, str(trace), "--report", str(trace / "x")]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == f"Error: {trace / 'x'}: Not a directory; name a place that can be read and written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["load.csv"]


def test_a_full_disk_behind_standard_output_is_one_line_and_2(tmp_path: Path) -> None:
    """Also where it shows only when what was held back is written."""
    trace = tmp_path / "load.csv"
    trace.write_text("t_seconds,requests\n0,5\n1,6\n2,7\n", encoding="utf-8")
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "analyse", str(trace), "--json"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "Error: No space left on device; make room where the output goes\n"
