from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import mainspring as ms
from mainspring import hours, minutes
from mainspring.features.tiles import Layout, Row, State, decode, encode
from mainspring.windows import microseconds
from tests.features.histories import Event

MINUTE = microseconds(minutes(1))


class Recent(ms.FeatureView, key=Event.key):
    count_1h = ms.count(window=hours(1))
    sum_1h = ms.sum(Event.value, window=hours(1))
    mean_2h = ms.mean(Event.value, window=hours(2))
    spread = ms.std(Event.value, window=hours(1)) / ms.max(Event.value, window=hours(1))
    last_exact = ms.last(Event.value, window=minutes(9), hop=None)
    first_ever = ms.first(Event.value)
    least_positive = ms.min(Event.value, where=Event.value > 0)


LAYOUT = Layout.of(Recent)


def rows(*values: tuple[int, float], arrival: int = 0) -> list[Row]:
    """Rows by event time, in minutes, and value."""
    return [
        Row(m * MINUTE, max(m, arrival) * MINUTE, n, [1.0, v, v if v > 0 else None])
        for n, (m, v) in enumerate(values, 100 * arrival)
    ]


def applied(rows: Sequence[Row], now: int) -> State:
    state = LAYOUT.empty()
    LAYOUT.apply(state, rows, now)
    return state


def read(state: State, at: int) -> dict[str, Any]:
    return {k.removeprefix("Recent."): v for k, v in LAYOUT.read(state, at).items()}


def test_aggregates_of_one_measure_and_hop_share_their_partials() -> None:
    assert LAYOUT.measures == [
        "() where None",
        "(Event.value,) where None",
        "(Event.value,) where Event.value > 0",
    ]
    shared = [(0, "count"), (1, "sum"), (1, "count"), (1, "moments"), (1, "highest")]
    hop = microseconds(minutes(5))
    assert LAYOUT.slots == {hop: shared, 1: [(1, "last")], 0: [(1, "first"), (2, "lowest")]}


def test_a_window_begins_with_the_tile_that_its_start_snaps_to() -> None:
    state = applied(rows((4, 1.0), (5, 2.0), (9, 4.0)), 20 * MINUTE)
    assert read(state, 65 * MINUTE)["sum_1h"] == 6.0
    assert read(state, 70 * MINUTE - 1)["sum_1h"] == 6.0
    assert read(state, 70 * MINUTE)["sum_1h"] is None
    assert read(state, 20 * MINUTE)["count_1h"] == 3


def test_tiles_that_no_window_reaches_are_dropped() -> None:
    state = applied(rows((4, 1.0), (5, 2.0), (9, 4.0)), 20 * MINUTE)
    LAYOUT.apply(state, [], 128 * MINUTE)
    assert {hop: sorted(tiles) for hop, tiles in state.tiles.items()} == {
        5 * MINUTE: [5 * MINUTE],
        1: [],
        0: [0],
    }


def test_a_row_waits_beside_the_tiles_until_it_is_visible() -> None:
    state = applied(rows((4, 1.0)) + rows((5, 2.0), arrival=30), 20 * MINUTE)
    assert [row.event for row in state.waiting] == [5 * MINUTE]
    sums = [read(state, at)["sum_1h"] for at in (30 * MINUTE, 30 * MINUTE + 1)]
    assert sums == [1.0, 3.0]
    LAYOUT.apply(state, [], 31 * MINUTE)
    assert state.waiting == [] and read(state, 31 * MINUTE)["sum_1h"] == 3.0


def test_equal_values_have_no_deviation() -> None:
    found = read(applied(rows(*((m, 0.1) for m in range(9))), 20 * MINUTE), 20 * MINUTE)
    assert (found["spread.0"], found["spread.1"]) == (0.0, 0.1)


minute_rows = st.lists(st.tuples(st.integers(0, 30), st.integers(-9, 9).map(float)), max_size=12)


@given(minute_rows, st.integers(0, 12), st.integers(0, 40), st.integers(0, 40))
def test_states_of_parts_merge_to_the_state_of_all(
    values: list[tuple[int, float]], cut: int, arrival: int, now: int
) -> None:
    everything = rows(*values[:cut]) + rows(*values[cut:], arrival=arrival)
    state = applied(everything[:cut], now * MINUTE)
    LAYOUT.merge(state, applied(everything[cut:], now * MINUTE))
    whole = decode(encode(applied(everything, now * MINUTE)))
    for at in (now * MINUTE, 40 * MINUTE):
        assert rounded(read(state, at)) == rounded(read(whole, at))


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value and round(value, 9) for name, value in found.items()}
