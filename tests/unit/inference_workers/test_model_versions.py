"""Versions on disk: which there are, which are whole, and what ought to be served."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_workers import model_versions, serving_control
from inference_workers.errors import ModelNotFound
from inference_workers.model_versions import Directory, digest, is_whole_message, newest_version
from inference_workers.serving_choice import Failed, choose
from inference_workers.serving_control import BadControl, Control, Shadow

if TYPE_CHECKING:
    from pathlib import Path

#: A message of two fields: number 1 = 5, and field 2 of three bytes.
_MESSAGE = b"\x08\x05\x12\x03abc"
_LATER = 1000.0


def _version(root: Path, name: str, *, shards: int = 1, of: int = 1) -> Path:
    variables = root / name / "variables"
    variables.mkdir(parents=True)
    (root / name / "saved_model.pb").write_bytes(_MESSAGE)
    (variables / "variables.index").write_bytes(b"index")
    for shard in range(shards):
        (variables / f"variables.data-{shard:05}-of-{of:05}").write_bytes(b"data")
    return root / name


class _Clocks:
    """Wall and monotonic time, moved by hand."""

    def __init__(self) -> None:
        self.wall_s, self.clock_s = 0.0, 0.0

    def directory(self, path: Path) -> Directory:
        return Directory(path, settle_s=2.0, wall_s=lambda: self.wall_s, clock_s=lambda: self.clock_s)


def test_numbers_decide_not_names(tmp_path: Path) -> None:
    """10 is newer than 9; what is no number, or a number with zeros before it, is no version."""
    for name in ("9", "10", "007", "ten", "1.5"):
        _version(tmp_path, name)
    (tmp_path / "11").write_text("a file")
    clocks = _Clocks()
    clocks.wall_s = 4e9
    assert [version.name for version in clocks.directory(tmp_path).versions()] == ["10", "9"]


def test_nothing_to_serve_says_what_there_is(tmp_path: Path) -> None:
    """Directory, what each version lacks, and where one comes from."""
    with pytest.raises(ModelNotFound, match="holds no whole version; expected"):
        newest_version(tmp_path)
    (tmp_path / "3").mkdir()
    with pytest.raises(ModelNotFound, match=r"3 has no saved_model\.pb"):
        newest_version(tmp_path)


def test_a_version_lacks_what_has_not_arrived_yet(tmp_path: Path) -> None:
    """Copied file by file it is whole only with the last one, and only when nothing has changed for the time stated."""
    source, target = _version(tmp_path, "1", shards=2, of=2), tmp_path / "models" / "1"
    clocks = _Clocks()
    clocks.wall_s = 0.0  # the file system's clock is ahead of ours: only what we see ourselves counts
    directory = clocks.directory(tmp_path / "models")
    (target / "variables").mkdir(parents=True)
    seen = []
    for name in (
        "variables/variables.data-00000-of-00002",
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00001-of-00002",
    ):
        shutil.copy(source / name, target / name)
        clocks.clock_s += _LATER
        directory.versions()
        clocks.clock_s += _LATER
        seen.append(directory.versions()[0].lacks)
    assert seen == [
        "has no saved_model.pb",
        "has no variables/variables.index",
        "has 1 of 2 variables.data files",
        None,
    ]


def test_a_file_that_still_grows_is_waited_for(tmp_path: Path) -> None:
    """A change starts the time of quiet anew."""
    data = _version(tmp_path, "1") / "variables" / "variables.data-00000-of-00001"
    clocks = _Clocks()
    directory = clocks.directory(tmp_path)
    for _ in range(3):
        clocks.clock_s += 1.9
        with data.open("ab") as file:
            file.write(b"more")
        assert directory.versions()[0].settling
    clocks.clock_s += 1.9
    assert directory.versions()[0].settling
    clocks.clock_s += 0.2
    assert directory.versions()[0].lacks is None


def test_a_version_that_has_long_been_there_is_taken_at_the_first_look(tmp_path: Path) -> None:
    """By the file system's clock."""
    changed_s = _version(tmp_path, "1").stat().st_ctime
    clocks = _Clocks()
    clocks.wall_s = changed_s + 1.0
    assert clocks.directory(tmp_path).versions()[0].settling
    clocks.wall_s = changed_s + 10.0
    assert clocks.directory(tmp_path).versions()[0].lacks is None


