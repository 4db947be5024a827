"""Reasons to train: each trigger for its own, and only then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import mainspring as ms
from mainspring import days, hours
from mainspring.errors import InvalidDeclaration
from mainspring.models.metrics import Metric
from mainspring.models.registry import Role, assign
from mainspring.retraining.past import Past
from mainspring.retraining.reason import Reasons
from mainspring.retraining.trigger import Retraining, Trigger
from mainspring.sources.home import Home
from mainspring.stores.base import Transaction
from tests import small
from tests.small import BEGIN, DAY, HOUR

RISK = small.model()
PAY = ms.Endpoint("pay", RISK, rollout=small.CANARY)
CARDS = ms.Monitor("cards", small.Card, ms.drift(), every=days(1))
T = BEGIN + 20 * DAY
"""When the last training was."""


def asked(
    home: Home,
    when: Trigger | Sequence[Trigger],
    now: int,
    endpoints: Sequence[ms.Endpoint] = (PAY,),
) -> str | None:
    retraining = Retraining(RISK, when=[when] if not isinstance(when, Sequence) else when)
    return Reasons(Past(home), endpoints).to_train(retraining, now)


def write(home: Home, *effects: Callable[[Transaction], object]) -> None:
    with home.metadata.begin() as transaction:
        for effect in effects:
            effect(transaction)


def cursor(name: str, at: int) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.upsert("cursor", {"name": name}, value=at)


def role(name: Role, number: int, at: int) -> Callable[[Transaction], None]:
    return lambda transaction: assign(transaction, "pay", name, number, at)


def version(number: int, **metrics: float) -> Callable[[Transaction], None]:
    values = {name: {"value": value} for name, value in metrics.items()}
    given = {"sha256": "", "rows_hash": "", "folder": "", "gates": [], "ladder": {}, "at": T}
    return lambda transaction: transaction.insert(
        "version", model="risk", number=number, metrics=values, **given
    )


def measured(at: int, value: float | None, rows: int = 200, metric: str = "log_loss") -> Any:
    key = {"series": f"pay/{metric}", "at": at, "variant": "served"}
    return lambda transaction: transaction.upsert("measurement", key, value=value, rows=rows)


def three_days(since: int, value: float, rows: int = 300, metric: str = "log_loss") -> Any:
    """Three measured days with so many answers altogether."""
    days = [measured(since + n * DAY, value, rows // 3, metric) for n in range(3)]
    return lambda transaction: [day(transaction) for day in days]


def incident(number: int, at: int, monitor: str = "cards") -> Callable[[Transaction], None]:
    given = {"level": "page", "subject": "Card.mean_7d", "evidence": {}}
    return lambda transaction: transaction.insert(
        "incident", number=number, monitor=monitor, opened_at=at, closed_at=None, **given
    )


def trained(home: Home, *more: Callable[[Transaction], object], at: int = T) -> None:
    """A training long ago, whose version is champion."""
    write(home, cursor("trained/risk", at), role("champion", 1, at), *more)


def test_what_was_never_trained_is_trained(home: Home) -> None:
    assert asked(home, [], T) == "first training"


def test_a_training_that_could_not_be_is_tried_again_a_day_later(home: Home) -> None:
    write(home, cursor("tried/risk", T))
    assert asked(home, [], T + DAY - 1) is None
    assert asked(home, [], T + DAY) == "first training"


def test_until_a_version_meets_its_gates_there_is_a_try_a_day(home: Home) -> None:
    write(home, cursor("trained/risk", T))
    assert asked(home, [], T + DAY - 1) is None
    assert asked(home, [], T + DAY) == "no version has met its gates yet"
    assert asked(home, [], T + DAY, endpoints=[]) is None


def test_a_schedule_asks_when_its_period_has_passed(home: Home) -> None:
    trained(home)
    assert asked(home, ms.every(days(7)), T + 7 * DAY - 1) is None
    assert asked(home, ms.every(days(7)), T + 7 * DAY) == "scheduled every 7 days"
    assert asked(home, ms.every(hours(6)), T + 6 * HOUR) == "scheduled every 6:00:00"


@pytest.mark.parametrize("on_its_way", ["shadow", "canary"])
def test_while_a_version_is_on_its_way_no_other_is_trained(home: Home, on_its_way: Role) -> None:
    trained(home, role(on_its_way, 2, T))
    assert asked(home, ms.every(days(1)), T + 9 * DAY) is None
    write(home, lambda transaction: transaction.delete("alias", subject="pay", role=on_its_way))
    assert asked(home, ms.every(days(1)), T + 9 * DAY) is not None


def test_a_drift_incident_asks_once(home: Home) -> None:
    trained(home, incident(1, T), incident(2, T + HOUR, monitor="another"))
    assert asked(home, ms.drifted(CARDS), T + 2 * HOUR) is None
    write(home, incident(3, T + HOUR))
    assert asked(home, ms.drifted(CARDS), T + 2 * HOUR) == "drift: Card.mean_7d in cards"
    write(home, cursor("trained/risk", T + 2 * HOUR))
    assert asked(home, ms.drifted(CARDS), T + 9 * DAY) is None


def test_an_incident_while_no_training_could_be_is_not_forgotten(home: Home) -> None:
    trained(home, incident(1, T + HOUR), cursor("tried/risk", T + HOUR))
    assert asked(home, ms.drifted(CARDS), T + 2 * HOUR) is None
    assert asked(home, ms.drifted(CARDS), T + 2 * DAY) is not None


def worse(by: float = 0.05, metric: Metric = ms.log_loss) -> Trigger:
    return ms.worse(PAY, metric, by=by)


def test_a_champion_that_is_worse_than_it_was_judged_asks(home: Home) -> None:
    days = [measured(T, 0.44), measured(T + DAY, 0.44), measured(T + 2 * DAY, 0.48, rows=400)]
    trained(home, version(1, log_loss=0.40), *days)
    assert asked(home, worse(by=0.07), T + 4 * DAY) is None
    told = "log_loss 0.4600 on 800 answers, worse by 0.0600 than v1 was judged"
    assert asked(home, worse(by=0.05), T + 4 * DAY) == told


def test_a_first_champion_without_rollout_can_be_found_worse(home: Home) -> None:
    """It is champion since the very moment of its training."""
    trained(home, version(1, log_loss=0.40), three_days(T, 0.60))
    assert asked(home, worse(), T + 4 * DAY) is not None


def test_too_few_answers_or_days_say_nothing(home: Home) -> None:
    trained(home, version(1, log_loss=0.40), three_days(T, 0.9, rows=297))
    assert asked(home, worse(), T + 4 * DAY) is None
    write(home, measured(T, 0.9, rows=5000))
    assert asked(home, worse(), T + 4 * DAY) is not None
    write(home, measured(T, None, rows=5000))
    assert asked(home, worse(), T + 4 * DAY) is None


def test_days_before_the_champion_came_or_long_ago_do_not_count(home: Home) -> None:
    trained(home, version(1, log_loss=0.40), three_days(T - DAY, 0.9))
    assert asked(home, worse(), T + 4 * DAY) is None
    write(home, three_days(T, 0.9))
    assert asked(home, worse(), T + 4 * DAY) is not None
    assert asked(home, worse(), T + 8 * DAY) is None
    write(home, role("champion", 1, T + HOUR))
    assert asked(home, worse(), T + 4 * DAY) is None


def test_a_training_that_was_refused_is_not_repeated_on_the_same_evidence(home: Home) -> None:
    trained(home, version(1, log_loss=0.40), three_days(T, 0.9))
    write(home, cursor("trained/risk", T + 3 * DAY))
    assert asked(home, worse(), T + 6 * DAY) is None
    write(home, three_days(T + 3 * DAY, 0.9))
    assert asked(home, worse(), T + 7 * DAY) is not None


def test_higher_is_better_for_some_metrics(home: Home) -> None:
    trained(home, version(1, roc_auc=0.80), three_days(T, 0.90, metric="roc_auc"))
    assert asked(home, worse(metric=ms.roc_auc), T + 4 * DAY) is None
    write(home, three_days(T, 0.70, metric="roc_auc"))
    assert asked(home, worse(metric=ms.roc_auc), T + 4 * DAY) is not None


def test_a_metric_that_is_never_measured_is_refused() -> None:
    with pytest.raises(InvalidDeclaration, match=r"ms.worse: rmse is a metric of a number, the mo"):
        ms.worse(PAY, ms.rmse, by=0.1)
    with pytest.raises(InvalidDeclaration, match=r"a gate of model 'risk': log_loss is a metric"):
        small.model(small.loss, gates=[ms.beats("champion", ms.log_loss)])


def test_new_labels_are_those_that_no_training_could_read(home: Home) -> None:
    trained(home)
    seen = Past(home).outcomes(RISK, T - 26 * HOUR, T + 2 * DAY - 26 * HOUR, T + 2 * DAY)
    fresh = int(seen.labelled.sum())
    assert asked(home, ms.new_labels(fresh), T + 2 * DAY) == f"{fresh:,} new labels"
    assert asked(home, ms.new_labels(fresh + 1), T + 2 * DAY) is None
    assert asked(home, ms.new_labels(1), T) is None


def test_new_labels_are_counted_once_a_day(home: Home) -> None:
    trained(home)
    assert asked(home, ms.new_labels(10**6), T + DAY) is None
    assert asked(home, ms.new_labels(1), T + DAY + HOUR) is None
    assert asked(home, ms.new_labels(1), T + 2 * DAY) is not None


def test_the_first_of_several_reasons_is_told(home: Home) -> None:
    trained(home, incident(1, T + HOUR))
    both: list[Trigger] = [ms.every(days(1)), ms.drifted(CARDS)]
    assert asked(home, both, T + 2 * HOUR) == "drift: Card.mean_7d in cards"
    assert asked(home, both, T + DAY) == "scheduled every day"


def test_the_clock_is_looked_at_in_time(home: Home) -> None:
    trained(home, cursor("tried/risk", T + HOUR))
    reasons = Reasons(Past(home), [PAY])
    when: list[Trigger] = [ms.every(days(7)), ms.new_labels(9)]
    dues = list(reasons.dues(Retraining(RISK, when=when), T + HOUR))
    assert set(dues) == {T + HOUR + DAY, T + 7 * DAY, T + DAY}
