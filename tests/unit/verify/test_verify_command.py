"""`penstock verify`: arguments, rows, tables; nothing here starts a service."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.main import run
from penstock.cli.verify import _NAMES, _given
from penstock.verify import toml
from penstock.verify.arena import Arena, Given
from penstock.verify.faults import FAULTS
from penstock.verify.ledger import VIOLATIONS, Verdict
from penstock.verify.report import HEADINGS, cells, clean, markdown, row
from penstock.verify.runner import Outcome, Plan
from penstock.verify.shifted_clock import set_offset
from streams.kafka import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

SURROUNDINGS = {"machine": "a machine", "versions": {"python": "3.11", "kafka": "4.3.1"}}
CLEAN = Verdict(100, 0, 100, *[()] * 7, 0, 1.25)


def outcome(*verdicts: Verdict, **changes: Any) -> Outcome:
    """Of `sigkill`, with what it measures."""
    facts = [{"recovery_s": 0.5 + number} for number in range(len(verdicts))]
    return Outcome("sigkill", list(verdicts), facts, 12.34, **changes)


def made(found: Outcome) -> dict[str, Any]:
    """Its row, through JSON and back."""
    parsed: dict[str, Any] = json.loads(json.dumps(row(found, Plan(runs=2, seed=7), SURROUNDINGS)))
    return parsed


def test_the_command_offers_the_faults_that_there_are() -> None:
    """Their names stand in the command for its `--help` to be quick."""
    assert tuple(FAULTS) == _NAMES


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "earthquake"], "'earthquake' is not one of"),
        (["--runs", "0"], "--runs"),
        (["--seconds", "1"], "--seconds"),
        (["--rate", "0"], "--rate"),
        (["--bootstrap", "nowhere"], "must be host:port"),
        (["--config", "not-there.toml"], "not-there.toml"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the name of what is wrong, before anything is started; a settings file that is not there is no option."""
    assert run(["verify", "delivery", *arguments]) == (64 if told == "not-there.toml" else 2)
    assert told in capsys.readouterr().err


def test_a_row_sums_up_its_runs() -> None:
    """Counts are sums; times are the worst and the middle."""
    other = Verdict(50, 1, 50, *[()] * 7, 2, 3.5)
    found = made(outcome(CLEAN, other))
    assert {name: found[name] for name in ("fault", "runs", "sent", "ok", "unsent", "sent_twice")} == {
        "fault": "sigkill",
        "runs": 2,
        "sent": 150,
        "ok": 150,
        "unsent": 1,
        "sent_twice": 2,
    }
    assert (found["unavailable_s"], found["unavailable_p50_s"]) == (3.5, 2.375)
    assert (found["recovery_s"], found["recovery_p50_s"]) == (1.5, 1.0)
    assert clean(found)


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_each_violation_makes_a_row_red(kind: str) -> None:
    """Its count is in the row, with an example."""
    values = {each.name: getattr(CLEAN, each.name) for each in fields(Verdict)}
    found = made(outcome(CLEAN, Verdict(**{**values, kind: ("verify-1-2-3",)})))
    assert found[kind] == 1
    assert found["examples"] == {kind: ["verify-1-2-3"]}
    assert not clean(found)


def test_a_dead_worker_or_an_early_end_makes_a_row_red() -> None:
    """Even where the ledger is clean."""
    assert not clean(made(outcome(CLEAN, deaths=["w ended unasked"])))
    assert not clean(made(outcome(CLEAN, error="run 2: not within 60 s")))


def test_what_is_not_run_says_so_and_is_not_red() -> None:
    """A broker fault on somebody's own cluster."""
    found = made(Outcome("broker-restart", not_run="it stops brokers"))
    assert clean(found)
    assert (found["runs"], found["sent"], found["unavailable_s"]) == (0, 0, None)
    assert cells(found)[-1] == "not run: it stops brokers"


def test_only_broker_faults_are_refused_on_a_users_cluster(tmp_path: Path) -> None:
    """All others do no harm to it."""
    arena = Arena(Given(kafka=KafkaSettings("broker:9092")), tmp_path)
    refused = {name for name, kind in FAULTS.items() if arena.refuses(kind)}
    assert refused == {"broker-restart", "broker-sigkill", "results-unavailable"}
    embedded = Arena(Given(), tmp_path)
    assert not any(embedded.refuses(kind) for kind in FAULTS.values())


def test_a_settings_file_brings_cluster_worker_and_copies(tmp_path: Path) -> None:
    """And `--bootstrap` wins over its address, not over its credentials."""
    path = tmp_path / "penstock.toml"
    path.write_text(
        '[pipeline]\nname = "p"\nmodel = "m"\n[kafka]\nbootstrap_servers = "a:1"\n'
        '[kafka.client]\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\n'
        "[worker]\nmax_batch = 7\n[topics]\nreplication_factor = 3\nmin_in_sync = 2\n"
    )
    found = _given("b:2", path)
    assert found.kafka is not None
    assert found.kafka.servers == ["b:2"]
    assert found.kafka.client == {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}
    assert (found.worker["max_batch"], found.replication_factor, found.min_in_sync) == (7, 3, 2)


def test_rows_become_a_markdown_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command, from the JSON of a run; every line has all its cells."""
    rows = [made(outcome(CLEAN, CLEAN)), made(Outcome("broker-restart", not_run="not | ours"))]
    path = tmp_path / "delivery.json"
    path.write_text(json.dumps(rows))
    assert run(["verify", "render", str(path)]) == 0
    said = capsys.readouterr().out
    assert said == markdown(rows)
    table = [line for line in said.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert {line.count("|") for line in table} == {len(HEADINGS) + 1}
    assert "| sigkill | 2 | 200 | 200 | 0 | 0 | 0 | 1.2 | 1.2 | recovery 1.0 s, worst 1.5 |" in table
    assert "a machine; python 3.11, kafka 4.3.1; 240 requests/s, seed 7; 12 s in all." in said


def test_another_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the file's name."""
    path = tmp_path / "other.json"
    path.write_text("[1]")
    assert run(["verify", "render", str(path)]) == 2
    assert "other.json" in capsys.readouterr().err


_SCALARS = st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(-(2**63), 2**63 - 1)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.recursive(
            _SCALARS | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\"'\n.", min_size=1), inner),
        ),
    )
)
def test_settings_written_as_toml_read_the_same(tree: dict[str, Any]) -> None:
    """Passwords with quotes, line breaks and controls among them."""
    assert tomllib.loads(toml.dumps(tree)) == tree


def test_a_process_with_a_shifted_clock_sees_it_everywhere(tmp_path: Path) -> None:
    """`time.time` and `time_ns` move together, for other modules too; the monotonic clock does not."""
    path = tmp_path / "clock"
    set_offset(path, 7200.0)
    script = """
import sys, time
from pathlib import Path
real, monotonic = time.time(), time.monotonic()
from penstock.verify import shifted_clock
shifted_clock.install(Path(sys.argv[1]))
import logging
seen = [time.time(), time.time_ns() / 1e9, logging.makeLogRecord({}).created]
assert all(7200 <= one - real < 7260 for one in seen), seen
shifted_clock.set_offset(Path(sys.argv[1]), -3600.0)
assert -3600 <= time.time() - real < -3540
assert time.monotonic() - monotonic < 60
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
