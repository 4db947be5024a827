"""A correct system that uses the API widely; each of `test_mistakes.py` is one edit of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

import mainspring as ms
from mainspring import Column, days, hours, minutes


class Order(ms.Source, url="orders.parquet"):
    order_id: Column[str] = ms.column(unique=True)
    shop: Column[str] = ms.column(one_of=("north", "south"))
    courier: Column[str | None]
    price: Column[float] = ms.column(ge=0)
    items: Column[int]
    weight: Column[float | None]
    gift: Column[bool]
    lat: Column[float | None]
    lon: Column[float | None]
    promised_at: Column[datetime | None]
    ordered_at: Column[datetime] = ms.event_time()


class Delivery(ms.Source, url="deliveries.parquet"):
    order_id: Column[str | None]
    shop: Column[str]
    courier: Column[str | None]
    took: Column[float]
    tip: Column[float | None]
    stops: Column[int]
    broken: Column[bool | None]
    note: Column[str | None]
    rating: Column[float]
    left_at: Column[datetime]
    arrived_at: Column[datetime] = ms.event_time(late_by=minutes(2))


class Menu(ms.Source, url="menus.parquet"):
    menu_id: Column[str] = ms.column(unique=True)
    shop: Column[str]
    dishes: Column[int]
    change: Column[str] = ms.change()
    known_at: Column[datetime | None] = ms.arrival_time()
    changed_at: Column[datetime] = ms.event_time()


class Kitchen(ms.FeatureView, key=Menu.shop):
    dishes = ms.latest(Menu.dishes)


class Shop(ms.FeatureView, key=Delivery.shop):
    took_1h = ms.mean(Delivery.took, window=hours(1))
    took_1d = ms.mean(Delivery.took, window=days(1), hop=hours(1))
    deliveries = ms.count(window=hours(1))
    slow = ms.count(window=hours(1), where=Delivery.took > 30)
    broken = ms.count(window=days(7), where=Delivery.broken)
    tipped = ms.count(Delivery.tip, window=days(1), hop=None)
    trend = took_1h - took_1d
    slow_share = slow / deliveries


class Courier(ms.FeatureView, key=Delivery.courier, name="courier_state"):
    tips = ms.sum(Delivery.tip, window=days(1), where=(Delivery.tip > 0) & ~Delivery.broken)
    most_stops = ms.max(Delivery.stops, window=days(1))
    least_tip = ms.min(Delivery.tip)
    spread = ms.std(Delivery.took, window=days(7))
    broken_share = ms.mean(Delivery.broken, window=days(7))
    note = ms.last(Delivery.note, window=days(1))
    first_shop = ms.first(Delivery.shop)
    last_left = ms.last(Delivery.left_at)
    last_hour = ms.hour(last_left)
    known_tips = tips.fill_null(0) + most_stops * 2


def heavy(weight: Any, items: Any) -> Any:
    return np.where(np.isnan(weight), 0.0, weight) * items > 20


is_heavy = ms.apply(heavy, [Order.weight, Order.items], returns=bool)
late = ms.Label(
    "late",
    of=Order.order_id,
    when=Delivery.order_id,
    value=Delivery.took > 45,
    within=days(2),
)
tip = ms.Label(
    "tip",
    of=Order.order_id,
    when=Delivery.order_id,
    value=Delivery.tip,
    within=days(2),
    default=0,
)
arrived = ms.Label("arrived", of=Order.order_id, when=Delivery.order_id, within=days(2))
rows = ms.TrainingSet(
    "rows",
    late,
    [
        Shop,
        Kitchen.dishes,
        Courier.known_tips,
        Courier.note,
        Order.shop,
        Order.weight,
        Order.price / Order.items - 1,
        1 - ms.log1p(Order.price) * Shop.slow,
        ms.hour(Order.promised_at),
        ms.day_of_week(Order.ordered_at),
        ms.clip(Order.weight, 0, 30),
        ms.abs(Shop.trend),
        Order.weight.is_null() | Order.gift,
        Order.courier.is_in(["ann", "bob"]),
        Order.courier.fill_null("nobody").equals("nobody"),
        Order.items.fill_null(0).is_in({1, 2}),
        Order.weight.fill_null(Courier.tips) > 2,
        Order.promised_at.fill_null(Order.ordered_at) > datetime(2024, 5, 1, tzinfo=UTC),
        Order.promised_at <= Order.ordered_at,
        ms.seconds_between(Order.ordered_at, Order.promised_at) / 60,
        ms.distance_km(Order.lat, Order.lon, 59.91, 10.75),
        ms.hash_bucket(Order.shop, 64),
        is_heavy,
    ],
    lookback=days(120),
)
tips = ms.TrainingSet("tips", tip, [Courier, Order.price], lookback=days(30), judge=days(3))


class Mean:
    def fit(self, X: Any, y: Any) -> Mean:
        self.mean: float = sum(y) / len(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean)


busy = ms.Rule("busy", Shop.deliveries > 20)
broken = ms.Rule("gift", Order.gift)
model = ms.Model(
    "lateness",
    Mean(),
    rows,
    gates=[ms.beats("champion", ms.log_loss, by=0.001), ms.beats(busy, ms.roc_auc)],
)
tipping = ms.Model("tipping", Mean(), tips, gates=[ms.beats("baseline", ms.mae)])
predict = ms.Endpoint(
    "lateness",
    model,
    rollout=ms.Canary([0.05, 0.5, 1.0], bake=hours(6)),
    fallback=0.25,
)
warn = ms.Endpoint("busy", busy, request=Order, fallback=0)
drift = ms.Monitor("shops", Shop, ms.drift(), every=hours(1))
answers = ms.Monitor("answers", predict, ms.drift(min_rows=1000), every=days(1))
refit = ms.Retraining(
    model,
    when=[
        ms.every(days(7)),
        ms.drifted(drift),
        ms.worse(predict, ms.log_loss, by=0.02),
        ms.new_labels(10_000),
    ],
)
system = ms.System(
    "deliveries", endpoints=[predict, warn], monitors=[drift, answers], retraining=[refit]
)

order = Order(
    order_id="o1",
    shop="north",
    courier=None,
    price=12.5,
    items=2,
    weight=None,
    gift=False,
    lat=None,
    lon=None,
    promised_at=None,
    ordered_at=datetime(2024, 5, 1, tzinfo=UTC),
)
menu = Menu(
    menu_id="m1",
    shop="north",
    dishes=12,
    change="insert",
    known_at=None,
    changed_at=datetime(2024, 5, 1, tzinfo=UTC),
)
unknown: datetime | None = menu.known_at
cost: float = order.price * order.items
waiting: str | None = order.courier
