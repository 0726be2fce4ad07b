"""`penstock dlq` on a real broker: letters looked at, replayed exactly once through kills, deleted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli, run
from streams import topics
from streams.dead_letters import dead_letter
from streams.dead_letters_topic import DeadLetterTopic, ReplayOrder
from streams.errors import Fenced
from streams.kafka import Admin, new_producer, new_reader
from streams.kafka.ranges import RangeReader
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.kafka import KafkaSettings

pytestmark = pytest.mark.services

PARTITIONS = 4
#: `penstock ARGUMENTS`, ended by SIGKILL as soon as the sending of the given number has returned.
KILLS_ITSELF = """
import os, signal, sys
from penstock.cli.main import run
from streams.kafka.transactions import TransactionalProducer
left, send = int(sys.argv[1]), TransactionalProducer.send
def counted(self, *given, **named):
    global left
    send(self, *given, **named)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
TransactionalProducer.send = counted
sys.exit(run(sys.argv[2:]))
"""


@dataclass
class Request:
    """A request as a worker would have consumed it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


@dataclass
class Letters:
    """A pipeline whose topic of dead letters is filled by hand."""

    pipeline: str
    kafka: KafkaSettings
    config: Path
    producer: Any

    def write(self, number: int, *, reason: str = "model-failed", attempts: int = 1, **changes: Any) -> Request:
        """One dead letter, in the partition of its number."""
        request = Request(
            topics.requests(self.pipeline),
            number % PARTITIONS,
            number,
            b"key-%d" % (number % 7),
            b"\x00\xff value %d" % number,
            [("request-id", b"r%d" % number), ("twice", b"1"), ("twice", b"\xfe")],
            int(time.time() * 1000),
        )
        for name, value in changes.items():
            setattr(request, name, value)
        out = dead_letter(request, reason=reason, message=f"why {number}", stage="model", attempts=attempts)
        self.producer.send(
            out.topic,
            key=out.key,
            value=out.value,
            headers=out.headers,
            partition=out.partition,
            timestamp_ms=out.timestamp_ms,
        )
        return request

    def command(self, name: str, *arguments: str) -> Any:
        """Run `penstock dlq NAME` with `--json`; what it printed."""
        self.producer.flush()
        result = CliRunner().invoke(
            cli, ["dlq", name, "--config", str(self.config), *arguments, "--json"], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    def requests(self, topic: str | None = None) -> list[Any]:
        """What a read-committed reader sees of the requests now."""
        with RangeReader(self.kafka, topic or topics.requests(self.pipeline), client_id="test") as reader:
            return list(reader.read(reader.starts(), reader.ends()))

    def replayed(self) -> list[int]:
        """The numbers of the requests there, in order."""
        return sorted(int(dict(record.headers)["request-id"][1:]) for record in self.requests())


@pytest.fixture
def letters(pipeline: str, kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Letters]:
    """A pipeline of four partitions without any letters."""
    with Admin(kafka_settings, "test") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=PARTITIONS))
    config = tmp_path / "penstock.toml"
    config.write_text(
        f'[pipeline]\nname = "{pipeline}"\nmodel = "none"\n[kafka]\nbootstrap_servers = "{kafka_settings.servers[0]}"\n'
    )
    producer = new_producer(kafka_settings, "test")
    yield Letters(pipeline, kafka_settings, config, producer)
    producer.close()


def test_a_replay_killed_again_and_again_doubles_and_loses_nothing(letters: Letters) -> None:
    """SIGKILL in the middle, three times: a read-committed reader sees each request once, byte for byte, in order."""
    written = [letters.write(number) for number in range(3000)]
    letters.producer.flush()
    arguments = ["dlq", "replay", "--config", str(letters.config)]
    # Killed by itself after its first and its second sending, where there must be nothing left to be written.
    for sending in (1, 2):
        ended = subprocess.run([sys.executable, "-c", KILLS_ITSELF, str(sending), *arguments], check=False)
        assert ended.returncode == -signal.SIGKILL
    # Killed from outside, wherever it is.
    topic = topics.requests(letters.pipeline)
    with Admin(letters.kafka, "test") as admin:
        before = sum(admin.end_offsets(topic).values())
        process = subprocess.Popen([sys.executable, "-m", "penstock", *arguments])
        deadline = time.monotonic() + 60
        while sum(admin.end_offsets(topic).values()) < before + 300:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done_before = len(letters.requests())
    assert 0 < done_before < 3000, "the kills came in the middle"

    told = letters.command("replay")

    found = letters.requests()
    assert Counter(dict(record.headers)["request-id"] for record in found) == {b"r%d" % n: 1 for n in range(3000)}
    assert told["sent"] + told["already_replayed"] == 3000
    by_id = {dict(request.headers)["request-id"]: request for request in written}
    order: dict[int, list[int]] = {}
    for record in found:
        request = by_id[dict(record.headers)["request-id"]]
        assert (record.key, record.value, record.partition) == (request.key, request.value, request.partition)
        assert record.headers == [*request.headers, ("dlq-attempts", b"1")]
        order.setdefault(record.partition, []).append(request.offset)
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert letters.command("replay")["sent"] == 0


