"""Will this payment be charged back?"""

import threading
from datetime import datetime
from typing import Any

from sklearn.linear_model import LogisticRegression

import mainspring as ms
from mainspring import Column, days, hours, seconds

OPEN = threading.Event()
OPEN.set()


def patient(amount: Any) -> Any:
    """Waits until it may go on: a function of the user that takes its time."""
    if not OPEN.wait(10):
        raise TimeoutError("nobody let it go on")
    return amount > 100


def picky(amount: Any) -> Any:
    """A function of the user that raises."""
    if (amount == 13).any():
        raise ValueError("thirteen is a secret")
    return amount > 100


class Payment(ms.Source, url="payments.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    user: Column[str]
    amount: Column[float] = ms.column(ge=0, le=1000)
    items: Column[int | None]
    country: Column[str] = ms.column(one_of=("NO", "SE"))
    express: Column[bool | None]
    note: Column[str | None]
    paid_at: Column[datetime] = ms.event_time()


class Chargeback(ms.Source, url="chargebacks.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    fee: Column[float] = ms.column(ge=0)
    made_at: Column[datetime] = ms.event_time()


class User(ms.FeatureView, key=Payment.user):
    payments_7d = ms.count(window=days(7))
    mean_7d = ms.mean(Payment.amount, window=days(7))
    last_amount = ms.last(Payment.amount, window=days(30))
    recent = ms.sum(Payment.amount, window=hours(1))
    ratio = last_amount / mean_7d


bad = ms.Label(
    "bad", of=Payment.payment_id, when=Chargeback.payment_id, within=days(2), default=False
)
rows = ms.TrainingSet(
    "rows", bad, [User, Payment.amount, Payment.country, ms.log1p(Payment.items)], lookback=days(60)
)
model = ms.Model("risk", LogisticRegression(C=0.5), rows)
payment = ms.Endpoint("payment", model, fallback=0.1)
slow = ms.Rule("slow", ms.apply(patient, [Payment.amount], returns=bool))
patient_one = ms.Endpoint("patient", slow, request=Payment, fallback=0.5, timeout=seconds(0.1))
strict = ms.Endpoint("strict", slow, request=Payment, timeout=seconds(0.1))
queue = ms.Endpoint("queue", slow, request=Payment, timeout=seconds(9))
raises = ms.Endpoint(
    "raises", ms.Rule("raises", ms.apply(picky, [Payment.amount], returns=bool)), request=Payment
)
refit = ms.Retraining(model, when=[ms.every(days(14))])
system = ms.System(
    "shop", endpoints=[payment, patient_one, strict, queue, raises], retraining=[refit]
)
