"""A small system: its plan is `deliveries.json`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import mainspring as ms
from mainspring import Column, days, hours, minutes


class Order(ms.Source, url="orders.parquet"):
    order_id: Column[str] = ms.column(unique=True)
    shop: Column[str] = ms.column(one_of=("north", "south"))
    price: Column[float] = ms.column(ge=0)
    ordered_at: Column[datetime] = ms.event_time()


class Delivery(ms.Source, url="deliveries.parquet"):
    order_id: Column[str]
    shop: Column[str]
    took: Column[float]
    arrived_at: Column[datetime] = ms.event_time(late_by=minutes(2))


class Shop(ms.FeatureView, key=Delivery.shop):
    took_1h = ms.mean(Delivery.took, window=hours(1))
    slow = ms.count(window=days(1), where=Delivery.took > 30)


class Mean:
    def fit(self, X: Any, y: Any) -> Mean:
        return self

    def predict(self, X: Any) -> Any:
        return X


late = ms.Label(
    "late",
    of=Order.order_id,
    when=Delivery.order_id,
    value=Delivery.took > 45,
    within=days(2),
)
rows = ms.TrainingSet("rows", late, [Shop, Order.price, Shop.slow / 24], lookback=days(120))
busy = ms.Rule("busy", Shop.slow > 20)
model = ms.Model("lateness", Mean(), rows, gates=[ms.beats(busy, ms.log_loss)])
predict = ms.Endpoint("lateness", model, rollout=ms.Canary([0.5, 1.0], bake=hours(6)))
drift = ms.Monitor("shops", Shop, ms.drift(), every=hours(1))
refit = ms.Retraining(model, when=[ms.every(days(7)), ms.drifted(drift)])
system = ms.System("deliveries", endpoints=[predict], monitors=[drift], retraining=[refit])
