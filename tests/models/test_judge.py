"""Gates: what a new version is compared with, and what they say."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

import mainspring as ms
from mainspring import Column
from mainspring.models.evaluate import Floats
from mainspring.models.gate import Gate
from mainspring.models.judge import Opponents, Verdict, best, judge, scores
from mainspring.models.metrics import Metric


class Payment(ms.Source, url="payments.parquet"):
    amount: Column[float]
    paid_at: Column[datetime] = ms.event_time()


RULE = ms.Rule("large", Payment.amount > 100)


def rows(count: int = 2000, seed: int = 0) -> tuple[Floats, Floats]:
    """Outcomes, and the probabilities that they came with."""
    random = np.random.default_rng(seed)
    truth = random.uniform(0.05, 0.95, count)
    return (random.random(count) < truth).astype(np.float64), truth


def verdict(gate: Gate, p: Floats, opponents: Opponents) -> Verdict:
    y, _ = rows(len(p))
    (found,) = judge([gate], y, p, opponents, seed=0)
    return found


Y, TRUTH = rows()
HALF = np.full(len(Y), 0.5)
BLURRED = 0.5 + (TRUTH - 0.5) * 0.8
NOTHING = Opponents({"constant": HALF}, {}, {})


def test_a_better_version_passes_with_an_interval_on_its_side() -> None:
    found = verdict(ms.beats("champion", ms.log_loss), TRUTH, Opponents({}, {3: BLURRED}, {}))
    assert found.passed
    assert found.low is not None and found.high is not None and found.other is not None
    assert found.low < found.score - found.other < found.high < 0
    assert found.reason.endswith("of the champion, v3")
    assert found.to_json()["passed"] is True


@pytest.mark.parametrize("metric", [ms.log_loss, ms.roc_auc])
def test_an_equal_version_does_not_pass(metric: Metric) -> None:
    opponents = Opponents({}, {1: TRUTH.copy()}, {})
    assert not verdict(ms.beats("champion", metric), TRUTH, opponents).passed
    assert not verdict(ms.beats("champion", metric), BLURRED, Opponents({}, {1: TRUTH}, {})).passed


def test_by_asks_for_a_margin() -> None:
    opponents = Opponents({}, {1: BLURRED}, {})
    gain = -verdict(ms.beats("champion", ms.log_loss), TRUTH, opponents).score
    gain += verdict(ms.beats("champion", ms.log_loss), BLURRED, opponents).score
    assert verdict(ms.beats("champion", ms.log_loss, by=gain * 0.9), TRUTH, opponents).passed
    assert not verdict(ms.beats("champion", ms.log_loss, by=gain * 1.1), TRUTH, opponents).passed


def test_a_margin_below_zero_lets_a_version_be_a_little_worse() -> None:
    opponents = Opponents({}, {1: TRUTH}, {})
    assert verdict(ms.beats("champion", ms.log_loss, by=-0.1), BLURRED, opponents).passed
    assert not verdict(ms.beats("champion", ms.log_loss, by=-0.0001), HALF, opponents).passed


def test_the_first_version_has_no_champion_to_beat() -> None:
    found = verdict(ms.beats("champion", ms.log_loss), HALF, NOTHING)
    assert (found.passed, found.other) == (True, None)
    assert found.reason == "there is no champion yet"


def test_a_champion_that_cannot_be_judged_is_not_beaten() -> None:
    found = verdict(ms.beats("champion", ms.log_loss), TRUTH, Opponents({}, {}, {}, unfit="it is"))
    assert (found.passed, found.reason) == (False, "it is")


def test_of_several_champions_the_best_is_to_be_beaten() -> None:
    opponents = Opponents({}, {1: HALF, 2: TRUTH}, {})
    found = verdict(ms.beats("champion", ms.log_loss), BLURRED, opponents)
    assert not found.passed
    assert found.reason.endswith("of the champion, v2")


def test_the_baseline_is_the_best_rung_in_the_metric() -> None:
    ladder = {"constant": HALF, "linear": BLURRED, "tree": 1 - TRUTH}
    found = verdict(ms.beats("baseline", ms.roc_auc), TRUTH, Opponents(ladder, {}, {}))
    assert not found.passed  # the same order, so the same area
    assert found.reason.endswith("of the linear model")
    assert best(ms.log_loss, Y, {"a": HALF, "b": HALF}) == "a"


def test_a_rule_is_beaten_where_it_says_something() -> None:
    says = np.where(np.arange(len(Y)) < 1000, (TRUTH > 0.5).astype(np.float64), np.nan)
    opponents = Opponents({}, {}, {"large": says})
    found = verdict(ms.beats(RULE, ms.brier), TRUTH, opponents)
    assert found.passed
    assert found.score == pytest.approx(np.mean((Y - TRUTH)[:1000] ** 2))
    silent = Opponents({}, {}, {"large": np.full(len(Y), np.nan)})
    assert not verdict(ms.beats(RULE, ms.brier), TRUTH, silent).passed


def test_every_metric_of_the_output_has_its_interval() -> None:
    found = scores("probability", Y, TRUTH, seed=1)
    assert found.keys() == {
        *("log_loss", "roc_auc", "average_precision", "brier", "accuracy", "calibration_error")
    }
    assert all(m["low"] <= m["value"] <= m["high"] for n, m in found.items() if "cal" not in n)
    assert found["calibration_error"]["low"] < found["calibration_error"]["high"]
    assert scores("number", Y, TRUTH, seed=1).keys() == {"mae", "rmse", "r2"}
    assert scores("number", Y, TRUTH, seed=1) == scores("number", Y, TRUTH, seed=1)
