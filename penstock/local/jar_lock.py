"""The list of jars that make the broker, each pinned by its digest."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"([\w.-]+):([\w.-]+):([\w.-]+) sha256=([0-9a-f]{64}) ([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the class path.

    Attributes:
        group: Maven group, e.g. `org.apache.kafka`.
        artifact: Maven artifact, e.g. `kafka-clients`.
        version: exact version.
        sha256: lower-case hex digest of the file.
        size: bytes.
    """

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """The name in the cache; the group is in it, since artifacts of two groups may share a name."""
        return f"{self.group}.{self.artifact}-{self.version}.jar"

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is this jar, by size and digest."""
        try:
            if path.stat().st_size != self.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def parse(text: str) -> tuple[Jar, ...]:
    """Read `group:artifact:version sha256=... size` lines; `#` starts a comment line.

    Raises:
        ValueError: a line is of another form, or a jar is named twice.
    """
    jars: dict[str, Jar] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"jars.lock line {number}={line!r}: expected 'group:artifact:version sha256=<hex> <bytes>'"
            )
        group, artifact, version, sha256, size = match.groups()
        jar = Jar(group, artifact, version, sha256, int(size))
        if jars.setdefault(jar.filename, jar) is not jar:
            raise ValueError(f"jars.lock line {number}={line!r}: named twice; run scripts/make_jar_lock.py")
    return tuple(jars.values())


def pinned() -> tuple[Jar, ...]:
    """The jars that this version of Penstock runs."""
    return parse(resources.files("penstock.local").joinpath("jars.lock").read_text(encoding="ascii"))
