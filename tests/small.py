"""A small system with everything in it: will this payment be charged back?

Some weeks of 200 payments a day. On `CHANGE` the fraud moves from large payments to foreign ones,
and cards begin to pay more, so that features drift and what was learned before is wrong.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lightgbm import LGBMClassifier, LGBMRegressor

import mainspring as ms
from mainspring import Column, days, hours, minutes
from mainspring.clock import SystemClock, parse_time
from mainspring.graph import Graph
from mainspring.models.gate import Gate
from mainspring.retraining.trigger import Trigger
from mainspring.sources.home import Home
from mainspring.sources.ingest import ingest
from mainspring.sources.source import Source
from mainspring.training.label import Label

DAY, HOUR = 86_400_000_000, 3_600_000_000
BEGIN = parse_time("2024-03-01")
DAYS, A_DAY = 45, 200
CHANGE = BEGIN + 22 * DAY


class Payment(ms.Source, url="payments.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    card: Column[str]
    shop: Column[str]
    amount: Column[float] = ms.column(ge=0)
    abroad: Column[bool]
    asked_at: Column[datetime] = ms.event_time()


class Decline(ms.Source, url="declines.parquet"):
    shop: Column[str]
    declined_at: Column[datetime] = ms.event_time(late_by=minutes(10))


class Chargeback(ms.Source, url="chargebacks.parquet"):
    payment_id: Column[str]
    loss: Column[float | None]
    reported_at: Column[datetime] = ms.event_time(late_by=hours(2))


class Card(ms.FeatureView, key=Payment.card):
    payments_1d = ms.count(window=days(1))
    mean_7d = ms.mean(Payment.amount, window=days(7))


class Shop(ms.FeatureView, key=Decline.shop):
    declines_1d = ms.count(window=days(1))


FEATURES: Sequence[Any] = [Card, Shop, Payment.amount, Payment.abroad]
WITHIN = days(1)
fraud = ms.Label("fraud", of=Payment.payment_id, when=Chargeback.payment_id, within=WITHIN)
loss = ms.Label(
    "loss",
    of=Payment.payment_id,
    when=Chargeback.payment_id,
    value=Chargeback.loss,
    within=WITHIN,
    default=0.0,
)
CANARY = ms.Canary([0.3, 1.0], bake=days(1))
EVERY_GATE = (ms.beats("baseline", ms.log_loss), ms.beats("champion", ms.log_loss))


def training_set(label: Label[Any] = fraud, features: Sequence[Any] = FEATURES) -> ms.TrainingSet:
    """Sixteen days of payments, the newest three of them to judge on."""
    return ms.TrainingSet("rows", label, features, lookback=days(16), judge=days(3))


def model(
    label: Label[Any] = fraud,
    features: Sequence[Any] = FEATURES,
    gates: Sequence[Gate] = (),
    estimator: Any = None,
) -> ms.Model:
    """Twenty trees."""
    kind: Any = LGBMClassifier if label is fraud else LGBMRegressor
    trees = estimator or kind(n_estimators=20, num_leaves=8, n_jobs=1)
    return ms.Model("risk", trees, training_set(label, features), gates=gates)


def system(
    when: Sequence[Trigger] = (ms.every(days(5)),),
    gates: Sequence[Gate] = EVERY_GATE,
    rollout: ms.Canary | None = CANARY,
    risk: ms.Model | None = None,
) -> ms.System:
    """The whole system: an endpoint, monitors of a view and of its scores, and retraining."""
    risk = risk or model(gates=gates)
    pay = ms.Endpoint("pay", risk, rollout=rollout, fallback=0.1)
    cards = ms.Monitor("cards", Card, ms.drift(min_rows=100), every=days(1))
    scores = ms.Monitor("scores", pay, ms.drift(min_rows=100), every=days(1))
    refit = ms.Retraining(risk, when=[*when, ms.drifted(cards)])
    return ms.System("payments", endpoints=[pay], monitors=[cards, scores], retraining=[refit])


def write_history(folder: Path, until: int = DAYS) -> None:
    """The files of the first days, the same every time."""
    random = np.random.default_rng(3)
    rows = DAYS * A_DAY
    at = np.sort(random.integers(0, DAYS * DAY, rows)) + BEGIN
    after = at >= CHANGE
    card, shop = (random.integers(0, n, rows) for n in (150, 12))
    amount = random.lognormal(3.0 + 0.3 * (card % 3) + 0.5 * after, 0.6).round(2)
    abroad = random.random(rows) < 0.3
    large = amount > np.where(after, 60, 36)
    odds = -2.8 + 3.0 * np.where(after, abroad & ~large, large & ~abroad) + 0.8 * (shop % 4 == 0)
    is_fraud = random.random(rows) < 1 / (1 + np.exp(-odds))
    delay = random.exponential(0.3 * DAY, rows).astype(np.int64)
    ids = np.array([f"p{n:05}" for n in range(rows)], object)
    payments = {
        "payment_id": ids,
        "card": [f"c{n}" for n in card],
        "shop": [f"s{n}" for n in shop],
        "amount": amount,
        "abroad": abroad,
        "asked_at": at,
    }
    back = np.flatnonzero(is_fraud)
    chargebacks = {
        "payment_id": ids[back],
        "loss": (amount * 0.9).round(2)[back],
        "reported_at": (at + delay)[back],
    }
    declined = np.sort(random.integers(0, DAYS * DAY, 3000)) + BEGIN
    shops = random.integers(0, 16, 3000)
    declines = {"shop": [f"s{n // 4 * 4 if n > 11 else n}" for n in shops], "declined_at": declined}
    folder.mkdir(parents=True, exist_ok=True)
    for source, columns in ((Payment, payments), (Chargeback, chargebacks), (Decline, declines)):
        _write(folder, source, columns, BEGIN + until * DAY)


def _write(folder: Path, source: type[Source], columns: dict[str, Any], until: int) -> None:
    event = source.__schema__.event.name
    table = pa.table(columns)
    table = table.filter(pa.array(np.asarray(columns[event]) < until))
    place = table.column_names.index(event)
    times = table[event].cast(pa.timestamp("us", "UTC"))
    pq.write_table(table.set_column(place, event, times), folder / source.__schema__.url)


@contextmanager
def home(folder: Path, data: Path, sources: Sequence[type[Source]] = ()) -> Generator[Home]:
    """A home with the files of a folder taken in."""
    opened = Home.open(folder, data, sync=False)
    try:
        for source in sources or (Payment, Decline, Chargeback):
            ingest(source, opened.data, opened.tables, opened.engine, SystemClock())
        yield opened
    finally:
        opened.close()


def graph(**settings: Any) -> Graph:
    """The graph of `system`."""
    return system(**settings).graph


class Broken:
    """An estimator that cannot be fitted."""

    def fit(self, X: Any, y: Any) -> Any:
        raise ValueError("the estimator is broken")

    def predict(self, X: Any) -> Any:
        raise NotImplementedError

    def predict_proba(self, X: Any) -> Any:
        raise NotImplementedError
