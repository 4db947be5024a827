from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.errors import UnknownName
from mainspring.features import kernel
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.windows import Window, days, hours, microseconds, minutes
from tests.features import oracle
from tests.features.oracle import Row

EXACT = ("count", "min", "max", "first", "last")
ROUNDED = ("sum", "mean", "std")
ALL_HISTORY = Window(size=None, hop=0)


def part(keys: Sequence[list[Row]]) -> tuple[Events, NDArray[Any]]:
    """The rows of every key as one part of the kernel, and their values."""
    rows = [row for key in keys for row in sorted(key, key=lambda r: (r[0], r[2]))]
    starts = np.cumsum([0, *map(len, keys)])
    event = np.array([row[0] for row in rows], dtype=np.int64)
    arrival = np.array([row[1] for row in rows], dtype=np.int64)
    text = any(isinstance(row[3], str) for row in rows)
    values = np.array([row[3] for row in rows], dtype=object if text else np.float64)
    return Events(starts, event, np.maximum(event, arrival)), values


def requests(asked: Sequence[tuple[int, int]]) -> Requests:
    pairs = np.array(asked, dtype=np.int64).reshape(-1, 2)
    return Requests(key=pairs[:, 0], at=pairs[:, 1])


def ask(kind: str, rows: list[Row], t: int, window: Window) -> Any:
    events, values = part([rows])
    return compute(events, requests([(0, t)]), [Aggregate(kind, values, window)])[0][0]


def check(keys: list[list[Row]], asked: list[tuple[int, int]], windows: list[Window]) -> None:
    """Every kind and window at every request is what the oracle says."""
    events, values = part(keys)
    aggregates = [Aggregate(kind, values, w) for kind in EXACT + ROUNDED for w in windows]
    answers = compute(events, requests(asked), aggregates)
    for aggregate, answer in zip(aggregates, answers, strict=True):
        assert answer.dtype == np.float64
        for (key, t), got in zip(asked, answer, strict=True):
            rows = keys[key] if key >= 0 else []
            assert_equal(aggregate, got, rows, t)


def assert_equal(aggregate: Aggregate, got: float, rows: list[Row], t: int) -> None:
    size, hop = aggregate.window.size, aggregate.window.hop
    want = oracle.aggregate(aggregate.kind, rows, t, size, hop)
    if want is None:
        assert math.isnan(got)
    elif aggregate.kind in EXACT:
        assert np.float64(got).tobytes() == np.float64(want).tobytes()
    else:
        scale = math.fsum(map(abs, oracle.seen(rows, t, size, hop)))
        assert abs(got - want) <= 1e-9 * scale + 1e-150  # below it squares underflow


numbers = st.one_of(
    st.sampled_from([None, math.nan, 0.0, -0.0, 1.0, 1e12, -1e12, 1e-3]),
    st.floats(-1e12, 1e12),
    st.integers(-5, 5).map(float),
)
grid_windows = st.one_of(
    st.just(ALL_HISTORY),
    st.integers(1, 40).flatmap(lambda n: st.builds(Window, st.just(n), st.integers(1, n))),
)


def histories(
    times: st.SearchStrategy[int], delays: st.SearchStrategy[int]
) -> st.SearchStrategy[list[Row]]:
    """Rows of one key with the offsets of their order, arriving late by `delays`."""
    rows = st.lists(st.tuples(times, delays, numbers), max_size=24)
    return rows.map(lambda rs: [(t, t + d, i, v) for i, (t, d, v) in enumerate(rs)])


# Times on a grid of 60 make ties, rows exactly at t and rows on the edges of window and hop common.
ticks = st.integers(-30, 30)
prompt = histories(ticks, st.just(0))
delayed = histories(ticks, st.just(7))
late = histories(ticks, st.one_of(st.just(0), st.integers(-5, 60)))


