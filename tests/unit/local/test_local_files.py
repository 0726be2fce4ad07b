"""Notes, locks, paths and a full disk."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DirectoryBusy, DirectoryUnusable, DiskFull
from penstock.local import state
from penstock.local.files import disk_errors, refuse_full_disk, tail, write_atomically
from penstock.local.lock import exclusive
from penstock.local.paths import Layout, cache_directory, make_private
from penstock.local.process import ProcessRef
from penstock.local.redis_node import RedisNode, new_password, password_in

NOTE = state.State("id", 1, 2, 3, ProcessRef(10, 1.5, "/m"), None)


def test_a_note_comes_back_as_it_was(tmp_path: Path) -> None:
    """What was written is what is read, and nobody else may read it."""
    path = tmp_path / "services.json"
    state.save(path, NOTE)
    assert state.load(path) == NOTE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    state.save(path, dataclasses.replace(NOTE, kafka=None))
    assert state.load(path) == dataclasses.replace(NOTE, kafka=None)
    assert list(tmp_path.iterdir()) == [path]
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert state.load(path) is None


@given(st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b'{"version": 1}', b'{"version": 9}', b"null"])))
def test_an_unreadable_note_is_no_note(content: bytes) -> None:
    """A note is a hint: damage makes it vanish, it never stops a start."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"penstock-note-{os.getpid()}"
    path.write_bytes(content)
    try:
        assert state.load(path) is None
    finally:
        path.unlink()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader never sees half a file, and no scratch file stays."""
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(DiskFull, match="--directory"), disk_errors("writing", tmp_path):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    """Only "no space left" and "quota exceeded" are translated."""
    with pytest.raises(FileNotFoundError), disk_errors("reading", tmp_path):
        (tmp_path / "missing").read_text()
    refuse_full_disk("Address already in use", tmp_path)
    with pytest.raises(DiskFull):
        refuse_full_disk("java.io.IOException: No space left on device", tmp_path)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    """Bytes that are no text do no harm, and neither does a missing file."""
    path = tmp_path / "log"
    path.write_bytes(b"\xff\n" + b"".join(b"line %d\n" % n for n in range(10_000)))
    assert tail(path, 2) == "line 9998\nline 9999"
    assert tail(tmp_path / "missing") == ""


def test_a_held_lock_makes_the_second_wait_and_then_say_so(tmp_path: Path) -> None:
    """Two starts in one folder do not mix; a holder that hangs is reported."""
    path = tmp_path / "lock"
    with exclusive(path, timeout_s=1, what="starting"):
        again = exclusive(path, timeout_s=0.1, what="starting")
        with pytest.raises(DirectoryBusy, match="starting"):
            again.__enter__()
    with exclusive(path, timeout_s=0.1, what="starting"):
        pass


def test_a_lock_ends_with_its_holder_even_by_sigkill(tmp_path: Path) -> None:
    """A killed `up` leaves nothing to remove by hand."""
    path = tmp_path / "lock"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom penstock.local.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), timeout_s=1, what='x'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    with exclusive(path, timeout_s=0.1, what="starting"):
        pass


@pytest.mark.parametrize("name", ["a,b", "a\nb", 'a"b'])
def test_a_folder_that_kafka_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    """Kafka would read a comma as two folders."""
    with pytest.raises(DirectoryUnusable, match="without commas"):
        Layout.of(tmp_path / name)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the path and the option."""
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryUnusable, match="--directory"):
        make_private(tmp_path / "file" / ".penstock")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/u/.cache/penstock"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/penstock"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/u/.cache/penstock"),
        ({"XDG_CACHE_HOME": "/x", "PENSTOCK_CACHE": "/own"}, "/own"),
    ],
)
def test_the_cache_lies_where_the_environment_says(environment: dict[str, str], expected: str) -> None:
    """Our own variable wins over the desktop's, and both over the default."""
    assert cache_directory(environment, Path("/home/u")) == Path(expected)


def test_the_password_is_readable_in_one_file_only(tmp_path: Path) -> None:
    """The server's files hold a digest; a representation of the node holds nothing."""
    node = RedisNode(tmp_path / "redis", 4000, new_password(), "/bin/false")
    node.configure()
    for path in node.directory.iterdir():
        assert node.password not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert node.password not in repr(node) + node.redacted_url
    (tmp_path / "redis-url").write_text(node.url + "\n")
    assert password_in(tmp_path / "redis-url") == node.password
    assert password_in(tmp_path / "missing") is None