def test_filters_choose_and_never_double(letters: Letters) -> None:
    """A replay by one filter leaves out what another has replayed; a dry run changes nothing."""
    now = int(time.time() * 1000)
    letters.write(0)
    letters.write(1, reason="bad-data")
    letters.write(2, timestamp=now - 7200_000)
    letters.write(3, attempts=5)
    letters.write(4, attempts=3)
    assert letters.command("replay", "--dry-run")["planned"] == 4
    assert letters.replayed() == []

    source = f"{topics.requests(letters.pipeline)}/0/4-9"
    for arguments, sent, replayed in (
        (["--reason", "bad-data"], 1, [1]),
        (["--since", "3h", "--until", "1h"], 1, [1, 2]),
        (["--source", source], 1, [1, 2, 4]),
        (["--stage", "decode"], 0, [1, 2, 4]),
        (["--min-attempts", "6"], 0, [1, 2, 4]),
        (["--limit", "1"], 1, [0, 1, 2, 4]),
        ([], 0, [0, 1, 2, 4]),
        (["--max-attempts", "6"], 1, [0, 1, 2, 3, 4]),
    ):
        told = letters.command("replay", *arguments)
        assert (told["sent"], letters.replayed()) == (sent, replayed), arguments
    tries = {dict(r.headers)["request-id"]: dict(r.headers)["dlq-attempts"] for r in letters.requests()}
    assert (tries[b"r3"], tries[b"r4"], tries[b"r0"]) == (b"5", b"3", b"1")


def test_null_values_and_other_topics(letters: Letters) -> None:
    """A null value is null again; a topic of fewer partitions is written to by key; the letter's own stays to do."""
    letters.write(3, value=None)
    letters.write(7, key=None)
    other = f"{letters.pipeline}-other"
    with Admin(letters.kafka, "test") as admin:
        admin.create_topics(
            {other: topics.topic_specs(letters.pipeline, TopicSettings(partitions=1))["penstock.telemetry"]}
        )
    narrow = f"{letters.pipeline}-narrow"
    with Admin(letters.kafka, "test") as admin:
        admin.create_topics({narrow: topics.TopicSpec(1, 1)})
    for topic in (None, narrow):
        assert letters.command("replay", *([] if topic is None else ["--to", topic]))["sent"] == 2
        found = {dict(record.headers)["request-id"]: record for record in letters.requests(topic)}
        assert (found[b"r3"].key, found[b"r3"].value) == (b"key-3", None)
        assert (found[b"r7"].key, found[b"r7"].value) == (None, b"\x00\xff value 7")
        assert {record.partition for record in found.values()} == ({3} if topic is None else {0})
    result = CliRunner().invoke(cli, ["dlq", "replay", "--config", str(letters.config), "--to", "not-there"])
    assert "not-there: it does not exist" in str(result.exception)


def test_two_replays_at_once_double_nothing(letters: Letters) -> None:
    """The second ends what the first has open; the first stops and says why."""
    for number in range(400):
        letters.write(number)
    letters.producer.flush()
    began, outcome = threading.Event(), list[Any]()

    def first() -> None:
        with DeadLetterTopic(letters.kafka, letters.pipeline) as topic:
            try:
                outcome.append(topic.replay(ReplayOrder(rate_per_s=100), threading.Event(), lambda *_: began.set()))
            except Fenced as error:
                outcome.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(30)
    told = letters.command("replay")
    thread.join(30)
    assert isinstance(outcome[0], Fenced), outcome
    assert "another replay" in str(outcome[0])
    assert 0 < told["sent"] < 400
    assert letters.replayed() == list(range(400))


def test_a_rate_is_kept_and_a_stop_is_heard(letters: Letters) -> None:
    """100 letters at 100 a second take about a second; a stop ends it between two transactions."""
    for number in range(100):
        letters.write(number)
    letters.producer.flush()
    stop = threading.Event()
    began = time.monotonic()
    with DeadLetterTopic(letters.kafka, letters.pipeline) as topic:
        outcome = topic.replay(ReplayOrder(rate_per_s=100), stop, lambda sent, _of: stop.set() if sent >= 50 else None)
    assert (outcome.sent, outcome.stopped) == (50, True)
    assert time.monotonic() - began >= 0.25
    assert len(letters.replayed()) == 50
    assert letters.command("replay")["sent"] == 50


