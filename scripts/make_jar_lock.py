#!/usr/bin/env python
"""Pin the broker's jars: resolve them with Maven once and write `penstock/local/jars.lock`.

Run it by hand when Kafka is to move; it needs `mvn` on the PATH. What users run never resolves anything: it fetches the
files named in the lock and refuses what differs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

KAFKA = "4.3.1"
#: The binding from SLF4J 1.7, which Kafka logs to, to Log4j 2; without it every broker log line vanishes.
LOG4J = "2.25.4"
LOCK = Path(__file__).resolve().parent.parent / "penstock" / "local" / "jars.lock"

#: Kafka's tools drag in Connect with a web server and JAXB (9 MB, 45 jars) for commands that we never run.
POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>penstock</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA}</version>
      <exclusions><exclusion>
        <groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId>
      </exclusion></exclusions></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version></dependency>
  </dependencies>
</project>
"""

HEADER = f"""\
# The jars of Apache Kafka {KAFKA} with its console tools: group:artifact:version sha256=... size, one a line.
# Written by scripts/make_jar_lock.py; do not edit by hand.
"""


def resolve(directory: Path) -> Path:
    """Let Maven copy the runtime class path into `directory` and return the folder, laid out as a repository."""
    (directory / "pom.xml").write_text(POM, encoding="utf-8")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"]
    subprocess.run(["mvn", "-q", "-B", *goal, "-DoutputDirectory=jars"], cwd=directory, check=True)  # noqa: S607
    return directory / "jars"


def lock_line(jar: Path, root: Path) -> str:
    """One line of the lock for a jar at `root/group/as/folders/artifact/version/artifact-version.jar`."""
    *group, artifact, version, _ = jar.relative_to(root).parts
    content = jar.read_bytes()
    return f"{'.'.join(group)}:{artifact}:{version} sha256={hashlib.sha256(content).hexdigest()} {len(content)}\n"


def main() -> None:
    """Resolve, digest, write."""
    with tempfile.TemporaryDirectory() as scratch:
        root = resolve(Path(scratch))
        lines = sorted(lock_line(jar, root) for jar in root.rglob("*.jar"))
    LOCK.write_text(HEADER + "".join(lines), encoding="ascii")
    sys.stdout.write(f"{LOCK.name}: {len(lines)} jars\n")


if __name__ == "__main__":
    main()
