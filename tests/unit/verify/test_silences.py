"""How long nothing came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.verify.timeline import longest_gap_s, longest_silence_s


@pytest.mark.parametrize(
    ("waits", "silence_s"),
    [
        ([], 0.0),
        ([(1.0, 1.2), (2.0, 2.1)], 0.2),
        # Nothing waits between 1.2 and 5: that is no silence.
        ([(1.0, 1.2), (5.0, 5.1)], 0.2),
        # The second waits since 1.1, the last result came at 1.2: silent from then on.
        ([(1.0, 1.2), (1.1, 4.2)], 3.0),
        # Never answered: silent until the watching ends at 10.
        ([(1.0, 1.2), (1.1, None)], 8.8),
        ([(1.0, None)], 9.0),
        # Out of order: the later one's result ends the first silence and begins the next.
        ([(1.0, 4.0), (1.1, 2.0)], 2.0),
        # The same moment twice: answered at once.
        ([(1.0, 1.0)], 0.0),
    ],
)
def test_silences(waits: list[tuple[float, float | None]], silence_s: float) -> None:
    """By hand."""
    assert longest_silence_s(waits, 10.0) == pytest.approx(silence_s)


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, 100)), max_size=30))
def test_a_silence_is_at_most_the_longest_wait_and_at_least_its_share(
    pairs: list[tuple[float, float | None]],
) -> None:
    """It lies within one request's wait, and no wait is covered by less than all the results within it."""
    waits = [(sent, None if after is None else sent + after) for sent, after in pairs]
    until_s = 300.0
    silence_s = longest_silence_s(waits, until_s)
    lengths = [(until_s if seen is None else seen) - sent for sent, seen in waits]
    assert -1e-9 <= silence_s <= max(lengths, default=0.0) + 1e-9
    for length in lengths:
        assert silence_s >= length / (len(waits) + 1) - 1e-9


@pytest.mark.parametrize(
    ("seen", "gap_s"),
    [
        ([], 2.0),
        ([9.9, 10.1, 10.4, 12.5], 2.1),
        ([9.0, 10.5, 11.0, 11.9, 12.1], 1.5),
        # A gap before or behind the window is not the window's.
        ([1.0, 9.9, 10.9, 12.1, 20.0], 1.2),
        ([10.5], 1.5),
    ],
)
def test_gaps_that_touch_a_window(seen: list[float], gap_s: float) -> None:
    """The window is 10 to 12."""
    assert longest_gap_s(seen, 10.0, 12.0) == pytest.approx(gap_s)
