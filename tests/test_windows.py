from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidDeclaration
from mainspring.windows import Window, days, hours, microseconds, minutes, seconds


@pytest.mark.parametrize(
    ("size", "hop"),
    [
        (hours(1), minutes(5)),
        (days(1), hours(1)),
        (days(30), days(1)),
        (days(12), days(1)),
        (days(12) - seconds(1), hours(1)),
        (minutes(12), minutes(1)),
        (minutes(12) - seconds(1), timedelta(microseconds=1)),
        (seconds(1), timedelta(microseconds=1)),
    ],
)
def test_default_hop_is_the_largest_that_fits_twelve_times(size: timedelta, hop: timedelta) -> None:
    assert Window.of(size) == Window(microseconds(size), microseconds(hop))


def test_hop_none_is_the_exact_sliding_window() -> None:
    assert Window.of(hours(1), hop=None) == Window(size=3_600_000_000, hop=1)
    assert Window.of(hours(1), hop=hours(1)).hop == 3_600_000_000


@pytest.mark.parametrize("hop", [None, "default"])
def test_no_window_is_all_history(hop: Any) -> None:
    window = Window.of(None, hop)
    assert window == Window(size=None, hop=0)
    assert window.start(0) == np.iinfo(np.int64).min


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((60,), "window: 60 is not a duration"),
        ((1.5,), "window: 1.5 is not a duration"),
        ((hours(1), 5), "hop: 5 is not a duration"),
        ((hours(0),), "window: 0 microseconds"),
        ((-hours(1),), "window: -3600000000 microseconds"),
        ((timedelta.max,), "is not between 1 and"),
        ((minutes(5), minutes(6)), "a hop of 360000000 us is not between 1 us and the window"),
        ((minutes(5), minutes(0)), "a hop of 0 us"),
        ((None, minutes(5)), "no start to snap"),
    ],
)
def test_what_cannot_be_a_window_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        Window.of(*arguments)


def test_refusal_says_how_to_write_the_unit() -> None:
    with pytest.raises(InvalidDeclaration, match=r"fix +say the unit, as in window=hours\(1\)"):
        Window.of(3600)  # type: ignore[arg-type]


@given(
    at=st.lists(st.integers(-(2**61), 2**61), max_size=5),
    size=st.integers(1, 2**62),
    share=st.floats(0, 1),
)
def test_start_of_an_array_is_the_start_of_each(at: list[int], size: int, share: float) -> None:
    for window in (Window(size, min(size, 1 + int(size * share))), Window(None, 0)):
        starts = window.start(np.array(at, dtype=np.int64))
        assert starts.dtype == np.int64
        assert starts.tolist() == [window.start(t) for t in at]


def test_start_snaps_down_to_the_grid_of_the_epoch_before_and_after_it() -> None:
    window = Window(size=60, hop=20)
    assert [window.start(t) for t in (60, 79, 80, 59, 0, -1)] == [0, 0, 20, -20, -60, -80]


def test_windows_are_values() -> None:
    window = Window.of(hours(1))
    assert pickle.loads(pickle.dumps(window)) == window
    assert {window: "shared"}[Window.of(minutes(60))] == "shared"


def test_durations_are_exact_to_the_microsecond() -> None:
    assert microseconds(days(1)) == 24 * microseconds(hours(1)) == 86_400_000_000
    assert microseconds(minutes(1) + seconds(1e-6)) == 60_000_001
