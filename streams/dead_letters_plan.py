"""What a replay or a purge would do, decided from what was read. Nothing here talks to Kafka or reads a clock."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from streams.dead_letters_marks import Replayed, read_mark
from streams.dead_letters_selection import LetterFacts, Selection, read_letter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streams.record_types import ConsumedRecord


class Survey:
    """A topic of dead letters, read once: the letters that a selection takes, and what was replayed of all.

    Args:
        selection: which letters count.
        ends: how far it is read, by partition: the first offset that is not.
    """

    def __init__(self, selection: Selection, ends: Mapping[int, int]) -> None:
        self._selection = selection
        self.ends = ends
        #: In offset order, by partition.
        self.letters: dict[int, list[LetterFacts]] = {}
        self.replayed = Replayed()
        #: Letters in all, and records that are neither a letter nor a mark.
        self.seen = self.foreign = 0

    def add(self, record: ConsumedRecord) -> LetterFacts | None:
        """Take in one record; the letter that it is, if the selection takes it."""
        letter = read_letter(record)
        if letter is None:
            told = read_mark(record)
            if told is None:
                self.foreign += 1
            else:
                self.replayed.add(record.partition, told)
            return None
        self.seen += 1
        if not self._selection.takes(letter):
            return None
        self.letters.setdefault(letter.partition, []).append(letter)
        return letter

    @property
    def matched(self) -> int:
        """How many letters the selection takes."""
        return sum(len(letters) for letters in self.letters.values())


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is to be replayed, and why the rest is not."""

    #: Offset -> topic, by partition.
    chosen: Mapping[int, Mapping[int, str]]
    matched: int
    #: Replayed before, to the same topic.
    already: int
    #: Tried too often.
    worn_out: int
    #: Without the request's value.
    cut: int
    #: Beyond the limit; the next replay takes them.
    left: int
    #: Of those chosen, how many have a deadline that has passed: they will be answered `expired`.
    overdue: int

    @property
    def count(self) -> int:
        """How many are to be replayed."""
        return sum(len(offsets) for offsets in self.chosen.values())


def plan_replay(
    survey: Survey, *, target: Callable[[LetterFacts], str], limit: int, max_attempts: int, now_ms: int
) -> ReplayPlan:
    """Choose the letters to replay: the oldest first, the order within each partition kept.

    Args:
        survey: what was read.
        target: the topic that a letter's request goes to.
        limit: most letters.
        max_attempts: letters of requests that were tried so often, or more, stay where they are.
        now_ms: Unix milliseconds, for deadlines.
    """
    already = worn_out = cut = 0
    fit: list[list[LetterFacts]] = []
    for letters in survey.letters.values():
        kept = []
        for letter in letters:
            if survey.replayed.has(target(letter), letter.partition, letter.offset):
                already += 1
            elif letter.attempts >= max_attempts:
                worn_out += 1
            elif letter.cut:
                cut += 1
            else:
                kept.append(letter)
        fit.append(kept)
    # A merge takes from the heads only: timestamps may be out of order within a partition, its order holds anyway.
    merged = heapq.merge(*fit, key=lambda letter: letter.timestamp_ms)
    chosen: dict[int, dict[int, str]] = {}
    overdue = 0
    for letter in itertools.islice(merged, limit):
        chosen.setdefault(letter.partition, {})[letter.offset] = target(letter)
        overdue += letter.deadline_ms is not None and letter.deadline_ms <= now_ms
    return ReplayPlan(
        chosen=chosen,
        matched=survey.matched,
        already=already,
        worn_out=worn_out,
        cut=cut,
        left=sum(len(kept) for kept in fit) - sum(len(offsets) for offsets in chosen.values()),
        overdue=overdue,
    )


def due_after_s(sent: int, rate_per_s: float | None) -> float:
    """Seconds from the start before which `sent` letters are not to be exceeded; 0 without a rate."""
    return 0.0 if rate_per_s is None else sent / rate_per_s


def most_at_once(rate_per_s: float | None, most: int) -> int:
    """Letters of one transaction: what a quarter of a second of the rate allows, so that they do not come in bursts."""
    return most if rate_per_s is None else max(1, min(most, int(rate_per_s / 4)))


@dataclass(frozen=True, slots=True)
class PurgeRule:
    """Up to where to delete. Exactly one field counts, by `kind`."""

    kind: Literal["all", "replayed", "before", "through"]
    #: For `before`: the request's timestamp, Unix milliseconds.
    before_ms: int = 0
    #: For `through`: last offset to go, by partition.
    through: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """One partition's part of a purge."""

    partition: int
    #: First offset kept.
    before: int
    #: Letters that go, and how many of these were never replayed.
    letters: int
    never_replayed: int
    #: Letters that the rule means but that stay, because they lie behind one that it does not mean.
    held_back: int


def plan_purge(survey: Survey, rule: PurgeRule) -> tuple[Cut, ...]:
    """Where to cut each partition: Kafka deletes from the start of a partition up to an offset, and nothing else.

    Args:
        survey: of all letters.
        rule: what is to go.
    """
    cuts = []
    for partition, end in sorted(survey.ends.items()):
        letters = survey.letters.get(partition, [])

        def meant(letter: LetterFacts) -> bool:
            return _meant(rule, letter, replayed=bool(survey.replayed.targets(letter.partition, letter.offset)))

        kept = next((letter.offset for letter in letters if not meant(letter)), end)
        if rule.kind == "through":
            kept = min(rule.through.get(partition, -1) + 1, end)
        gone = [letter for letter in letters if letter.offset < kept]
        if gone or (kept > 0 and rule.kind == "all"):
            cuts.append(
                Cut(
                    partition=partition,
                    before=kept,
                    letters=len(gone),
                    never_replayed=_never_replayed(survey, gone),
                    held_back=sum(meant(letter) for letter in letters[len(gone) :]),
                )
            )
    return tuple(cuts)


def _meant(rule: PurgeRule, letter: LetterFacts, *, replayed: bool) -> bool:
    if rule.kind == "before":
        return letter.timestamp_ms < rule.before_ms
    if rule.kind == "replayed":
        return replayed
    return rule.kind == "all" or letter.offset <= rule.through.get(letter.partition, -1)


def _never_replayed(survey: Survey, letters: Iterable[LetterFacts]) -> int:
    return sum(not survey.replayed.targets(letter.partition, letter.offset) for letter in letters)
