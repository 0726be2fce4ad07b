"""`penstock replay` of a tape in a file: what it prints, what it refuses, what it exits with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from penstock.cli.main import run
from penstock.replay.tape_file import Heading, TapeWriter, read_heading, read_records

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[pipeline]
name = "p"
model = "models/p"
[policy]
scale_in_patience_s = 40
[[worker_types]]
name = "cpu"
device = "emulated"
price_per_hour = 0.5
min_workers = 1
max_workers = 8
boot_s = 4
curve = { a_s = 0.02, b_s = 0.02, max_batch = 8 }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The settings of the tape's pipeline."""
    path = tmp_path / "penstock.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(params=["tape.jsonl", "tape.jsonl.gz"])
def tape(request: pytest.FixtureRequest, tmp_path: Path, lived: Any) -> Path:
    """A minute of it in a file, plain and packed."""
    path: Path = tmp_path / request.param
    with TapeWriter(path, Heading("p", 12.5, 3)) as writer:
        for entry in lived.tape[:300]:
            writer.write(entry)
    return path


def test_a_file_holds_what_was_written(tape: Path, lived: Any) -> None:
    """Record by record, and how far it is read is told."""
    assert read_heading(tape) == Heading("p", 12.5, 3)
    found = list(read_records(tape))
    assert [entry for entry, _ in found] == lived.tape[:300]
    parts = [part for _, part in found]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_the_same_policy_says_the_same(tape: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words with exit code 0, as an object, and as a picture."""
    assert run(["replay", str(tape), "--config", str(config)]) == 0
    assert "the same decisions, word for word" in capsys.readouterr().out
    report = tape.parent / "report"
    assert run(["replay", str(tape), "--config", str(config), "--json", "--report", str(report)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["same"]
    assert said["decisions"] > 40
    assert json.loads((report / "replay.json").read_text()) == said
    assert (report / "replay.png").read_bytes().startswith(b"\x89PNG")


def test_other_settings_and_other_policies_differ(tape: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other settings of the same policy end with 3, another policy with 0; both show where."""
    config.write_text(CONFIG.replace("[policy]", "[policy]\ntarget_utilisation = 0.4"), encoding="utf-8")
    assert run(["replay", str(tape), "--config", str(config)]) == 3
    out = capsys.readouterr().out
    assert "came out otherwise" in out
    assert "Note: the settings are not those that were decided by" in out
    assert run(["replay", str(tape), "--config", str(config), "--policy", "static:workers=3"]) == 0
    out = capsys.readouterr().out
    assert "3 cpu" in out
    assert "another fleet than penstock" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "oracle"], "--policy oracle: policy 'oracle' is not known"),
        (["--policy", "keda:speed=3"], "keda has no parameter 'speed'"),
        (["--save", "x.jsonl"], "--bootstrap and --save are about the topic"),
        (["--bootstrap", "h:1"], "--bootstrap and --save are about the topic"),
        (["--since", "whenever"], "--since"),
    ],
)
def test_a_wrong_command_line_is_refused(
    tape: Path, config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """In one line, with exit code 2."""
    assert run(["replay", str(tape), "--config", str(config), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_wrong_file_is_refused(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is not there, none, another pipeline's, another version's, and one with a broken line."""

    def outcome(text: str | None) -> tuple[int, str]:
        path = tmp_path / "t.jsonl"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        return run(["replay", str(path), "--config", str(config)]), capsys.readouterr().err

    code, said = outcome(None)
    assert (code, "No such file" in said) == (2, True)
    code, said = outcome("hello\n")
    assert (code, "is no tape" in said) == (2, True)
    code, said = outcome('{"penstock_tape":1,"pipeline":"q","whole_from_s":0,"epoch":0}\n')
    assert (code, "is of the pipeline 'q'" in said) == (2, True)
    code, said = outcome('{"penstock_tape":9,"pipeline":"p","whole_from_s":0,"epoch":0}\n')
    assert (code, "version 9" in said) == (2, True)
    head = '{"penstock_tape":1,"pipeline":"p","whole_from_s":0,"epoch":0}\n'
    code, said = outcome(head + '{"offset":1,"timestamp_ms":1,"record":{"kind":"moon"}}\n')
    assert (code, "t.jsonl, line 2: no record" in said) == (2, True)
    code, said = outcome(head)
    assert (code, "holds no decision" in said) == (1, True)


def test_a_tape_that_fails_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    """Half a tape must not look like one."""
    with pytest.raises(KeyError), TapeWriter(tmp_path / "t.jsonl", Heading("p", 0.0)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
