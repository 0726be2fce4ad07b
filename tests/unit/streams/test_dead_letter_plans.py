"""Which dead letters are meant, which were replayed, and what a replay or a purge would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters_marks import Mark, Replayed, mark, ranges_of, read_mark
from streams.dead_letters_plan import PurgeRule, Survey, due_after_s, most_at_once, plan_purge, plan_replay
from streams.dead_letters_selection import Place, Selection, SourceRange, moment_ms

LETTERS, REQUESTS = "d.dead-letters", "d.requests"


@dataclass
class Record:
    """A record as a consumer hands it out."""

    offset: int
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int = 0
    timestamp: int = 1000
    topic: str = LETTERS
    key: bytes | None = b"k"
    value: bytes | None = b"v"


def letter(offset: int, partition: int = 0, timestamp: int = 1000, **said: object) -> Record:
    """A dead letter of a request that was at the same offset, ten on."""
    told = {"reason": "bad-data", "stage": "decode", "attempts": 1, "source": f"{REQUESTS}/{partition}/{offset + 10}"}
    headers = [(f"dlq-{name}", str(value).encode()) for name, value in (told | said).items()]
    return Record(offset, headers, partition, timestamp)


def marked(offset: int, offsets: list[int], partition: int = 0, target: str = REQUESTS, run: str = "r") -> Record:
    """A mark as consumed."""
    out = mark(LETTERS, partition, offsets, target=target, run=run)
    return Record(offset, out.headers, partition, key=out.key, value=out.value)


def survey(*records: Record, selection: Selection | None = None, end: int = 100) -> Survey:
    """What reading these records says."""
    found = Survey(selection or Selection(), {0: end, 1: end})
    for record in records:
        found.add(record)  # type: ignore[arg-type] # a test's record
    return found


def plan(found: Survey, **changes: Any) -> Any:
    """A replay's plan for the pipeline's own topic."""
    given_ = {"target": lambda _letter: REQUESTS, "limit": 100, "max_attempts": 5, "now_ms": 5000}
    return plan_replay(found, **(given_ | changes))


def chosen(found: Survey, **changes: Any) -> dict[int, list[int]]:
    """The offsets that it would send, by partition."""
    return {partition: list(offsets) for partition, offsets in plan(found, **changes).chosen.items()}


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(reasons=frozenset({"bad-data", "bad-shape"})), [0, 2]),
        (Selection(since_ms=2000), [1, 2, 3]),
        (Selection(until_ms=2000), [0]),
        (Selection(since_ms=2000, until_ms=3001), [1, 2]),
        (Selection(stage="model"), [1, 3]),
        (Selection(min_attempts=2), [1]),
        (Selection(sources=(SourceRange(REQUESTS, 1),)), [2]),
        (Selection(sources=(SourceRange(REQUESTS, 0, (11, 12)), SourceRange("other"))), [1, 3]),
        (Selection(sources=(SourceRange("none"),)), []),
        (Selection(reasons=frozenset({"model-failed"}), min_attempts=2), [1]),
    ],
)
def test_each_filter_takes_what_it_says(selection: Selection, taken: list[int]) -> None:
    """All that are given must pass; within one, any."""
    records = [
        letter(0, timestamp=1000),
        letter(1, timestamp=2000, reason="model-failed", stage="model", attempts=3),
        letter(2, timestamp=3000, reason="bad-shape", source=f"{REQUESTS}/1/12"),
        letter(3, timestamp=3001, reason="model-failed", stage="model", source="other/7/1"),
    ]
    found = survey(*records, selection=selection)
    assert [one.offset for one in found.letters.get(0, [])] == taken
    assert (found.seen, found.matched) == (4, len(taken))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d.requests", SourceRange("d.requests")),
        ("d.requests/3", SourceRange("d.requests", 3)),
        ("d.requests/3/41", SourceRange("d.requests", 3, (41, 41))),
        ("d.requests/3/41-50", SourceRange("d.requests", 3, (41, 50))),
    ],
)
def test_sources_are_read(text: str, expected: SourceRange) -> None:
    """A topic, a partition, an offset or several."""
    assert SourceRange.parse(text) == expected


@pytest.mark.parametrize("text", ["", "/", "a/b", "a/1/2/3", "a/1/5-4", "a/1/-4", "a b", "a/1/2-"])
def test_other_sources_are_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="source"):
        SourceRange.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", 100_000_000 - 7_200_000),
        ("1.5m", 100_000_000 - 90_000),
        ("99999d", 0),
        ("1970-01-01T00:01:00", 60_000),
        ("1970-01-01T01:01:00+01:00", 60_000),
        ("1970-01-02", 86_400_000),
    ],
)
def test_moments_are_read(text: str, expected: int) -> None:
    """An age, or ISO 8601; without a zone it is UTC."""
    assert moment_ms(text, 100_000_000) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2", "-2h", "2 h", "2026-13-01"])
def test_other_moments_are_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="30m, 2h or 7d"):
        moment_ms(text, 0)


offset_sets = st.lists(st.integers(min_value=0, max_value=40), max_size=15, unique=True).map(sorted)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1), offset_sets), max_size=8))
def test_marks_say_what_was_replayed(marks: list[tuple[str, int, list[int]]]) -> None:
    """Whatever their order and overlap: exactly the offsets that were marked, by partition and topic."""
    replayed = Replayed()
    expected: set[tuple[str, int, int]] = set()
    for target, partition, offsets in marks:
        told = read_mark(marked(50, offsets, partition, target))  # type: ignore[arg-type] # a test's record
        assert told == Mark(target, "r", ranges_of(offsets))
        replayed.add(partition, told)
        expected |= {(target, partition, offset) for offset in offsets}
    for target in ("a", "b"):
        for partition in (0, 1):
            for offset in range(42):
                assert replayed.has(target, partition, offset) == ((target, partition, offset) in expected)
    for offset in range(42):
        assert replayed.targets(0, offset) == tuple(t for t in ("a", "b") if (t, 0, offset) in expected)
    assert replayed.by("r") == sum(len(offsets) for *_, offsets in marks)
    assert replayed.by("other") == 0


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b'{"replayed":[[5,5]],"to":"t","run":"r"}', b'{"replayed":[[0,99]],"to":"t","run":"r"}'],
)
def test_a_mark_that_cannot_be_is_passed_over(value: bytes) -> None:
    """It marks nothing, least of all what lies behind it."""
    found = survey(letter(0), Record(9, [("dlq-replayed", b"r")], value=value))
    assert (chosen(found), found.foreign) == ({0: [0]}, 1)


def test_what_was_replayed_is_not_replayed_again() -> None:
    """Whatever the filter of that replay was; another topic is another matter."""
    found = survey(letter(0), letter(1), letter(2), marked(3, [0, 2]), letter(4))
    told = plan(found)
    assert {p: list(o) for p, o in told.chosen.items()} == {0: [1, 4]}
    assert (told.matched, told.already, told.left, told.count) == (4, 2, 0, 2)
    assert chosen(found, target=lambda _letter: "elsewhere") == {0: [0, 1, 2, 4]}


def test_letters_tried_too_often_stay() -> None:
    """They are counted, and no limit is spent on them."""
    found = survey(letter(0, attempts=5), letter(1, attempts=4), letter(2, attempts=9), letter(3))
    told = plan(found, limit=2)
    assert ({p: list(o) for p, o in told.chosen.items()}, told.worn_out, told.left) == ({0: [1, 3]}, 2, 0)


def test_letters_without_their_value_stay() -> None:
    """There is nothing to be replayed; they are counted, and no limit is spent on them."""
    told = plan(survey(letter(0, cut=3000), letter(1)), limit=1)
    assert ({p: list(o) for p, o in told.chosen.items()}, told.cut, told.left) == ({0: [1]}, 1, 0)


def test_the_oldest_go_first_and_partitions_keep_their_order() -> None:
    """Even where a partition's own timestamps are out of order."""
    found = survey(letter(0, 0, 3000), letter(1, 0, 1000), letter(2, 0, 4000), letter(0, 1, 2000), letter(1, 1, 9000))
    # Heads: 0/0 at 3000 and 1/0 at 2000. Then 0/0, and behind it 0/1, though it is the oldest of all.
    assert chosen(found, limit=1) == {1: [0]}
    assert chosen(found, limit=2) == {1: [0], 0: [0]}
    assert chosen(found, limit=3) == {1: [0], 0: [0, 1]}
    assert plan(found, limit=3).left == 2


