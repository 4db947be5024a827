from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import mainspring as ms
from mainspring import hours, minutes
from mainspring.features.kernel import FOREVER
from mainspring.features.packed import Packing
from mainspring.features.section import Section
from mainspring.features.tiles import Layout, States
from mainspring.windows import microseconds
from tests.features.histories import Event

MINUTE = microseconds(minutes(1))


class Recent(ms.FeatureView, key=Event.key):
    count_1h = ms.count(window=hours(1))
    sum_1h = ms.sum(Event.value, window=hours(1))
    spread = ms.std(Event.value, window=hours(1)) / ms.max(Event.value, window=hours(1))
    last_exact = ms.last(Event.value, window=minutes(9), hop=None)
    first_ever = ms.first(Event.value)
    least_positive = ms.min(Event.value, where=Event.value > 0)
    kinds = ms.count_distinct(Event.value, window=hours(1))
    two = ms.last_k(Event.value, 2, window=hours(1))


LAYOUT = Layout.of(Recent)


def rows(*values: tuple[int, float], arrival: int = 0, owner: int = 0) -> Section:
    """Rows by event time, in minutes, and value."""
    event = np.array([m * MINUTE for m, _ in values], np.int64)
    value = np.array([v for _, v in values], np.float64)
    return LAYOUT.rows(
        owner=np.full(len(values), owner),
        event=event,
        arrival=np.full(len(values), arrival * MINUTE),
        offset=np.arange(100 * arrival, 100 * arrival + len(values)),
        values=[np.ones(len(values)), value, np.where(value > 0, value, np.nan)],
    )


def applied(some: Section, now: int) -> States:
    return LAYOUT.apply(LAYOUT.empty(1), some, now)


def read(states: States, at: int) -> dict[str, Any]:
    words = LAYOUT.read(states, np.full(states.owners, at)).view(np.float64)[0]
    found = {r.aggregate.name: words[r.at : r.at + r.width].tolist() for r in LAYOUT.readings}
    return {name: [None if v != v else v for v in values] for name, values in found.items()}


def one(states: States, name: str, at: int) -> Any:
    (value,) = read(states, at)[name]
    return value


def tiles(states: States, hop: int) -> list[int]:
    return [int(start) for start in states.tiles[hop].words[:, 0]]


def test_aggregates_of_one_measure_and_hop_share_their_partials() -> None:
    assert LAYOUT.measures == [
        "() where None",
        "(Event.value,) where None",
        "(Event.value,) where Event.value > 0",
    ]
    found = {h: [(s.measure, s.name) for s in slots] for h, slots in LAYOUT.slots.items()}
    shared = [(0, "count"), (1, "count"), (1, "sum"), (1, "moments"), (1, "highest")]
    assert found == {
        5 * MINUTE: [*shared, (1, "last_k")],
        1: [(1, "last")],
        0: [(1, "first"), (2, "count"), (2, "lowest")],
    }


def test_a_window_begins_with_the_tile_that_its_start_snaps_to() -> None:
    state = applied(rows((4, 1.0), (5, 2.0), (9, 4.0)), 20 * MINUTE)
    assert one(state, "sum_1h", 65 * MINUTE) == 6.0
    assert one(state, "sum_1h", 70 * MINUTE - 1) == 6.0
    assert one(state, "sum_1h", 70 * MINUTE) is None
    assert one(state, "count_1h", 20 * MINUTE) == 3
    assert read(state, 20 * MINUTE)["two"] == [4.0, 2.0]


def test_tiles_that_no_window_reaches_are_dropped() -> None:
    state = applied(rows((4, 1.0), (5, 2.0), (9, 4.0)), 20 * MINUTE)
    state = LAYOUT.apply(state, rows(), 65 * MINUTE)
    assert {hop: tiles(state, hop) for hop in state.tiles} == {
        5 * MINUTE: [5 * MINUTE],
        1: [],
        0: [0],
    }
    assert set(state.bags.words[:, 1].tolist()) == {5 * MINUTE}


def test_a_row_waits_beside_the_tiles_until_it_is_visible() -> None:
    some = rows((4, 1.0)).and_(rows((5, 2.0), arrival=30))
    state = applied(some, 20 * MINUTE)
    assert state.rows.words[:, 0].tolist() == [5 * MINUTE]
    assert [one(state, "sum_1h", at) for at in (30 * MINUTE, 30 * MINUTE + 1)] == [1.0, 3.0]
    state = LAYOUT.apply(state, rows(), 31 * MINUTE)
    assert not len(state.rows.owner) and one(state, "sum_1h", 31 * MINUTE) == 3.0


def test_equal_values_have_no_deviation() -> None:
    found = read(applied(rows(*((m, 0.1) for m in range(9))), 20 * MINUTE), 20 * MINUTE)
    assert (found["spread.0"], found["spread.1"]) == ([0.0], [0.1])


minute_rows = st.lists(st.tuples(st.integers(0, 30), st.integers(-9, 9).map(float)), max_size=12)


@given(minute_rows, st.integers(0, 12), st.integers(0, 40), st.integers(0, 40))
def test_states_of_parts_merge_to_the_state_of_all(
    values: list[tuple[int, float]], cut: int, arrival: int, now: int
) -> None:
    early, late = rows(*values[:cut]), rows(*values[cut:], arrival=arrival)
    parts = applied(early, now * MINUTE), applied(late, now * MINUTE)
    whole = applied(early.and_(late), now * MINUTE)
    for at in (now * MINUTE, 40 * MINUTE):
        assert rounded(read(LAYOUT.merge(*parts), at)) == rounded(read(whole, at))


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: [v and round(v, 9) for v in values] for name, values in found.items()}


@given(minute_rows, st.integers(0, 90), st.integers(0, 40))
def test_values_hold_until_the_time_that_is_said_with_them(
    values: list[tuple[int, float]], arrival: int, now: int
) -> None:
    states = applied(rows(*values, arrival=arrival), now * MINUTE)
    at = now * MINUTE
    for _ in range(30):
        found, until = LAYOUT.read_ahead(states, np.array([at]))
        assert at <= until[0]
        end = min(int(until[0]), at + 10**10)
        for time in {at, (at + end) // 2, end}:
            assert np.array_equal(LAYOUT.read(states, np.array([time])), found)
        if until[0] == FOREVER:
            return
        at = int(until[0]) + 1
    raise AssertionError("values that change for ever")


@given(st.lists(minute_rows, min_size=1, max_size=5), st.integers(0, 40))
def test_states_come_back_from_their_bytes(
    keys: Sequence[list[tuple[int, float]]], now: int
) -> None:
    packing, some = Packing.of(LAYOUT), rows()
    for owner, values in enumerate(keys):
        some = some.and_(rows(*values, arrival=20, owner=owner))
    states = LAYOUT.apply(LAYOUT.empty(len(keys)), some, now * MINUTE)
    found, until = LAYOUT.read_ahead(states, np.full(len(keys), now * MINUTE))
    packed = packing.pack(states, found, until)
    again = packing.unpack(packed)
    for section, back in zip(
        [*states.tiles.values(), states.rows, states.bags],
        [*again.tiles.values(), again.rows, again.bags],
        strict=True,
    ):
        assert np.array_equal(section.owner, back.owner)
        assert np.array_equal(section.words, back.words)
    assert [packing.until(data) for data in packed] == until.tolist()


def test_a_key_without_rows_has_nothing_and_for_ever() -> None:
    values, stale = Packing.of(LAYOUT).values([None, None], 10**15)
    assert len(stale) == 0
    assert np.array_equal(values, LAYOUT.read(LAYOUT.empty(2), np.zeros(2, np.int64)))
