"""Served against recomputed features: what counts as equal, and what is caught."""

from __future__ import annotations

from datetime import datetime

import numpy as np

import mainspring as ms
from mainspring.features.feature_set import FeatureSet, resolve
from mainspring.features.parity import Compared, compare


class Payment(ms.Source, url="payments.parquet"):
    payment_id: ms.Column[str] = ms.column(unique=True)
    card: ms.Column[str]
    amount: ms.Column[float]
    paid_at: ms.Column[datetime] = ms.event_time()


class Card(ms.FeatureView, key=Payment.card):
    payments = ms.count(window=ms.hours(1))
    spent = ms.sum(Payment.amount, window=ms.hours(1))
    trend = ms.mean(Payment.amount, window=ms.hours(1)) - ms.mean(Payment.amount)


def features() -> FeatureSet:
    return resolve([Card, Payment.card], Payment, "test", "")


def compared(**changed: np.ndarray) -> dict[str, Compared]:
    served = {
        "Card.payments": np.array([1.0, 2.0, 3.0]),
        "Card.spent": np.array([10.0, np.nan, 30.0]),
        "Card.trend": np.array([5.0, 0.0, -5.0]),
        "card": np.array(["a", "b", None], object),
    }
    return {c.name: c for c in compare(features(), served, {**served, **changed})}


def test_equal_values_do_not_differ() -> None:
    assert [c.differ for c in compared().values()] == [0, 0, 0, 0]


def test_counts_must_be_equal_to_the_bit() -> None:
    found = compared(**{"Card.payments": np.array([1.0, 2.0, np.nextafter(3.0, 4.0)])})
    assert found["Card.payments"].exact
    assert (found["Card.payments"].differ, found["Card.payments"].first) == (1, 2)


def test_float_sums_may_differ_in_the_last_bits() -> None:
    found = compared(**{"Card.spent": np.array([10.0 + 1e-12, np.nan, 30.0])})
    assert not found["Card.spent"].exact
    assert found["Card.spent"].differ == 0


def test_a_sum_that_is_off_is_caught() -> None:
    found = compared(**{"Card.spent": np.array([10.0 + 1e-6, np.nan, 30.0])})
    assert found["Card.spent"].differ == 1


def test_a_difference_near_zero_is_as_exact_as_what_it_is_made_of() -> None:
    found = compared(**{"Card.trend": np.array([5.0, 1e-13, -5.0])})
    assert found["Card.trend"].differ == 0


def test_null_on_one_side_is_caught() -> None:
    found = compared(**{"Card.spent": np.array([10.0, 20.0, 30.0])})
    assert (found["Card.spent"].differ, found["Card.spent"].worst) == (1, float("inf"))


def test_text_is_compared_as_it_is() -> None:
    assert compared(card=np.array(["a", "b", ""], object))["card"].differ == 1


def test_infinity_is_equal_to_itself_and_hides_nothing_else() -> None:
    infinite = np.array([np.inf, np.nan, 30.0])
    served = {"Card.payments": np.array([1.0, 2.0, 3.0]), "Card.spent": infinite}
    served |= {"Card.trend": np.zeros(3), "card": np.array(["a", "b", "c"], object)}
    off = {**served, "Card.spent": np.array([np.inf, np.nan, 31.0])}
    found = {c.name: c for c in compare(features(), served, served)}
    assert found["Card.spent"].differ == 0
    found = {c.name: c for c in compare(features(), served, off)}
    assert (found["Card.spent"].differ, found["Card.spent"].first) == (1, 2)
