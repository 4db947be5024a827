"""Drift on simulated streams: quiet where nothing changed, quick where it did."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mainspring.errors import InvalidDeclaration
from mainspring.monitoring.drift import (
    Counts,
    DriftSettings,
    Floats,
    Stream,
    Verdict,
    corrected_psi,
    judge,
    rank,
)
from mainspring.monitoring.profile import Profile

SETTINGS = DriftSettings()
WARM = 18 * 24
FEATURES = 10


def shares(mean: Floats, nulls: float = 0.0) -> Floats:
    """The shares of 20 normal quantile cells and NULL when the values move by `mean` sigma."""
    from scipy.special import ndtr, ndtri

    below = ndtr(ndtri(np.linspace(0, 1, 21)) - np.asarray(mean)[..., None])
    cells = np.diff(below, axis=-1) * (1 - nulls)
    return np.concatenate([cells, np.full((*cells.shape[:-1], 1), nulls)], axis=-1)


def stream(seed: int, mean: Floats, rows: int = 400) -> tuple[Counts, Profile]:
    """A reference from the warm-up hours, and hourly counts."""
    rng = np.random.default_rng(seed)
    hourly = shares(mean)
    return rng.multinomial(50_000, hourly[:WARM].mean(axis=0)), rng.multinomial(rows, hourly)


def pages_in_a_month(mean: Floats) -> Counter[str]:
    levels: Counter[str] = Counter()
    for seed in range(FEATURES):
        watched = Stream.measure(*stream(seed, mean), SETTINGS)
        levels.update(watched.verdict(hour, FEATURES).level for hour in range(WARM, WARM + 30 * 24))
    return levels


def after(hours: int, changed: Floats, seed: int = 0) -> Verdict:
    """The verdict after some hours in which the cells have the shares `changed`."""
    reference, history = stream(seed, np.zeros(WARM))
    new = np.random.default_rng(seed + 1).multinomial(400, changed, size=hours)
    return judge(reference, np.concatenate([history, new]), SETTINGS, FEATURES)


def test_a_stationary_month_of_ten_features_pages_at_most_once() -> None:
    assert pages_in_a_month(np.zeros(WARM + 30 * 24))["page"] <= 1


def test_days_and_nights_do_not_page() -> None:
    hours = np.arange(WARM + 30 * 24)
    rhythm = np.asarray(0.5 * np.sin(hours * 2 * np.pi / 24), dtype=np.float64)
    assert pages_in_a_month(rhythm)["page"] <= 1


def test_weekends_do_not_page() -> None:
    hours = np.arange(WARM + 14 * 24)
    watched = Stream.measure(*stream(0, np.where(hours // 24 % 7 >= 5, 0.5, 0.0)), SETTINGS)
    assert {watched.verdict(hour, FEATURES).level for hour in range(WARM, len(hours))} == {"none"}


def test_psi_without_change_is_zero_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    zipf = 1 / np.arange(1, 31)
    for share in (np.full(20, 1 / 20), zipf / zipf.sum()):
        psi = [
            corrected_psi(rng.multinomial(400, share, size=50), rng.multinomial(5000, share))
            for _ in range(40)
        ]
        assert abs(np.mean(psi)) < SETTINGS.effect / 10


def test_a_shift_of_a_third_of_sigma_is_paged_within_three_hours() -> None:
    shifted = shares(np.array(0.3))
    paged = [any(after(h, shifted, seed).level == "page" for h in (2, 3)) for seed in range(20)]
    assert sum(paged) >= 15


def test_a_burst_of_nulls_is_paged_at_once() -> None:
    verdict = after(1, shares(np.array(0.0), nulls=0.2))
    assert (verdict.level, verdict.urgent, verdict.window_hours) == ("page", True, 1)
    assert verdict.moved[0] == 20


def test_a_new_category_is_paged() -> None:
    rng = np.random.default_rng(0)
    usual, changed = [0.6, 0.4, 0.0, 0.0], [0.55, 0.4, 0.05, 0.0]
    history = np.concatenate(
        [rng.multinomial(400, usual, size=WARM), rng.multinomial(400, changed, size=2)]
    )
    verdict = judge(rng.multinomial(50_000, usual), history, SETTINGS, FEATURES)
    assert (verdict.level, verdict.moved[0]) == ("page", 2)


def test_a_small_shift_is_at_most_noticed() -> None:
    shifted = shares(np.array(0.03))
    assert {after(h, shifted).level for h in (1, 6, 24, 72)} <= {"none", "notice"}


def test_a_sure_but_small_shift_is_a_notice() -> None:
    verdict = after(48, shares(np.array(0.12)))
    assert verdict.level == "notice"
    assert verdict.reason.endswith("is no chance, but small")


def test_one_strange_hour_waits_for_a_second() -> None:
    shifted = shares(np.array(0.4))
    assert [after(h, shifted).level for h in (1, 2)] == ["notice", "page"]


def test_a_lasting_shift_becomes_usual() -> None:
    hours = 45 * 24
    reference, history = stream(0, np.where(np.arange(hours) < WARM, 0.0, 0.5))
    watched = Stream.measure(reference, history, SETTINGS)
    first, last = watched.verdict(WARM + 2, FEATURES), watched.verdict(hours - 1, FEATURES)
    assert (first.level, last.level) == ("page", "none")
    assert last.psi > 0.2 > 0.04 > last.excess


def test_an_old_incident_does_not_hide_a_new_one() -> None:
    mean = np.zeros(WARM + 3)
    mean[100:110], mean[WARM:] = 2.0, 0.5
    reference, history = stream(0, mean)
    assert judge(reference, history, SETTINGS, FEATURES).level == "page"


def test_a_quiet_hour_is_left_to_the_next_window() -> None:
    reference, history = stream(0, np.where(np.arange(WARM + 24) < WARM, 0.0, 0.5), rows=60)
    verdict = judge(reference, history, SETTINGS, FEATURES)
    assert (verdict.level, verdict.window_hours in (6, 24)) == ("page", True)


def test_young_history_is_judged_by_theory_alone() -> None:
    reference, history = stream(0, np.full(5 * 24, 0.5))
    reference = np.random.default_rng(0).multinomial(50_000, shares(np.array(0.0)))
    verdict = judge(reference, history, SETTINGS, FEATURES)
    assert (verdict.level, verdict.excess) == ("page", verdict.psi)


def test_no_rows_give_no_verdict() -> None:
    nothing = np.zeros((48, 3), dtype=np.int64)
    assert judge(np.array([500, 500, 0]), nothing, SETTINGS, 1).level == "none"
    assert "0 in training" in judge(np.zeros(3, np.int64), nothing + 500, SETTINGS, 1).reason


def test_features_are_ranked_by_importance_times_effect() -> None:
    mild, wild = (Verdict("page", False, e, e, 9.0, 0.0, 1, 400, "") for e in (0.1, 0.3))
    assert rank({"a": mild, "b": wild, "c": wild}, {"a": 0.9, "b": 0.2}) == ["a", "b", "c"]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidDeclaration, match="must be above 0"):
        DriftSettings(min_rows=0)
    with pytest.raises(InvalidDeclaration, match="more than half"):
        DriftSettings(hits=1)
