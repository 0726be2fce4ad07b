"""What members say of themselves, and how noise in it is kept from moving partitions."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.capacity import Capacity, SteadyCapacity, decode, encode, usable, weights
from streams.placement import Member, place


def test_a_word_comes_back_as_it_was() -> None:
    """With and without a measurement."""
    for word in (
        Capacity("cpu", 928.6, 20111.0),
        Capacity("cpu", 928.6, 20111.0, loaded=True),
        Capacity("gpu", 1e6),
        Capacity("x"),
    ):
        assert decode(encode(word)) == word


@given(st.binary(max_size=64))
def test_strangers_say_nothing(data: bytes) -> None:
    """Whatever bytes another program's member sends, the leader goes on."""
    assert decode(data) is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"null",
        b"[" * 1000,
        b'{"type": "cpu", "stated": 1}',
        b'{"penstock": 2, "type": "cpu", "stated": 1}',
        b'{"penstock": 1, "type": 7, "stated": 1}',
        b'{"penstock": 1, "type": "' + b"x" * 2000 + b'"}',
    ],
)
def test_another_format_says_nothing(data: bytes | None) -> None:
    """An unknown version too: its numbers may mean something else."""
    assert decode(data) is None


@pytest.mark.parametrize("figure", [0, -1, math.nan, math.inf, 1e13, 10**400, "7", None, True, [1]])
def test_what_is_no_capacity_is_not_believed(figure: object) -> None:
    """Neither in a member's own figure nor in what comes over the wire."""
    assert usable(figure) is None
    data = json.dumps({"penstock": 1, "type": "cpu", "stated": figure, "measured": 5}).encode()
    assert decode(data) == Capacity("cpu", None, 5.0)


def test_strangers_get_the_mean_of_the_others() -> None:
    """And where nobody says anything all are equal."""
    assert weights({"a": Capacity("cpu", 10), "b": Capacity("gpu", 50), "c": None}) == {"a": 10, "b": 50, "c": 30}
    assert weights({"a": None, "b": None}) == {"a": 1, "b": 1}
    assert weights({"a": Capacity("cpu"), "b": None}) == {"a": 1, "b": 1}


def test_a_new_member_counts_as_its_type() -> None:
    """Its assumption would starve it beside those that have measured: it could never measure anything."""
    said = {
        "a": Capacity("cpu", 900, 20_000, loaded=True),
        "b": Capacity("cpu", 900, 30_000, loaded=True),
        "new": Capacity("cpu", 900),
        "gpu": Capacity("gpu", 9_000),
    }
    found = weights(said)
    assert found["new"] == found["a"]
    # Nobody of its type has measured: its statement, corrected as the others' are.
    assert found["gpu"] == pytest.approx(9_000 * (20_000 / 900 + 30_000 / 900) / 2)


@given(st.lists(st.one_of(st.floats(0.8, 1.27), st.floats(0.1, 10)), min_size=1, max_size=8), st.integers(1, 64))
def test_noise_moves_nothing(factors: list[float], partitions: int) -> None:
    """One type, fits off by some percent, or by anything while idle: an even split, whatever the fits."""
    said = {
        f"w{n}": Capacity("cpu", 1000, 1000 * factor, loaded=0.8 <= factor <= 1.27) for n, factor in enumerate(factors)
    }
    found = weights(said)
    assert len(set(found.values())) == 1
    placed = place([Member(name, frozenset({"t"})) for name in said], found, {"t": partitions})
    counts = [len(places) for places in placed.values()]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("one_type", [True, False])
@given(figures=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1e-3, 1e12), min_size=1))
def test_no_chain_makes_fast_and_slow_equal(one_type: bool, figures: dict[str, float]) -> None:
    """Equals are within the factor of each other, and a faster member never weighs less."""
    found = weights(
        {name: Capacity("t" if one_type else name, None, figure, loaded=True) for name, figure in figures.items()}
    )
    # Groups of one type may still be joined as groups, by their means.
    factor = 1.6 * 1.25 * 1.6 if one_type else 1.25
    for one, other in ((a, b) for a in figures for b in figures if figures[a] <= figures[b]):
        assert found[one] <= found[other]
        if found[one] == found[other]:
            assert figures[other] <= figures[one] * factor * (1 + 1e-12)


def test_half_as_fast_at_work_is_a_difference() -> None:
    """Within one type too; a third slower is noise there, and a difference between types."""

    def of(*kinds: str, loaded: bool, slow: float) -> dict[str, float]:
        return weights(
            {
                "a": Capacity(kinds[0], None, 1000, loaded=loaded),
                "b": Capacity(kinds[-1], None, slow, loaded=loaded),
            }
        )

    assert of("cpu", loaded=True, slow=500) == {"a": 1000, "b": 500}
    assert len(set(of("cpu", loaded=True, slow=667).values())) == 1
    assert len(set(of("cpu", loaded=False, slow=200).values())) == 1
    assert of("cpu", "gpu", loaded=False, slow=667) == {"a": 1000, "b": 667}


def test_an_idle_member_counts_as_the_loaded_ones_of_its_type() -> None:
    """What it carried over from small batches is no evidence beside what others measured at work."""
    said = {
        "idle": Capacity("cpu", 1, 9000),
        "new": Capacity("cpu", 1),
        "at work": Capacity("cpu", 1, 1000, loaded=True),
    }
    assert set(weights(said).values()) == {1000}


def test_a_member_changes_its_word_for_a_quarter() -> None:
    """Not for less, up or down, and the quarter is counted from what it said last; at once when it gets to work."""
    steady = SteadyCapacity(Capacity("cpu", 900))
    assert steady.update(Capacity("cpu", 900)).measured is None
    for measured, said in [(1000, 1000), (1200, 1000), (850, 1000), (1300, 1300), (1050, 1300), (1000, 1000)]:
        assert steady.update(Capacity("cpu", 900, measured)).measured == said
    assert steady.update(Capacity("cpu", 900, math.nan)).measured == 1000
    assert steady.update(Capacity("cpu", 900, 1100, loaded=True)) == Capacity("cpu", 900, 1100, loaded=True)
    assert steady.update(Capacity("cpu", 900, 1000)) == Capacity("cpu", 900, 1100)
