"""The lock of the broker's jars."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from penstock.local.jar_lock import Jar, parse, pinned

if TYPE_CHECKING:
    from pathlib import Path

LINE = f"org.example:thing:1.0 sha256={'a' * 64} 12"


def test_the_shipped_lock_names_the_broker_and_its_console_tools() -> None:
    """What we ship can run a broker, its tools and its logging."""
    artifacts = {f"{jar.artifact}:{jar.version}" for jar in pinned()}
    assert {"kafka_2.13:4.3.1", "kafka-tools:4.3.1", "kafka-clients:4.3.1", "log4j-slf4j-impl:2.25.4"} <= artifacts


def test_a_line_is_read_field_by_field() -> None:
    """Comments and empty lines are skipped, the rest is read."""
    assert parse(f"# comment\n\n{LINE}\n") == (Jar("org.example", "thing", "1.0", "a" * 64, 12),)


@pytest.mark.parametrize(
    "line",
    [
        "org.example:thing:1.0",
        LINE.replace("sha256", "md5"),
        LINE.replace(" 12", " 0"),
        LINE.replace("a" * 64, "a" * 63),
        LINE.replace("thing", "../thing"),
        f"{LINE} x",
    ],
)
def test_a_line_of_another_form_is_refused_by_number(line: str) -> None:
    """A damaged lock never passes silently, and never names a path outside the cache."""
    with pytest.raises(ValueError, match="line 2"):
        parse(f"# comment\n{line}\n")


def test_a_jar_named_twice_is_refused() -> None:
    """Two digests for one jar cannot both be right."""
    with pytest.raises(ValueError, match="twice"):
        parse(f"{LINE}\n{LINE.replace('a' * 64, 'b' * 64)}\n")


def test_only_the_same_bytes_match(tmp_path: Path) -> None:
    """Missing, shorter and altered files are all told from the right one."""
    jar = Jar("g", "a", "1", hashlib.sha256(b"content").hexdigest(), 7)
    path = tmp_path / jar.filename
    assert not jar.matches(path)
    for content, good in ((b"conten", False), (b"cOntent", False), (b"content", True)):
        path.write_bytes(content)
        assert jar.matches(path) is good
