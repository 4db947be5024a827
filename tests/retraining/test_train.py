"""One training: rows as known, a fit, gates against what answers now, a version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring.errors import FitFailed, NoTrainingRows
from mainspring.monitoring.watch import SCORE, Reference
from mainspring.retraining.past import Past
from mainspring.retraining.train import Trained, register, train, write_profile
from mainspring.sources.home import Home
from tests import small
from tests.small import BEGIN, DAY, Card, Payment, Shop

NOW = BEGIN + 14 * DAY
CHAMPION = [ms.beats("champion", ms.log_loss)]


def trained(home: Home, model: ms.Model, champions: Sequence[int] = (), now: int = NOW) -> Trained:
    past = Past(home)
    return train(model, now, past.requests(model), home, past.registry, champions)


def registered(home: Home, made: Trained) -> int:
    with home.metadata.begin() as transaction:
        return register(made, NOW, "because", transaction)


def test_a_training_gives_the_same_version_for_the_same_rows(home: Home) -> None:
    one, two = (trained(home, small.model(gates=small.EVERY_GATE)) for _ in range(2))
    assert one.fitted.sha256 == two.fitted.sha256
    assert one.built.content_hash == two.built.content_hash
    assert [v.to_json() for v in one.verdicts] == [v.to_json() for v in two.verdicts]
    assert trained(home, small.model(), now=NOW - DAY).fitted.sha256 != one.fitted.sha256


def test_a_version_enters_the_registry_with_all_that_is_known_of_it(home: Home) -> None:
    made = trained(home, small.model(gates=small.EVERY_GATE))
    assert made.passed
    assert registered(home, made) == 1
    with home.metadata.read() as snapshot:
        (version,), (run,) = snapshot.select("version"), snapshot.select("run")
        metrics, (decision,) = snapshot.select("metric", run=1), snapshot.select("decision")
    assert (version["sha256"], version["state"]) == (made.fitted.sha256, "eligible")
    assert version["rows_hash"] == run["rows_hash"] == made.built.content_hash
    assert version["signature"] == small.model().signature.to_json()
    assert version["ladder"].keys() == {"constant", "linear", "tree"}
    assert run["parameters"]["n_estimators"] == 20
    assert {m["name"]: m["value"] for m in metrics}["log_loss"] == made.metrics["log_loss"]["value"]
    assert decision["reason"] == "because; v1 met every gate"


def test_a_version_that_fails_a_gate_says_which(home: Home) -> None:
    far = [ms.beats("baseline", ms.log_loss, by=0.9)]
    made = trained(home, small.model(gates=far))
    assert not made.passed
    registered(home, made)
    with home.metadata.read() as snapshot:
        (version,), (decision,) = snapshot.select("version"), snapshot.select("decision")
    assert version["state"] == "refused"
    assert decision["reason"].startswith("because; v1 did not: log_loss 0.")


def test_the_profile_has_the_fit_rows_and_the_scores_of_the_judge_rows(home: Home) -> None:
    made = trained(home, small.model())
    write_profile(made, home.path("profiles"))
    found = Reference.read(home.path("profiles"), made.fitted.sha256)
    counts = {name: int(counted.sum()) for name, (_, counted) in found.features.items()}
    judged = len(made.built.labels) - made.built.fit
    assert counts == dict.fromkeys(small.model().signature.names, made.built.fit) | {SCORE: judged}
    assert sum(found.importance.values()) == pytest.approx(1.0)


def test_a_champion_is_judged_on_the_rows_of_the_challenger(home: Home) -> None:
    assert registered(home, trained(home, small.model())) == 1
    made = trained(home, small.model(gates=CHAMPION), champions=[1])
    (verdict,) = made.verdicts
    assert not verdict.passed  # it is the same version
    assert verdict.other == verdict.score


def test_a_champion_with_fewer_features_is_judged(home: Home) -> None:
    registered(home, trained(home, small.model(features=[Payment.amount])))
    more = small.model(features=[Card, Shop, Payment.amount, Payment.abroad], gates=CHAMPION)
    (verdict,) = trained(home, more, champions=[1]).verdicts
    assert verdict.other is not None
    assert verdict.reason.endswith("of the champion, v1")


def test_a_champion_whose_feature_is_gone_fails_the_gate_with_the_reason(home: Home) -> None:
    registered(home, trained(home, small.model()))
    fewer = small.model(features=[Card, Payment.abroad], gates=[*CHAMPION, *small.EVERY_GATE[:1]])
    champion, _ = (made := trained(home, fewer, champions=[1])).verdicts
    assert not made.passed
    assert champion.reason == (
        "risk v1 needs Shop.declines_1d (number), amount (number), which training set 'rows' "
        "does not give"
    )


def test_a_rule_that_reads_what_the_model_does_not_is_judged(home: Home) -> None:
    large = ms.Rule("large", Payment.amount > 60)
    gates = [ms.beats(large, ms.brier)]
    made = trained(home, small.model(features=[Card, Payment.abroad], gates=gates))
    (verdict,) = made.verdicts
    amount = Past(home).requests(small.model()).read(BEGIN, NOW)
    said = dict(zip(amount.ids, amount.columns["amount"] > 60, strict=True))
    judged = slice(made.built.fit, None)
    y, ids = made.built.labels[judged], made.built.rows.ids[judged]
    wanted = np.mean([(label - said[key]) ** 2 for label, key in zip(y, ids, strict=True)])
    assert verdict.other == pytest.approx(wanted)
    assert verdict.passed


def test_a_number_is_trained_and_judged_as_one(home: Home) -> None:
    gates = [ms.beats("baseline", ms.rmse)]
    made = trained(home, small.model(small.loss, gates=gates))
    assert made.metrics.keys() == {"mae", "rmse", "r2"}
    assert made.ladder["constant"].keys() == made.metrics.keys()
    assert json.dumps(made.verdicts[0].to_json())


def test_what_cannot_be_trained_is_told(home: Home) -> None:
    with pytest.raises(NoTrainingRows, match="has 0 rows to fit on"):
        trained(home, small.model(), now=BEGIN + 2 * DAY)
    broken: Any = small.Broken()
    with pytest.raises(FitFailed, match="the estimator is broken"):
        trained(home, small.model(estimator=broken))


class Odd(ms.FeatureView, key=Payment.card):
    nothing = ms.count(where=Payment.amount < 0)
    empty = ms.mean(Payment.amount, where=Payment.amount < 0)


def test_features_of_no_use_are_told_with_the_first_training_that_finds_them(home: Home) -> None:
    model = small.model(features=[Card, Odd, Payment.amount])
    made = trained(home, model)
    wanted = {"Odd.nothing": "is always 0", "Odd.empty": "is always NULL"}
    assert {w.feature: w.reason for w in made.warnings} == wanted
    for _ in range(2):
        registered(home, made)
    with home.metadata.read() as snapshot:
        first, second = snapshot.select("decision", order="number")
    said = "of no use: Odd.nothing is always 0, Odd.empty is always NULL"
    assert first["reason"] == f"because; v1 met every gate; {said}"
    assert second["reason"] == "because; v2 met every gate"
    assert first["evidence"]["warnings"] == second["evidence"]["warnings"]
    assert {w["feature"] for w in first["evidence"]["warnings"]} == wanted.keys()


def test_a_training_without_anything_to_say_of_features_says_nothing(home: Home) -> None:
    registered(home, trained(home, small.model()))
    with home.metadata.read() as snapshot:
        (decision,) = snapshot.select("decision")
    assert decision["evidence"]["warnings"] == []
