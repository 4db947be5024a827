"""Answers: from the right features, in the log before they are given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from mainspring.clock import as_datetime
from mainspring.expressions import kind_of
from mainspring.features.parity import compare
from mainspring.features.point_in_time import point_in_time
from mainspring.models.registry import Role, assign
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from mainspring.sources.record import Numbered, rows_of
from mainspring.sources.source import Source
from mainspring.vectors import Vector, from_values
from tests.serving.conftest import Served, event, logged, payment, until


def test_answers_are_made_from_what_the_offline_join_computes(served: Served) -> None:
    home, endpoint = served.service.home, served.service.endpoints["payment"]
    now = home.clock().now()
    for number in range(40):
        if number % 3:
            early = now - number * 60_000_000 + (3_000_000_000 if number == 20 else 0)
            assert served.post("/events/Payment", event(f"e{number}", early)).json()["taken"] == 1
        answered = served.post("/predict/payment", payment(f"p{number}")).json()
        assert answered["role"] == "champion" and answered["fallback"] is False
    records = logged(home.folder)
    fold(home, served.service.sources, records)
    answers = [(r.values, r.answer) for _, r in records if r.answer and r.answer["id"][0] == "p"]
    found = recomputed(home, endpoint, answers)
    kinds = zip(endpoint.feature_set.names, endpoint.feature_set.kinds, strict=True)
    features = {
        name: from_values([a["features"][name] for _, a in answers], kind) for name, kind in kinds
    }
    assert len(answers) == 40 and np.nanmax(features["User.payments_7d"]) > 3
    assert not any(c.differ for c in compare(endpoint.feature_set, features, found))
    predictor = served.service.registry.predictor("risk", answers[0][1]["version"])
    assert np.array([a["score"] for _, a in answers]) == pytest.approx(
        predictor.predict(found), rel=1e-9
    )


def fold(home: Home, sources: dict[str, type[Source]], records: Sequence[Numbered]) -> None:
    for source in sources.values():
        rows = rows_of(source, records)
        home.table(source).append(rows.to_batches(), ("log", len(records)))


def recomputed(
    home: Home, endpoint: Endpoint, answers: Sequence[tuple[list[Any], Any]]
) -> dict[str, Vector]:
    names = list(endpoint.feature_set.request.__schema__.columns)
    requests = {
        c.name: from_values([row[names.index(c.name)] for row, _ in answers], kind_of(c))
        for c in endpoint.feature_set.columns
    }
    at = np.array([answer["at"] for _, answer in answers], np.int64)
    return point_in_time(endpoint.feature_set, requests, at, home.table, home.engine)


def test_a_list_is_answered_in_order(served: Served) -> None:
    asked = [payment(f"many{number}") for number in range(5)]
    together = served.post("/predict/payment", asked).json()
    alone = [served.post("/predict/payment", row).json() for row in asked]
    assert [a["id"] for a in together] == [row["payment_id"] for row in asked]
    assert [a["version"] for a in together] == [a["version"] for a in alone]


def test_a_request_does_not_see_itself_and_the_next_one_does(served: Served) -> None:
    service = served.service
    for amount in (111.0, 222.0):
        sent = {**payment(f"self{amount}"), "user": "alone", "amount": amount}
        assert served.post("/predict/payment", sent).status_code == 200
        until(lambda: service.stream.behind == 0)
    answers = [r.answer for _, r in logged(service.home.folder) if r.answer]
    seen = [a["features"]["User.last_amount"] for a in answers if a["id"].startswith("self")]
    assert seen == [None, 111.0]


def test_an_event_that_is_acknowledged_is_seen_by_the_next_request(served: Served) -> None:
    service = served.service
    now = service.clock.now()
    for number in range(3):
        served.post("/events/Payment", {**event(f"seen{number}", now), "user": "seen"})
    until(lambda: service.stream.behind == 0)
    asked = served.post("/predict/payment", {**payment("after"), "user": "seen"}).json()
    (answer,) = (
        r.answer
        for _, r in logged(service.home.folder)
        if r.answer and r.answer["request_id"] == asked["request_id"]
    )
    assert answer["features"]["User.payments_7d"] == 3


def test_bad_events_are_held_with_their_reasons(served: Served) -> None:
    good = event("good", served.service.clock.now())
    found = served.post("/events/Payment", [good, {**good, "amount": -3}, {**good, "user": None}])
    reasons = ["amount < 0", "user is missing"]
    assert found.json() == {"taken": 1, "held": 2, "reasons": reasons}
    payments = served.service.home.table(served.service.sources["Payment"])
    assert payments.quarantine_files


def test_a_canary_answers_its_share_and_sticks_to_a_key(home: Home, served: Served) -> None:
    service = served.service
    give_role(service, "canary", 1, share=0.5)
    service.refresh()
    sent = [payment(f"canary{number}") for number in range(40)]
    first, second = (served.post("/predict/payment", sent).json() for _ in range(2))
    roles = [a["role"] for a in first]
    assert 5 < roles.count("canary") < 35 and roles == [a["role"] for a in second]
    assert {a["version"] for a in first if a["role"] == "canary"} == {1}
    with service.home.metadata.begin() as transaction:
        transaction.delete("alias", subject="payment", role="canary")
    assert service.refresh()


def give_role(service: Service, role: Role, number: int, share: float = 1.0) -> None:
    with service.home.metadata.begin() as transaction:
        assign(transaction, "payment", role, number, service.clock.now(), share)


def test_the_time_of_an_answer_is_the_clocks_once_all_is_applied(served: Served) -> None:
    while served.service.stream.behind:
        time.sleep(0.001)
    before = as_datetime(served.service.clock.now())
    answered = served.post("/predict/payment", payment("when")).json()
    late = before + timedelta(seconds=5)
    assert before.isoformat() < answered["at"] < late.isoformat()
