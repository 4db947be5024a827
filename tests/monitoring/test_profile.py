"""Cells and profiles: fixed by the reference, merged by adding."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.monitoring.profile import (
    CATEGORIES,
    NULL_TIME,
    NUMERIC_CELLS,
    Cells,
    Vector,
    profile,
)

NUMBERS = st.floats() | st.sampled_from([0.0, 1.0])
TEXTS = st.sampled_from(["a", "b", "c", None])
TIMES = st.integers(-50, 150)


def vector(values: list[float | str | None]) -> Vector:
    text = any(value is None or isinstance(value, str) for value in values)
    return np.array(values, dtype=object if text else np.float64)


@given(
    st.lists(st.tuples(NUMBERS, TIMES), min_size=1) | st.lists(st.tuples(TEXTS, TIMES), min_size=1),
    st.integers(0, 50),
)
def test_adding_profiles_equals_profiling_the_union(
    rows: list[tuple[float | str | None, int]], cut: int
) -> None:
    values = vector([value for value, _ in rows])
    at = np.array([time for _, time in rows], dtype=np.int64)
    cells = Cells.fit(values[: cut + 1])

    def counted(part: slice) -> Vector:
        return profile(values[part], at[part], cells, 10, -2, 14)

    whole = counted(slice(None))
    assert (counted(slice(cut)) + counted(slice(cut, None))).tolist() == whole.tolist()
    assert whole.sum() == ((at >= -20) & (at < 120)).sum()


@given(st.lists(NUMBERS))
def test_numeric_cells_are_few_and_count_every_value(values: list[float]) -> None:
    cells = Cells.fit(np.array(values, dtype=np.float64))
    assert cells.size == len(cells.labels) <= NUMERIC_CELLS + 1
    assert cells.count(np.array(values, dtype=np.float64)).sum() == len(values)
    assert Cells.from_json(json.loads(json.dumps(cells.to_json()))) == cells


def test_quantile_cells_hold_equal_shares_of_the_reference() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    cells = Cells.fit(values)
    assert cells.count(values).tolist() == [1000] * 20 + [0]


def test_a_constant_column_tells_less_equal_and_more_apart() -> None:
    cells = Cells.fit(np.full(100, 7.0))
    assert cells.count(np.array([6.9, 7.0, 7.0, 7.1, np.nan])).tolist() == [1, 2, 1, 1]


def test_a_frequent_value_has_a_cell_of_its_own() -> None:
    cells = Cells.fit(np.concatenate([np.zeros(600), np.linspace(-1, 1, 400)]))
    counts = cells.count(np.array([0.0, -1e-9, 1e-9]))
    assert counts[cells.labels.index("= 0")] == 1


def test_a_column_of_nulls_sees_any_value_as_new() -> None:
    cells = Cells.fit(np.full(5, np.nan))
    assert cells.count(np.array([1.0, np.nan])).tolist() == [1, 1]


def test_infinite_values_are_counted_in_the_outer_cells() -> None:
    cells = Cells.fit(np.array([1.0, 2.0, np.inf, -np.inf]))
    counts = cells.count(np.array([np.inf, np.inf, -np.inf]))
    assert (counts[0], counts[-2], counts[-1]) == (1, 2, 0)


def test_times_are_counted_with_their_null() -> None:
    values = np.array([NULL_TIME, 10, 20], dtype=np.int64)
    assert Cells.fit(values).count(values)[-1] == 1


def test_the_rarest_categories_are_other() -> None:
    names = [f"c{i:02d}" for i in range(40) for _ in range(50 - i)]
    cells = Cells.fit(np.array(names, dtype=object))
    assert cells.size == CATEGORIES + 2
    assert cells.count(np.array(["c00", "c39", "new", None], dtype=object)).tolist()[-2:] == [2, 1]
    assert Cells.from_json(json.loads(json.dumps(cells.to_json()))) == cells


def test_cells_do_not_change() -> None:
    with pytest.raises(AttributeError, match="edges"):
        Cells().edges = (1.0,)  # type: ignore[misc]


def test_rows_without_a_time_are_left_out() -> None:
    at = np.array([NULL_TIME, 5], dtype=np.int64)
    assert profile(np.array([1.0, 1.0]), at, Cells(), 10, 0, 1).tolist() == [[1, 0]]