@given(
    keys=st.lists(st.one_of(prompt, delayed, late), min_size=1, max_size=4),
    asked=st.lists(st.tuples(st.integers(-1, 0), ticks), max_size=12),
    windows=st.lists(grid_windows, min_size=1, max_size=3),
)
def test_every_aggregate_equals_the_oracle(
    keys: list[list[Row]], asked: list[tuple[int, int]], windows: list[Window]
) -> None:
    everywhere = [(key, t) for _, t in asked for key in range(-1, len(keys))]
    check(keys, asked + everywhere, windows)


REAL_WINDOWS = [Window.of(hours(1)), Window.of(days(1)), Window.of(minutes(5)), ALL_HISTORY]
near_now = st.integers(0, microseconds(days(3))).map(lambda us: 1_767_225_600_000_000 + us)
from_seconds_to_days = st.one_of(
    *(st.integers(0, microseconds(d)) for d in (minutes(1), hours(1), days(1), days(9)))
)


@given(
    rows=histories(near_now, from_seconds_to_days),
    times=st.lists(near_now, min_size=1, max_size=8),
)
def test_rows_late_by_seconds_and_by_days_equal_the_oracle(
    rows: list[Row], times: list[int]
) -> None:
    check([[], rows], [(1, t) for t in times], REAL_WINDOWS)


@given(st.one_of(prompt, late), ticks, grid_windows)
def test_count_first_and_last_of_text_equal_the_oracle(
    rows: list[Row], t: int, window: Window
) -> None:
    texts: list[Row] = [(e, a, i, None if v is None else str(v)) for e, a, i, v in rows]
    events, _ = part([texts])
    values = np.array([row[3] for row in sorted(texts, key=lambda r: (r[0], r[2]))], dtype=object)
    kinds = ("count", "first", "last")
    answers = compute(events, requests([(0, t)]), [Aggregate(k, values, window) for k in kinds])
    assert [answer[0] for answer in answers] == [
        oracle.aggregate(k, texts, t, window.size, window.hop) for k in kinds
    ]


def random_rows(n: int, late_share: float) -> list[Row]:
    rng = np.random.default_rng(7)
    event = rng.integers(0, 10 * n, n)
    arrival = event + (rng.random(n) < late_share) * rng.integers(0, 4 * n, n)
    value = rng.normal(size=n) * rng.choice([1e12, 1e-3, 1.0], n)
    value[rng.random(n) < 0.1] = np.nan
    return list(zip(event.tolist(), arrival.tolist(), range(n), value.tolist(), strict=True))


@pytest.mark.parametrize("late_share", [0.0, 0.3])
def test_one_key_with_many_rows_equals_the_oracle(late_share: float) -> None:
    rows = random_rows(1500, late_share)
    check([rows], [(0, t) for t in range(-10, 16_000, 1333)], [Window(4000, 7), ALL_HISTORY])


def test_many_keys_with_one_row_equal_the_oracle() -> None:
    keys = [[(k % 7, k % 5, 0, float(k))] for k in range(300)]
    check(keys, [(k, t) for k in range(-1, 300, 3) for t in (1, 6, 9)], [Window(4, 1)])


def test_unsettled_rows_are_gathered_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_GATHERED", 10)
    check([random_rows(200, 0.5)], [(0, t) for t in range(0, 2500, 50)], [Window(900, 30)])


def test_window_excludes_the_event_at_prediction_time() -> None:
    rows: list[Row] = [(10, 10, 0, 1.0), (20, 20, 1, 2.0)]
    assert ask("count", rows, 20, ALL_HISTORY) == 1
    assert ask("count", rows, 21, ALL_HISTORY) == 2


def test_window_includes_the_event_at_its_snapped_start() -> None:
    rows: list[Row] = [(9, 9, 0, 1.0), (10, 10, 1, 2.0)]
    assert ask("sum", rows, 25, Window(size=12, hop=5)) == 2.0
    assert ask("count", rows, 25, Window(size=12, hop=1)) == 0


