"""Which versions of a model lie in its directory, and which of them are whole.

TensorFlow Serving's layout: `models/<name>/<number>/saved_model.pb`. A version may still be on its way, copied by
somebody file by file; none is taken before it is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from inference_workers.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: An exporter that writes this file last says by it that the version is whole.
MARKER = ".complete"
#: Seconds without a change after which a version without marker counts as copied: copies pause for less between files.
SETTLE_S = 2.0
#: Versions up to so many bytes are digested whole (about 1 s a GiB); of larger ones each file's ends and size.
DIGEST_WHOLE_BYTES = 256 * 1024 * 1024
_DIGEST_END_BYTES = 1024 * 1024

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """One version's folder as it was seen."""

    number: int
    path: Path
    #: Relative name, bytes and change time (ns) of each file: equal as long as nobody touches one.
    files: tuple[tuple[str, int, int], ...]
    #: Why it cannot be taken; `None` = whole.
    lacks: str | None
    #: The exporter's marker is there.
    marked: bool
    #: All its parts are there, and may be growing still.
    settling: bool
    #: Unix seconds of the last change of a file or folder in it.
    changed_at_s: float

    @property
    def name(self) -> str:
        """As requests, results and logs name it."""
        return str(self.number)

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return sum(size for _, size, _ in self.files)


