"""What members measure of their partitions, how it is told, and when it counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.capacity import Capacity, decode, encode
from streams.kafka.assignor import _recalled, _remembered
from streams.partition_loads import LONGEST, WINDOW_S, PartitionMeter, encoded, merged, placed_by, told

T = "p.requests"


def test_a_rate_is_of_the_last_minute() -> None:
    """Ten a second at first and thirty later: after a minute of it thirty; not told in the first twenty seconds."""
    meter, end = PartitionMeter(), 0
    for second in range(0, 200, 5):
        meter.note({(T, 3): end}, float(second))
        if second < 20:
            assert meter.rates() == {}
        elif second <= 100:
            assert meter.rates() == {(T, 3): pytest.approx(10.0)}
        end += 5 * (10 if second < 100 else 30)
    assert meter.rates() == {(T, 3): pytest.approx(30.0)}


def test_what_is_owned_no_more_is_forgotten_and_another_log_begins_anew() -> None:
    """A topic that was deleted and made again has smaller ends; a partition that comes back was another's meanwhile."""
    meter = PartitionMeter()
    for second in (0, 30):
        meter.note({(T, 0): 100 * second, (T, 1): second}, float(second))
    assert meter.rates() == {(T, 0): 100.0, (T, 1): 1.0}
    meter.note({(T, 0): 5}, 60.0)
    assert meter.rates() == {}
    meter.note({(T, 0): 65}, 90.0)
    assert meter.rates() == {(T, 0): 2.0}


def test_a_word_with_loads_is_read_by_both_readers() -> None:
    """The capacity as before, the loads beside it; four digits are enough."""
    word = encode(Capacity("cpu", 100.0), {(T, 0): 12.34567, (T, 11): 0.0})
    assert decode(word) == Capacity("cpu", 100.0)
    assert told(word) == {(T, 0): 12.35, (T, 11): 0.0}
    assert told(encode(Capacity("cpu", 100.0))) == {}


def test_too_many_loads_are_left_out_and_the_capacity_is_not() -> None:
    """A member with tens of thousands of partitions must not say more than a broker takes."""
    word = encode(Capacity("cpu", 100.0), {(T, number): 12.5 for number in range(20_000)})
    assert len(word) < LONGEST
    assert decode(word) == Capacity("cpu", 100.0)
    assert told(word) == {}


@pytest.mark.parametrize(
    "data",
    [
        None, b"", b"\xff", b"[]", b"7", b'{"loads": 3}', b'{"loads": {"t": 3}}', b'{"loads": {"t": {"-1": 3}}}',
        b'{"loads": {"t": {"1": "x"}}}', b'{"loads": {"t": {"1": true}}}', b'{"loads": {"t": {"1": NaN}}}',
        b'{"loads": {"t": {"1": -1}}}', b'{"loads": {"t": {"1": 1e300}}}', b" " * (LONGEST + 1),
    ],
)  # fmt: skip
def test_strangers_say_nothing(data: bytes | None) -> None:
    """Whatever a member of another version, or another program, says: the leader goes on."""
    assert told(data) == {}


@given(st.dictionaries(st.tuples(st.text(max_size=5), st.integers(0, 99)), st.floats(0, 1e9, allow_nan=False)))
def test_the_leaders_memory_comes_back(rates: dict[tuple[str, int], float]) -> None:
    """So that the next leader knows of partitions that nobody owns just now; to four digits."""
    _, _, loads = _recalled(_remembered({}, {}, rates))
    assert loads == {place: pytest.approx(rate, rel=1e-3) for place, rate in rates.items()}
    assert json.loads(json.dumps(encoded(rates))) == encoded(rates)


def test_the_leaders_memory_of_an_older_version_has_no_loads() -> None:
    """It is a memory nonetheless."""
    homes, _, loads = _recalled(b'{"penstock":1,"homes":{"a":{"p.requests":[0]}},"said":{}}')
    assert homes == {(T, 0): "a"}
    assert loads == {}


def test_what_is_said_now_counts_before_what_was_known() -> None:
    """And what nobody says stays known."""
    assert merged({(T, 0): 1.0, (T, 1): 2.0}, [{(T, 1): 3.0}, {(T, 2): 4.0}]) == {(T, 0): 1.0, (T, 1): 3.0, (T, 2): 4.0}


def test_skewed_partitions_are_placed_by_load_and_even_ones_by_number() -> None:
    """A rate of a minute's counts: 30 % apart is chance at ten records, four times as much of hundreds is not."""
    few = {(T, n): (10 + (-1) ** n * 3) / WINDOW_S for n in range(12)}
    assert placed_by(few, {T: 12}) == {}
    assert placed_by({place: 100 * rate for place, rate in few.items()}, {T: 12}) != {}
    hot = {(T, n): 40.0 if n < 3 else 10.0 for n in range(12)}
    (loads,) = placed_by(hot, {T: 12}).values()
    assert loads[0] / loads[11] == pytest.approx(4.0, rel=0.02)
    assert placed_by({}, {T: 12}) == {}


def test_partitions_nobody_knows_count_as_the_median_and_many_of_them_as_no_knowledge() -> None:
    """A member that knows its own six, two of them hot, takes the others for quiet. Half known is the least."""
    hot = {(T, n): 40.0 if n < 2 else 10.0 for n in range(6)}
    (loads,) = placed_by(hot, {T: 12}).values()
    assert loads[11] == pytest.approx(loads[5])
    assert placed_by(hot, {T: 13}) == {}


def test_a_large_group_keeps_its_homes_and_leaves_out_the_loads() -> None:
    """A thousand partitions and a hundred members: with loads for each, a broker would refuse the group's record."""
    final = {f"w{m}": [(T, n) for n in range(m, 1000, 100)] for m in range(100)}
    said = dict.fromkeys(final, Capacity("cpu", 100.0))
    rates = {(T, n): 123.4 for n in range(1000)}
    homes, kept, loads = _recalled(_remembered(final, said, rates))
    assert len(homes) == 1000
    assert kept == said
    assert loads == {}
    few = {name: final[name] for name in ("w0", "w1")}
    assert _recalled(_remembered(few, dict.fromkeys(few, Capacity("cpu")), rates))[2] == rates