def test_a_date_set_by_hand_does_not_make_a_copy_old(tmp_path: Path) -> None:
    """`cp -p` gives files the time of modification of their source."""
    version = _version(tmp_path, "1")
    for path in [version, *version.rglob("*")]:
        os.utime(path, (1, 1))
    clocks = _Clocks()
    clocks.wall_s = version.stat().st_ctime + 1.0
    assert clocks.directory(tmp_path).versions()[0].settling


def test_the_exporters_marker_decides_at_once(tmp_path: Path) -> None:
    """No time of quiet is needed where the exporter says that it is done."""
    (_version(tmp_path, "1") / model_versions.MARKER).touch()
    found = _Clocks().directory(tmp_path).versions()[0]
    assert (found.lacks, found.marked) == (None, True)


@given(st.lists(st.tuples(st.integers(1, 15), st.binary(max_size=300)), min_size=1, max_size=5), st.data())
def test_a_message_cut_off_anywhere_inside_a_field_is_not_whole(
    tmp_path_factory: pytest.TempPathFactory, fields: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Whole at the end of a field, and nowhere else."""
    message, ends = b"", set()
    for number, content in fields:
        length = len(content)
        size = bytes([length & 0x7F | 0x80, length >> 7]) if length > 127 else bytes([length])
        message += bytes([number << 3 | 2]) + size + content
        ends.add(len(message))
    path = tmp_path_factory.mktemp("message") / "saved_model.pb"
    cut = data.draw(st.integers(1, len(message)))
    path.write_bytes(message[:cut])
    assert is_whole_message(path) == (cut in ends)


def test_an_empty_file_is_no_message(tmp_path: Path) -> None:
    """As a copy that has just begun leaves it."""
    (tmp_path / "saved_model.pb").touch()
    assert not is_whole_message(tmp_path / "saved_model.pb")


def test_the_digest_is_of_names_and_bytes_and_of_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another byte or name is another digest; a copy, or the marker, is not. Above the limit only ends are read."""

    def of(name: str) -> str:
        return digest(next(version for version in Directory(tmp_path).versions() if version.name == name))

    _version(tmp_path, "1")
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    (tmp_path / "2" / model_versions.MARKER).touch()
    assert of("1") == of("2")
    (tmp_path / "2" / "variables" / "variables.index").write_bytes(b"indey")
    assert of("1") != of("2")
    shutil.copytree(tmp_path / "1", tmp_path / "3")
    (tmp_path / "3" / "variables" / "variables.index").rename(tmp_path / "3" / "variables" / "variables.indey")
    assert of("1") != of("3")
    monkeypatch.setattr(model_versions, "DIGEST_WHOLE_BYTES", 3)
    monkeypatch.setattr(model_versions, "_DIGEST_END_BYTES", 1)
    ends = of("1")
    assert ends.startswith("ends-")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x08\x05\x12\x03xyc")
    assert of("1") == ends
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x08\x05\x12\x03xyz")
    assert of("1") != ends


# --- what ought to be served


def _seen(*numbers: int, lacks: int | None = None) -> tuple[model_versions.Version, ...]:
    return tuple(
        model_versions.Version(
            number=number,
            path=None,  # type: ignore[arg-type] # a decision reads no disk
            files=((f"{number}", 1, 1),),
            lacks="is cut off" if number == lacks else None,
            marked=False,
            settling=False,
            changed_at_s=0.0,
        )
        for number in sorted(numbers, reverse=True)
    )


_BROKEN = Failed((("3", 1, 1),), "does not load")


@pytest.mark.parametrize(
    ("versions", "pin", "serving", "failed", "wanted", "problem"),
    [
        # Nothing pinned: the newest that can be had.
        (_seen(1, 2), None, None, {}, "2", None),
        (_seen(1, 2), None, "1", {}, "2", None),
        (_seen(1, 2), None, "2", {}, None, None),
        (_seen(1, 2, 3, lacks=3), None, "1", {}, "2", None),
        (_seen(1, 2, 3), None, "1", {3: _BROKEN}, "2", "version 3 is not served"),
        (_seen(1, 3), None, "1", {3: _BROKEN}, None, "version 3 is not served"),
        (_seen(1, 3), None, "1", {3: Failed((), "other files")}, "3", None),
        (_seen(), None, None, {}, None, None),
        # The served version's folder is being written anew: nothing older is served meanwhile.
        (_seen(1, 2, lacks=2), None, "2", {}, None, None),
        # It is gone: the newest of the others.
        (_seen(1, 2), None, "3", {}, "2", None),
        (_seen(), None, "3", {}, None, "version 3 is served from memory"),
        # Pinned.
        (_seen(1, 2, 3), "2", "3", {}, "2", None),
        (_seen(1, 2, 3), "2", "2", {}, None, None),
        (_seen(1, 2), "7", "2", {}, None, "version 7 is pinned, and is not there"),
        (_seen(1, 2, lacks=1), "1", "2", {}, None, "pinned: version 1 is not whole"),
        (_seen(1, 3), "3", "1", {3: _BROKEN}, None, "pinned: version 3 is not served"),
        (_seen(1), "2", "2", {}, None, None),
    ],
)
def test_what_ought_to_be_served(  # noqa: PLR0917 - a table
    versions: tuple[model_versions.Version, ...],
    pin: str | None,
    serving: str | None,
    failed: dict[int, Failed],
    wanted: str | None,
    problem: str | None,
) -> None:
    """Each rule once."""
    choice = choose(versions, pin=pin, serving=serving, failed=failed)
    assert (choice.version.name if choice.version else None) == wanted
    assert (choice.problem or "").startswith(problem or "")
    assert (choice.problem is None) == (problem is None)


# --- what a person says


@pytest.mark.parametrize(
    "control", [Control(), Control("2", "3", Shadow("4", 0.1)), Control(shadow=Shadow("1", 1.0)), Control(pin="0")]
)
def test_control_comes_back_as_it_was_written(tmp_path: Path, control: Control) -> None:
    """And leaves no temporary file."""
    serving_control.write(tmp_path, control)
    assert serving_control.read(tmp_path) == control
    assert [path.name for path in tmp_path.iterdir()] == ["serving.json"]
    assert (tmp_path / "serving.json").stat().st_mode & 0o777 == 0o644


def test_no_file_says_nothing(tmp_path: Path) -> None:
    """The newest version is served."""
    assert serving_control.read(tmp_path) == Control()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting"),
        ("[]", "the file is"),
        ('{"pni": "2"}', "unknown key 'pni'"),
        ('{"pin": 2}', "pin='2': must be a version's number in quotes"),
        ('{"pin": "../1"}', "pin="),
        ('{"shadow": {"share": 0.1}}', "shadow.version is missing"),
        ('{"shadow": {"version": "1"}}', "shadow.share="),
        ('{"shadow": {"version": "1", "share": true}}', "shadow.share="),
        ('{"shadow": {"version": "1", "share": 1.5}}', "shadow.share=1.5: must be above 0 and at most 1"),
        ('{"shadow": {"version": "1", "share": 0}}', "shadow.share=0: "),
        ("[" * 50_000, ""),
        (" " * 70_000, "more than"),
    ],
)
def test_a_control_file_that_cannot_be_understood_says_why(tmp_path: Path, text: str, told: str) -> None:
    """File, key, value, and the way out."""
    (tmp_path / "serving.json").write_text(text)
    with pytest.raises(BadControl) as caught:
        serving_control.read(tmp_path)
    assert told in str(caught.value)
    assert "serving.json" in str(caught.value)
    assert "or remove it" in str(caught.value)