class Directory:
    """A model's directory, looked at again and again.

    Args:
        path: `models/<name>`.
        settle_s: seconds without a change after which a copy counts as ended.
        wall_s: Unix time.
        clock_s: monotonic seconds.

    """

    def __init__(
        self,
        path: Path,
        *,
        settle_s: float = SETTLE_S,
        wall_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._settle_s, self._wall_s, self._clock_s = settle_s, wall_s, clock_s
        #: Number -> its files and since when they have been so, by our clock.
        self._seen: dict[int, tuple[tuple[tuple[str, int, int], ...], float]] = {}

    def versions(self) -> tuple[Version, ...]:
        """All version folders, the highest number first, each with what it lacks."""
        now_s, found, seen = self._clock_s(), [], {}
        for version in _scan(self.path):
            files, since_s = self._seen.get(version.number, (None, now_s))
            if files != version.files:
                since_s = now_s
            seen[version.number] = (version.files, since_s)
            # By the file system's clock, so that a version which has long been there is taken at the first look; by
            # ours where that clock is ahead, as on a network file system it may be.
            quiet_s = max(self._wall_s() - version.changed_at_s, now_s - since_s)
            if version.lacks is None and not version.marked and quiet_s < self._settle_s:
                lacks = f"changed less than {self._settle_s:g} s ago, and has no {MARKER}"
                found.append(replace(version, lacks=lacks, settling=True))
            else:
                found.append(version)
        self._seen = seen
        return tuple(found)


def newest_version(model_dir: Path, *, wait: Callable[[float], None] = time.sleep) -> Version:
    """The highest-numbered whole version; one that is being copied is waited for only where there is no other.

    Raises:
        ModelNotFound: there is none.

    """
    directory = Directory(model_dir)
    while True:
        versions = directory.versions()
        if whole := next((version for version in versions if version.lacks is None), None):
            return whole
        if not any(version.settling for version in versions):
            raise ModelNotFound(_nothing(model_dir, versions))
        wait(SETTLE_S / 4)


def digest(version: Version) -> str:
    """SHA-256 over the names and the bytes of a version's files, in hexadecimal.

    Of a version above `DIGEST_WHOLE_BYTES` only the ends and sizes of its files are read, and the digest begins with
    `ends-`: loading a large model must not wait for a second reading of it.

    Raises:
        OSError: a file cannot be read.

    """
    whole = version.bytes <= DIGEST_WHOLE_BYTES
    total = hashlib.sha256()
    for name, size, _ in version.files:
        if name == MARKER:
            continue
        total.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with (version.path / name).open("rb") as file:
            if whole or size <= 2 * _DIGEST_END_BYTES:
                total.update(hashlib.file_digest(file, "sha256").digest())
            else:
                total.update(file.read(_DIGEST_END_BYTES))
                file.seek(-_DIGEST_END_BYTES, os.SEEK_END)
                total.update(file.read(_DIGEST_END_BYTES))
    return total.hexdigest() if whole else f"ends-{total.hexdigest()}"


def parse_number(name: str) -> int | None:
    """The number of a version folder of that name; `None` = it is none. `007` is none: it would be another 7."""
    return int(name) if _NUMBER.fullmatch(name) else None


def _scan(model_dir: Path) -> list[Version]:
    try:
        names = [path.name for path in model_dir.iterdir()]
    except OSError:
        return []
    found = []
    for name in names:
        number = parse_number(name)
        if number is not None and (version := look(number, model_dir / name)) is not None:
            found.append(version)
    return sorted(found, key=lambda version: version.number, reverse=True)


def look(number: int, path: Path) -> Version | None:
    """A version as it is now; `None` = no folder, or it goes away under our eyes."""
    if not path.is_dir():
        return None
    try:
        files = sorted(_files(path, ""))
        # A change time cannot be set by hand, as the time of modification is by `cp -p` and `rsync -t`.
        changed_ns = max([path.stat().st_ctime_ns, *(changed for _, _, changed in files)])
    except OSError:
        return None
    plain = tuple((name, size, changed) for name, size, changed in files if not name.endswith("/"))
    marked = any(name == MARKER for name, _, _ in plain)
    lacks = None if marked else _lacks(path, plain)
    return Version(number, path, plain, lacks, marked, settling=False, changed_at_s=changed_ns / 1e9)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Name, bytes and change time of all below a folder; names of folders end with a slash."""
    with os.scandir(folder) as entries:
        for entry in entries:
            told = entry.stat()
            if entry.is_dir():
                yield f"{prefix}{entry.name}/", 0, told.st_ctime_ns
                yield from _files(folder / entry.name, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", told.st_size, told.st_ctime_ns


def _lacks(path: Path, files: tuple[tuple[str, int, int], ...]) -> str | None:
    names = {name for name, _, _ in files}
    if "saved_model.pb" not in names:
        return "has no saved_model.pb"
    if not is_whole_message(path / "saved_model.pb"):
        return "its saved_model.pb is cut off"
    variables = {name.removeprefix("variables/") for name in names if name.startswith("variables/")}
    if not variables:
        # A model without variables may have none; that nothing changes any more decides.
        return None
    if "variables.index" not in variables:
        return "has no variables/variables.index"
    shards = [match for name in variables if (match := _SHARD.fullmatch(name))]
    wanted = int(shards[0][2]) if shards else 1
    if len(shards) < wanted:
        return f"has {len(shards)} of {wanted} variables.data files"
    return None


def is_whole_message(path: Path) -> bool:
    """Whether a file is a protocol buffer message that ends where its last field ends.

    Only the outermost fields' tags and lengths are read: the cost does not grow with the model. Source: Protocol
    Buffers, "Encoding".
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0
            while at < size:
                file.seek(at)
                head = file.read(20)
                tag, used = _varint(head, 0)
                kind = tag & 7
                if kind == _VARINT:
                    _, used = _varint(head, used)
                    at += used
                elif kind == _LENGTH_DELIMITED:
                    length, used = _varint(head, used)
                    at += used + length
                else:
                    return False
            return at == size and size > 0
    except (OSError, ValueError):
        return False


_VARINT, _LENGTH_DELIMITED = 0, 2
_LONGEST_VARINT = 10


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(data):
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, at + index + 1
    msg = "a number that does not end"
    raise ValueError(msg)


def _nothing(model_dir: Path, versions: tuple[Version, ...]) -> str:
    seen = "; ".join(f"{version.name} {version.lacks}" for version in versions[:5])
    return (
        f"pipeline.model={str(model_dir)!r}: holds no whole version{f' ({seen})' if seen else ''}; expected "
        f"{model_dir}/<number>/saved_model.pb, as `model.export(...)` of Keras 3 or `tf.saved_model.save` writes it, "
        "or `penstock model import`"
    )