def test_late_row_counts_from_just_after_its_arrival() -> None:
    rows: list[Row] = [(10, 50, 0, 1.0), (20, 20, 1, 2.0)]
    assert [ask("sum", rows, t, ALL_HISTORY) for t in (21, 50, 51)] == [2.0, 2.0, 3.0]
    assert [ask("first", rows, t, ALL_HISTORY) for t in (50, 51)] == [2.0, 1.0]


def test_ties_in_event_time_are_ordered_by_offset() -> None:
    rows: list[Row] = [(10, 10, 1, "second"), (10, 10, 0, "first"), (10, 10, 2, None)]
    assert ask("first", rows, 11, ALL_HISTORY) == "first"
    assert ask("last", rows, 11, ALL_HISTORY) == "second"


def test_empty_window_is_null_and_zero_for_counts() -> None:
    rows: list[Row] = [(10, 10, 0, math.nan)]
    assert ask("count", rows, 20, ALL_HISTORY) == 0
    assert all(math.isnan(ask(k, rows, 20, ALL_HISTORY)) for k in ("sum", "min", "std", "last"))


def test_standard_deviation_of_equal_values_is_exactly_zero() -> None:
    rows: list[Row] = [(i, i, i, 0.1) for i in range(9)]
    assert ask("std", rows, 9, ALL_HISTORY) == 0.0
    assert math.isnan(ask("std", rows, 1, ALL_HISTORY))


def test_huge_and_infinite_neighbours_cost_a_window_nothing() -> None:
    small: list[Row] = [(10 + i, 10 + i, i, 1e-3 * i) for i in range(4)]
    alone = [ask(k, small, 14, Window(4, 1)) for k in ROUNDED]
    for neighbour in (1e300, math.inf, -math.inf):
        rows: list[Row] = [(9, 9, 0, neighbour), *small, (15, 15, 9, neighbour)]
        assert [ask(k, rows, 14, Window(4, 1)) for k in ROUNDED] == alone
        assert ask("sum", rows, 14, ALL_HISTORY) == neighbour


def test_float_sums_do_not_depend_on_the_other_keys_of_the_part() -> None:
    keys = [random_rows(n, 0.05) for n in (400, 101, 64)]
    times = [(0, t) for t in range(0, 1000, 10)]
    windows = [Window(250, 10), ALL_HISTORY]

    def answers(keys: list[list[Row]], number: int) -> list[bytes]:
        events, values = part(keys)
        aggregates = [Aggregate(kind, values, w) for kind in ROUNDED for w in windows]
        asked = requests([(number, t) for _, t in times])
        return [answer.tobytes() for answer in compute(events, asked, aggregates)]

    assert answers(keys, 1) == answers([keys[1]], 0)


@pytest.mark.parametrize("keys", [[], [[]], [[], []]])
def test_parts_without_rows_give_nulls(keys: list[list[Row]]) -> None:
    events, values = part(keys)
    asked = requests([(-1, 5), (len(keys) - 1, 5)])
    count, first = compute(
        events, asked, [Aggregate(k, values, ALL_HISTORY) for k in ("count", "first")]
    )
    assert count.tolist() == [0, 0]
    assert np.isnan(first).all()


def test_no_requests_and_no_aggregates_give_nothing() -> None:
    events, values = part([[(1, 1, 0, 1.0), (2, 9, 1, 1.0), (3, 3, 2, 1.0)]])
    everything = [Aggregate(kind, values, ALL_HISTORY) for kind in EXACT + ROUNDED]
    assert [len(answer) for answer in compute(events, requests([]), everything)] == [0] * 8
    assert compute(events, requests([(0, 5)]), []) == []


def test_unknown_kind_of_aggregate_is_refused() -> None:
    events, values = part([[]])
    with pytest.raises(UnknownName, match="did you mean 'mean'"):
        compute(events, requests([]), [Aggregate("maen", values, ALL_HISTORY)])
