"""When a member asks for another placement: seldom, and where it is worth it."""

from __future__ import annotations

from streams.placement_review import AGAIN_S, CALM_S, LOOK_S, PlacementReview


def test_it_looks_when_the_group_is_calm() -> None:
    """Not before, and then not at each poll."""
    review = PlacementReview(0.0)
    review.joined(100.0)
    assert not review.due(100.0 + CALM_S - 0.1)
    assert review.due(100.0 + CALM_S)
    assert not review.due(100.0 + CALM_S + LOOK_S - 0.1)
    assert review.due(100.0 + CALM_S + LOOK_S)


def test_it_asks_for_a_quarter_and_then_not_for_a_while() -> None:
    """However large the relief, the next request waits."""
    review = PlacementReview(0.0)
    review.joined(0.0)
    assert not review.worth_it(1.24, 50.0)
    assert review.due(50.0)
    assert review.worth_it(1.25, 50.0)
    review.joined(51.0)
    assert not review.due(50.0 + AGAIN_S - 0.1)
    assert review.due(50.0 + AGAIN_S)