def test_passed_deadlines_are_counted() -> None:
    """Those of the chosen ones only."""
    late = letter(0)
    late.headers.insert(0, ("deadline-ms", b"4999"))
    soon = letter(1)
    soon.headers.insert(0, ("deadline-ms", b"5001"))
    assert plan(survey(late, soon)).overdue == 1
    assert plan(survey(late, soon), limit=1).overdue == 1


def test_a_rate_is_kept_in_small_steps() -> None:
    """Ten a second: two at once, the next after 0.2 s. Without a rate nothing waits."""
    assert (most_at_once(10, 256), due_after_s(2, 10)) == (2, 0.2)
    assert (most_at_once(1, 256), due_after_s(1, 1)) == (1, 1.0)
    assert (most_at_once(None, 256), due_after_s(7, None)) == (256, 0.0)
    assert most_at_once(1e9, 256) == 256


def cuts(found: Survey, rule: PurgeRule) -> list[tuple[int, int, int, int, int]]:
    """The cuts as tuples: partition, first kept, letters, never replayed, held back."""
    return [(c.partition, c.before, c.letters, c.never_replayed, c.held_back) for c in plan_purge(found, rule)]


def test_a_purge_cuts_before_the_first_letter_that_is_not_meant() -> None:
    """What is meant behind it is held back, and counted."""
    found = survey(
        letter(0, timestamp=10), letter(1, timestamp=90), letter(2, timestamp=20), marked(3, [0, 2]), letter(4, 1, 30)
    )
    assert cuts(found, PurgeRule("before", before_ms=50)) == [(0, 1, 1, 0, 1), (1, 100, 1, 1, 0)]
    assert cuts(found, PurgeRule("replayed")) == [(0, 1, 1, 0, 1)]
    assert cuts(found, PurgeRule("through", through={0: 1})) == [(0, 2, 2, 1, 0)]
    assert cuts(found, PurgeRule("through", through={1: 10**9})) == [(1, 100, 1, 1, 0)]
    assert cuts(found, PurgeRule("all")) == [(0, 100, 3, 1, 0), (1, 100, 1, 1, 0)]
    assert cuts(found, PurgeRule("before", before_ms=10)) == []


def test_places_are_read() -> None:
    """As the header dlq-source has them; anything else is none."""
    assert Place.parse("d.requests/3/41") == Place("d.requests", 3, 41)
    assert str(Place("d.requests", 3, 41)) == "d.requests/3/41"
    assert [Place.parse(text) for text in ("", "3/41", "a/b/c", "a/1/2/3", "a/1/-2")] == [None] * 5
