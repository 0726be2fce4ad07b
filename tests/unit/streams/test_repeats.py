"""Results that come again: known within bounds of number and time, and memory never beyond them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.repeats import Repeats


class Clock:
    """Seconds that pass when told."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def test_a_repeat_is_known_by_id_and_source() -> None:
    """Another source is another request; a result without a source is never a repeat."""
    repeats = Repeats(clock=Clock())
    repeats.remember("a", "r/0/1")
    repeats.remember("b", None)
    known = [repeats.repeated(*key) for key in (("a", "r/0/1"), ("a", "r/0/2"), ("b", None), ("c", "r/0/1"))]
    assert known == [True, False, False, False]
    assert (repeats.count, len(repeats)) == (1, 1)


def test_time_and_number_bound_what_is_remembered() -> None:
    """What is too old, or one of too many, is forgotten."""
    clock = Clock()
    repeats = Repeats(most=3, window_s=10, clock=clock)
    for number in range(4):
        repeats.remember("a", f"r/0/{number}")
        clock.now_s += 4
    # Now 16: offset 0 went for being the fourth, 1 (at 4) is 12 s old, 2 (at 8) is 8 s old.
    assert [repeats.repeated("a", f"r/0/{number}") for number in range(4)] == [False, False, True, True]
    repeats.remember("a", "r/0/9")
    assert len(repeats) == 3


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=200))
def test_within_its_bounds_nothing_is_forgotten(steps: list[tuple[int, float]]) -> None:
    """Compared with a memory without bounds, asked within them; and memory stays bounded."""
    clock, seen = Clock(), dict[int, float]()
    repeats = Repeats(most=40, window_s=20, clock=clock)
    for number, pause_s in steps:
        clock.now_s += pause_s
        expected = number in seen and seen[number] + 20 >= clock.now_s
        assert repeats.repeated("a", f"r/0/{number}") == expected
        if not expected:
            repeats.remember("a", f"r/0/{number}")
            seen[number] = clock.now_s
        assert len(repeats) <= 31


@pytest.mark.parametrize(("most", "window_s"), [(0, 1.0), (1, 0.0)])
def test_bounds_must_be_some(most: int, window_s: float) -> None:
    """The message names the bound."""
    with pytest.raises(ValueError, match=r"(most|window_s)="):
        Repeats(most=most, window_s=window_s)
