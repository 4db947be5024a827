"""A small system, and homes of it: an empty one, and one in which everything has happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import mainspring as ms
from mainspring import Column, days, hours
from mainspring.graph import Graph
from mainspring.models.registry import assign, decide
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog, schema
from mainspring.sources.home import Home
from mainspring.stores.base import Transaction

DAY = 86_400_000_000
START = 15_000 * DAY
HOSTILE = "<script>alert('x')</script>&\"quoted\""
GATE = {"gate": "beats champion on log_loss", "metric": "log_loss", "passed": True}


class Order(ms.Source, url="orders.parquet"):
    order_id: Column[str] = ms.column(unique=True)
    shop: Column[str] = ms.column(one_of=("a", HOSTILE))
    price: Column[float | None] = ms.column(ge=0, le=9000)
    asked_at: Column[datetime] = ms.event_time()


class Refund(ms.Source, url="refunds.parquet"):
    order_id: Column[str]
    refunded_at: Column[datetime] = ms.event_time()


class Shop(ms.FeatureView, key=Order.shop):
    orders_1d = ms.count(window=days(1))
    dear_1d = ms.count(window=days(1), where=Order.price > 100)
    share = dear_1d / orders_1d


returned = ms.Label("returned", of=Order.order_id, when=Refund.order_id, within=days(2))
rows = ms.TrainingSet("rows", returned, [Shop, Order.price], lookback=days(30))
model = ms.Model("returns", LogisticRegression(), rows, gates=[ms.beats("champion", ms.log_loss)])
canary = ms.Canary([0.1, 0.5, 1.0], bake=hours(6))
predict = ms.Endpoint("returns", model, rollout=canary, fallback=0.1)
ruled = ms.Endpoint("dear", ms.Rule("dear", Order.price > 100), request=Order)
drift = ms.Monitor("shops", Shop, ms.drift(), every=hours(1))
refit = ms.Retraining(model, when=[ms.every(days(7)), ms.drifted(drift)])
system = ms.System("orders", endpoints=[predict, ruled], monitors=[drift], retraining=[refit])


@pytest.fixture(scope="session")
def graph() -> Graph:
    return system.graph


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Home]:
    home = Home.open(tmp_path / "home", tmp_path, sync=False)
    yield home
    home.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("filled")
    home = Home.open(folder / "home", folder, sync=False)
    with home.metadata.begin() as transaction:
        _fill(transaction)
    home.table(Order).hold_live([({"shop": HOSTILE}, [f"shop is {HOSTILE}"])], START)
    _answer(home, predict, ["champion"] * 3 + ["fallback"])
    yield home
    home.close()


def _fill(transaction: Transaction) -> None:
    for number, state in enumerate(["live", "live", "refused", "eligible"], 1):
        _version(transaction, number, state)
    assign(transaction, "returns", "frozen", 1, START)
    assign(transaction, "returns", "champion", 2, START + 7 * DAY, 1.0)
    assign(transaction, "returns", "canary", 4, START + 20 * DAY, 0.1)
    for kind in ("trained", "promoted", "rolled_back", "incident_opened"):
        decide(transaction, START + 7 * DAY, "returns", kind, HOSTILE, {"why": HOSTILE})
    of_no_use = {"feature": HOSTILE, "problem": "no use", "reason": "is always 1"}
    told = {"version": 4, "warnings": [of_no_use]}
    decide(transaction, START + 20 * DAY, "returns", "trained", HOSTILE, told)
    for day in range(40):
        _measure(transaction, START + day * DAY, 0.5 - day / 1000, 0.5)
    for number, closed in ((1, START + 9 * DAY), (2, None)):
        _incident(transaction, number, closed)


def _version(transaction: Transaction, number: int, state: str) -> None:
    own = {"value": 0.5 - number / 50, "low": 0.4, "high": 0.6}
    transaction.insert(
        "version",
        model="returns",
        number=number,
        sha256="ab" * 32,
        rows_hash="cd" * 16,
        folder="ab" * 32,
        signature={},
        metrics={"log_loss": own, "roc_auc": own},
        gates=[GATE | {"passed": state != "refused", "reason": HOSTILE}],
        ladder={"constant": {"log_loss": 0.6}, HOSTILE: {"log_loss": 0.55}},
        reason=HOSTILE,
        at=START + number * DAY,
        state=state,
    )


def _measure(transaction: Transaction, at: int, served: float, frozen: float) -> None:
    for metric in ("log_loss", "roc_auc"):
        for variant, value in (("served", served), ("frozen", frozen)):
            key: dict[str, Any] = {"series": f"returns/{metric}", "at": at, "variant": variant}
            transaction.upsert("measurement", key, value=value, low=0.4, high=0.6, rows=100)
    for feature, excess in (("Shop.orders_1d", 0.3), (HOSTILE, -0.1)):
        key = {"series": "drift/shops", "at": at, "variant": feature}
        transaction.upsert("measurement", key, value=0.4, low=excess, high=None, rows=900)


def _incident(transaction: Transaction, number: int, closed: int | None) -> None:
    evidence = {HOSTILE: {"psi": 0.4, "reason": HOSTILE}}
    transaction.insert(
        "incident",
        number=number,
        monitor="shops",
        opened_at=START + 8 * DAY * number,
        closed_at=closed,
        level="page",
        subject=HOSTILE,
        evidence=evidence,
    )


def _answer(home: Home, endpoint: Endpoint, roles: list[str]) -> None:
    log = PredictionLog(endpoint, home.tables, home.engine)
    shape = schema(endpoint.feature_set)
    answers = [{"role": role, "__at": START + 40 * DAY} for role in roles]
    batch = pa.Table.from_pylist(answers, shape).to_batches()
    home.tables.append(log.table, shape, batch, once=("answers", 1))
