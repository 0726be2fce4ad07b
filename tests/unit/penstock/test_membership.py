"""Stable names of the autoscalers of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.membership import Member

if TYPE_CHECKING:
    from pathlib import Path


def test_the_lowest_free_name_is_taken_and_comes_back(tmp_path: Path) -> None:
    """Two live members differ; who comes after one has gone gets its name."""
    first, second = Member(tmp_path, "p"), Member(tmp_path, "p")
    assert first.name.endswith("-0")
    assert second.name.endswith("-1")
    assert not first.alone()
    first.release()
    assert second.alone()
    third = Member(tmp_path, "p")
    assert third.name == first.name
    second.release()
    third.release()


def test_pipelines_and_directories_do_not_share_names(tmp_path: Path) -> None:
    """Another pipeline is another group, another directory another name."""
    here, there = Member(tmp_path, "p"), Member(tmp_path / "other", "p")
    neighbour = Member(tmp_path, "q")
    assert here.name != there.name
    assert here.alone()
    assert neighbour.alone()
    for member in (here, there, neighbour):
        member.release()
