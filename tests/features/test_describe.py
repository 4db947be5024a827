"""What features are and cost: lineage, freshness, NULL, microseconds and bytes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from json import dumps, loads
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mainspring as ms
from mainspring import Column, days, hours, minutes
from mainspring.clock import SystemClock, parse_time
from mainspring.features.cost import at_most, kept, kept_by_part
from mainspring.features.describe import Describing
from mainspring.features.description import DescribedView, Description, made, origins
from mainspring.features.entity import Entity
from mainspring.features.feature_set import resolve
from mainspring.features.materialise import materialise
from mainspring.features.online import OnlineFeatures
from mainspring.sources.home import Home
from mainspring.sources.ingest import ingest

MINUTE = 60_000_000
BEGIN = parse_time("2024-02-28")
NOW = BEGIN + 400 * MINUTE
ROWS, CARDS = 400, 8


class Payment(ms.Source, url="payments.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    card: Column[str]
    shop: Column[str]
    amount: Column[float | None]
    paid_at: Column[datetime] = ms.event_time()


class Refund(ms.Source, url="refunds.parquet"):
    refund_id: Column[str] = ms.column(unique=True)
    card: Column[str]
    amount: Column[float | None]
    op: Column[str] = ms.change()
    made_at: Column[datetime] = ms.event_time(late_by=minutes(5))


class Card(ms.FeatureView, key=Payment.card):
    rows = ms.count()
    mean = ms.mean(Payment.amount, window=hours(1), where=Payment.amount > 3)
    shops = ms.top_k(Payment.shop, 2, window=days(1), hop=minutes(5))
    spread = ms.std(Payment.amount) / ms.mean(Payment.amount)
    share = mean / rows


class Pair(ms.FeatureView, key=Payment.card, second_key=Payment.shop):
    since = ms.time_since_last()
    usual = ms.ewma(Payment.amount, half_life=hours(6))


class Back(ms.FeatureView, key=Refund.card):
    total = ms.sum(Refund.amount, window=days(1))
    known = ms.count(Refund.amount, window=days(1))


VIEWS = [Card, Pair, Back]
EXTRA = Card.rows - Back.known
SETS = {"rows": resolve([Card, Back, Pair.since, Payment.amount, EXTRA], Payment, "test", "here")}


def write(folder: Path, source: type[ms.Source], rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    event = source.__schema__.event.name
    times = table[event].cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.column_names.index(event), event, times)
    pq.write_table(table, folder / source.__schema__.url)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Home]:
    folder = tmp_path_factory.mktemp("describe")
    payments = [
        {
            "payment_id": f"p{n}",
            "card": f"c{n % CARDS}",
            "shop": f"s{n % 20}",
            "amount": None if n % 4 == 0 else float(n % 7),
            "paid_at": BEGIN + n * MINUTE,
        }
        for n in range(ROWS)
    ]
    refunds = [
        {"refund_id": f"r{n // 2}", "card": "c0", "amount": 1.0, "op": op, "made_at": BEGIN + n}
        for n, op in enumerate(["upsert", "upsert", "upsert", "delete", "upsert", "upsert"])
    ]
    write(folder, Payment, payments)
    write(folder, Refund, refunds)
    with closing(Home.open(folder / "home", folder, sync=False)) as opened:
        for source in (Payment, Refund):
            ingest(source, opened.data, opened.tables, opened.engine, SystemClock())
        yield opened


@pytest.fixture
def empty(tmp_path: Path) -> Generator[Home]:
    with closing(Home.open(tmp_path / "home", tmp_path, sync=False)) as opened:
        yield opened


def described(home: Home, online: OnlineFeatures | None = None, now: int = NOW) -> Description:
    return Describing(home.table, home.engine, online, now).all(VIEWS, SETS)


def built(home: Home, now: int = NOW) -> Description:
    with closing(home.online()) as store:
        online = OnlineFeatures.of(store, VIEWS)
        materialise(online, home.table, home.engine, now, 0)
        return described(home, online, now)


def view(found: Description, name: str) -> DescribedView:
    return next(v for v in found.views if v.name == name)


def test_an_empty_home_says_what_is_declared_and_nothing_more(empty: Home) -> None:
    found = described(empty)
    card = view(found, "Card")
    assert [f.name for f in card.features] == ["rows", "mean", "shops", "spread", "share"]
    assert (card.newest, card.entities, card.bytes, card.online_us) == (None, None, None, None)
    costs = {(f.null_share, f.offline_us, f.bytes) for v in found.views for f in v.features}
    assert costs == {(None, None, None)}
    assert (found.applied, found.sets[0].requests) == (None, 0)


def test_a_store_that_is_built_of_nothing_says_so(empty: Home) -> None:
    found = built(empty)
    assert found.applied == NOW - 1
    assert view(found, "Card").entities is None
    assert found.sets[0].online_us is None


def test_lineage_windows_and_definitions_are_told(home: Home) -> None:
    rows, mean, shops, spread, share = view(described(home), "Card").features
    assert (rows.definition, rows.window, rows.lineage) == ("count()", "all history", ["Payment"])
    assert mean.definition == "mean(Payment.amount, where=Payment.amount > 3)"
    assert (mean.window, mean.lineage) == ("1h hop 5m", ["Payment.amount"])
    assert shops.definition == "top_k(Payment.shop, k=2)"
    assert spread.definition.count("window=all history") == 2
    assert (share.definition, share.window) == ("Card.mean / Card.rows", "")
    assert made(Pair.usual) == "ewma(Payment.amount, half_life=6h)"
    assert origins(EXTRA) == ["Payment", "Refund.amount"]
    assert made(Payment.amount) == "Payment.amount"


def test_freshness_is_the_age_of_the_newest_visible_row(home: Home) -> None:
    found = described(home)
    assert view(found, "Card").newest == BEGIN + (ROWS - 1) * MINUTE
    assert view(found, "Card").age_us == MINUTE
    early = described(home, now=BEGIN + 3 * MINUTE)
    assert view(early, "Card").newest == BEGIN + 2 * MINUTE
    assert view(early, "Back").newest is None  # refunds are known five minutes later


def test_null_shares_are_those_of_the_requests_at_their_times(home: Home) -> None:
    found = described(home)
    rows, mean, shops, _, _ = view(found, "Card").features
    assert rows.null_share == 0
    assert shops.null_share == pytest.approx(CARDS / ROWS)  # each card's first request has none
    assert mean.null_share == pytest.approx(0.29)  # amounts of c0 and c4 are all NULL, and warm-up
    shares = {v.name: v.null_share for v in found.sets[0].values}
    assert shares["amount"] == pytest.approx(0.25)
    assert shares["Card.shops.0"] == shops.null_share
    assert shares[EXTRA.label] == 0
    assert found.sets[0].requests == ROWS


def test_a_feature_that_no_set_lists_is_described_too(home: Home) -> None:
    since, usual = view(described(home), "Pair").features
    assert since.null_share == pytest.approx(40 / ROWS)  # the first request of each pair
    assert usual.null_share == pytest.approx(0.325)  # and a quarter, whose amounts are all NULL


def test_offline_costs_are_measured(home: Home) -> None:
    for described_view in described(home).views:
        assert all(f.offline_us is not None and f.offline_us > 0 for f in described_view.features)


@pytest.mark.parametrize("name", ["Card", "Pair", "Back"])
def test_bytes_are_measured_in_the_store_and_add_up(home: Home, name: str) -> None:
    found = view(built(home), name)
    assert found.measured
    assert found.bytes == pytest.approx(sum(f.bytes or 0 for f in found.features))
    assert found.online_us is not None and found.online_us > 0


def test_bytes_computed_from_rows_are_those_of_the_store(home: Home) -> None:
    stored, computed = built(home), described(home)
    for one, other in zip(stored.views, computed.views, strict=True):
        assert (one.measured, other.measured) == (True, False)
        assert one.bytes == other.bytes
        assert [f.bytes for f in one.features] == [f.bytes for f in other.features]


def test_the_bytes_of_a_feature_are_its_tiles_values_and_bags(home: Home) -> None:
    features = {f.name: f.bytes for f in view(described(home), "Card").features}
    assert features["share"] == 0  # it keeps nothing of its own
    assert max(features, key=lambda n: features[n] or 0) == "shops"
    entity = Entity.of(Card)
    keeps = kept_by_part(entity, home.table(Payment), home.engine, NOW)
    assert keeps.entities == CARDS
    assert keeps.of["shops"] > ROWS / CARDS * 32  # each row has a tile of five minutes and a value


def test_entities_are_counted(home: Home) -> None:
    found = described(home)
    counts = {v.name: v.entities for v in found.views}
    assert counts == {"Card": CARDS, "Pair": 40, "Back": 1}


def test_old_rows_are_described_as_they_were_when_they_came(home: Home) -> None:
    found = view(built(home, NOW + 900 * 24 * 60 * MINUTE), "Back")
    assert (found.entities, found.measured) == (1, False)
    assert found.bytes is not None and found.bytes > 0


def test_what_a_feature_may_keep_is_bounded_by_its_window(home: Home) -> None:
    layout = Entity.of(Card).layout
    tiles = 24 * 12 + 2  # of five minutes, a day of them: the longest window of that hop decides
    assert at_most(layout, "mean") == 8 * (1 + tiles * (1 + 2))
    assert at_most(layout, "shops") == float("inf")
    assert at_most(layout, "share") == 0
    assert at_most(Entity.of(Back).layout, "total") == float("inf")
    assert kept(Entity.of(Card), layout.empty(0), []).bytes == 0


def test_a_description_is_json(home: Home) -> None:
    found = loads(dumps(asdict(described(home))))
    assert found["views"][1]["key"] == ["card", "shop"]