def test_letters_are_listed_and_shown(letters: Letters) -> None:
    """Counts by reason, the newest with their places, one of them whole; no control character reaches a terminal."""
    body = json.dumps({"id": "a", "inputs": [{"data": [1, 2]}]}).encode()
    letters.write(0, value=body, key=b"\x1b[31mred")
    letters.write(1, reason="bad-data", value=None)
    letters.write(2)
    told = letters.command("ls")
    assert told["by_reason"] == {
        "model-failed": {"letters": 2, "replayed": 0},
        "bad-data": {"letters": 1, "replayed": 0},
    }
    place = {row["source"].split("/")[-1]: row["place"].split("/", 1)[1] for row in told["letters"]}
    assert [row["message"] for row in told["letters"]] == ["why 0", "why 1", "why 2"]
    assert [row["source"] for row in letters.command("ls", "--limit", "1")["letters"]] == [
        f"{topics.requests(letters.pipeline)}/2/2"
    ]
    config = ["--config", str(letters.config)]
    table = CliRunner().invoke(cli, ["dlq", "ls", *config]).output
    assert re.search(r"model-failed +2 +0", table)
    assert "why 2" in table
    assert "value 2" not in table

    letters.command("replay", "--reason", "bad-data")
    assert letters.command("ls")["by_reason"]["bad-data"] == {"letters": 1, "replayed": 1}

    output = CliRunner().invoke(cli, ["dlq", "show", *config, f"{topics.requests(letters.pipeline)}/0/0"]).output
    assert '"data": [' in output
    assert "\\x1b[31mred" in output
    assert "\x1b" not in output
    output = CliRunner().invoke(cli, ["dlq", "show", *config, place["2"]]).output
    assert "00 ff 20 76 61 6c 75 65 20 32" in output
    assert "dlq-source" in output
    (whole,) = letters.command("show", place["2"])
    assert whole["headers"][:3] == [["request-id", "r2"], ["twice", "1"], ["twice", {"base64": "/g=="}]]
    assert whole["value"] == {"base64": "AP8gdmFsdWUgMg=="}
    (null,) = letters.command("show", place["1"])
    assert null["value"] is None
    file = letters.config.parent / "value"
    letters.command("show", place["2"], "--value-to", str(file))
    assert file.read_bytes() == b"\x00\xff value 2"
    assert run(["dlq", "show", *config, "3/999"]) == 1
    assert run(["dlq", "show", *config, "nonsense"]) == 2
    assert run(["dlq", "ls", *config, "--since", "yesterday"]) == 2


def test_a_purge_deletes_whole_beginnings_only(letters: Letters) -> None:
    """It says what stays behind, asks, and deletes nothing without a yes."""
    old = int(time.time() * 1000) - 3600_000
    for number, timestamp in ((0, old), (4, old), (8, None), (12, old), (1, old)):
        letters.write(number, **({} if timestamp is None else {"timestamp": timestamp}))
    letters.command("replay", "--source", f"{topics.requests(letters.pipeline)}/0/0-4")
    config = ["--config", str(letters.config)]

    refused = CliRunner().invoke(cli, ["dlq", "purge", *config, "--before", "30m"], input="n\n")
    assert refused.exit_code == 1
    assert "3 letters go, 1 of them never replayed" in refused.output
    assert "1 more that you mean stay" in refused.output
    assert letters.command("ls")["matched"] == 5

    assert letters.command("purge", "--replayed", "--dry-run")["deleted"] is False
    (cut,) = letters.command("purge", "--replayed", "--yes")["partitions"]
    assert (cut["partition"], cut["letters"], cut["never_replayed"]) == (0, 2, 0)
    assert [row["source"].split("/")[-1] for row in letters.command("ls")["letters"]] == ["12", "1", "8"]
    assert letters.command("purge", "--through", "1/0", "--yes")["partitions"][0]["letters"] == 1
    assert letters.command("ls")["matched"] == 2
    assert letters.command("replay")["sent"] == 2
    assert letters.command("purge", "--all", "--yes")["deleted"] is True
    assert letters.command("ls")["seen"] == 0
    assert run(["dlq", "purge", *config, "--all", "--replayed"]) == 2
    assert run(["dlq", "purge", *config]) == 2
    assert run(["dlq", "purge", *config, "--all", "--json"]) == 2


def test_a_missing_topic_is_said(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    """Two lines, and an exit code for a supervisor."""
    config = tmp_path / "penstock.toml"
    config.write_text(
        f'[pipeline]\nname = "no-such"\nmodel = "none"\n[kafka]\nbootstrap_servers = "{kafka_settings.servers[0]}"\n'
    )
    assert run(["dlq", "ls", "--config", str(config)]) == 69


def test_a_replay_never_reads_past_an_open_transaction(letters: Letters) -> None:
    """Letters of a worker that has not committed are not there yet."""
    letters.write(0)
    letters.producer.flush()
    open_ = new_producer(
        letters.kafka, "open", transactional_id=f"{letters.pipeline}-open", transaction_timeout_ms=60_000
    )
    open_.init_transactions()
    open_.begin_transaction()
    try:
        open_.send(topics.dead_letters(letters.pipeline), value=b"x", headers=[("dlq-reason", b"x")], partition=0).get(
            10
        )
        assert letters.command("replay")["sent"] == 1
        assert letters.command("ls")["seen"] == 1
    finally:
        open_.abort_transaction()
        open_.close()
    reader = new_reader(letters.kafka, [topics.dead_letters(letters.pipeline)], from_="earliest")
    reader.close()
