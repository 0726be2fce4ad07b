"""Command lines of the Java runtime: small for tests and demos, as Kafka's own scripts for what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.local import services, starter
from penstock.local.java import Java
from penstock.local.services import LocalServices

if TYPE_CHECKING:
    from penstock.local.state import State


def test_a_lean_broker_compiles_little_and_a_usual_one_all() -> None:
    """The heap belongs to it."""
    lean, usual = Java("java", (Path("a.jar"),)), Java("java", (Path("a.jar"),), lean=False)
    assert "-XX:TieredStopAtLevel=1" in lean.command("kafka.Kafka")
    assert not any("Tiered" in flag or "Serial" in flag for flag in usual.command("kafka.Kafka"))
    assert (lean.heap[-1], usual.heap[-1]) == ("-Xmx256m", "-Xmx1g")
    for one in (lean, usual):
        assert one.command("kafka.Kafka", "server.properties", flags=("-Da=b",))[-5:] == [
            "-Da=b", "-cp", "a.jar", "kafka.Kafka", "server.properties",
        ]  # fmt: skip


@pytest.mark.parametrize("lean", [True, False])
def test_a_start_says_which_of_them(lean: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the services of a directory."""
    seen: list[Java] = []

    def run(self: starter.Starter) -> tuple[State, Any]:
        seen.append(self.java)
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "java_with_kafka", lambda _: Java("java", ()))
    monkeypatch.setattr(starter.Starter, "run", run)
    with pytest.raises(KeyboardInterrupt):
        LocalServices.start(tmp_path, lean=lean)
    assert [one.lean for one in seen] == [lean]
