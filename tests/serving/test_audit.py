"""The continuous audit: what serving used is what history gives, or there is an incident."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from mainspring import hours, operations, terminal
from mainspring.clock import VirtualClock
from mainspring.features.online import OnlineFeatures
from mainspring.features.section import PARTIALS, Section
from mainspring.features.tiles import States
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.retraining import auditing
from mainspring.retraining.auditing import Audits
from mainspring.retraining.live import Live
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.past import Past
from mainspring.serving.metrics import Metrics
from mainspring.serving.service import Service
from mainspring.sources import quarantine
from mainspring.sources.home import Home
from mainspring.stores.base import Row
from tests.serving.conftest import event, payment, until

HOUR = 3_600_000_000


def serve(shop: Graph, home: Home, *names: str) -> None:
    """Takes a payment of one user for each name, then answers a request of that user."""
    with closing(Service(shop, home, home.clock())) as service:
        for name in names:
            paid = {**event(f"paid-{name}", service.clock.now()), "user": "u3"}
            service.take("Payment", [paid])
            service.stream.apply()
            asked = {**payment(name), "user": "u3"}
            service.answer(service.score(service.accept("payment", asked)))
    with closing(Live(shop, home, home.clock(), told=lambda happened: None)) as live:
        live.fold()


def audit(shop: Graph, home: Home, at: int) -> list[Happened]:
    """What a loop that audits every hour finds when all answers are known."""
    with closing(home.online()) as store:
        online = OnlineFeatures.of(store, shop.of_kind(FeatureView))
        audits = Audits(Past(home), online, hours(1))
        happened = Loop(shop, home, VirtualClock(at), audits=audits).tick()
    return [h for h in happened if h.subject == "skew/payment" or "audit" in h.subject]


def change(shop: Graph, home: Home, edit: Callable[[States], None]) -> None:
    """Changes what the online store holds of the user, and the values that reads take."""
    with closing(home.online()) as store:
        online = OnlineFeatures.of(store, shop.of_kind(FeatureView))
        entity, now = online.entities["User"], online.applied().arrival + 1
        states = entity.packing.unpack(store.read([entity.key("u3")]))
        edit(states)
        store.write({entity.key("u3"): entity.packed(states, now)[0]})


def break_a_tile(states: States) -> None:
    """The newest tile of the windows of a week counts one payment too many."""
    tiles = states.tiles[HOUR]
    words = tiles.words.copy()
    words[-1, PARTIALS : PARTIALS + 1].view(np.float64)[:] += 1
    states.tiles[HOUR] = Section(tiles.owner, words)


def rows(home: Home, table: str, **given: Any) -> list[Row]:
    with home.metadata.read() as snapshot:
        return snapshot.select(table, **given)


def test_a_broken_tile_opens_an_incident_that_names_it_and_its_rows(
    shop: Graph, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(shop, home, "a", "b")
    now = home.clock().now()
    assert audit(shop, home, now) == []
    change(shop, home, break_a_tile)
    serve(shop, home, "c")
    (opened,) = audit(shop, home, now + HOUR)
    assert opened.kind == "incident_opened"
    assert opened.reason.startswith("skew of User.payments_7d in 1 of 1 answers")
    (incident,) = rows(home, "incident")
    assert (incident["monitor"], incident["subject"]) == ("skew/payment", "User.payments_7d")
    told = "\n".join(incident["evidence"]["User.payments_7d"]["explanation"])
    assert "is broken: no change of its rows gives what it holds" in told
    assert "online: 1 of " in told
    assert "log row 4: 1, happened" in told
    found = operations.audit(shop, home, "payment", start=now - HOUR, end=now + HOUR, limit=9)
    terminal.show_audit("payment", found)
    assert "served 1" in capsys.readouterr().out


def test_rows_that_are_not_in_the_tables_yet_are_no_difference(shop: Graph, home: Home) -> None:
    now = home.clock().now()
    audit(shop, home, now)
    change(shop, home, break_a_tile)
    serve(shop, home, "a")
    with closing(Service(shop, home, home.clock())) as service:
        for n in range(3):
            paid = {**event(f"more-{n}", service.clock.now()), "user": "u3"}
            service.take("Payment", [paid])
    audit(shop, home, now + HOUR)
    told = rows(home, "incident")[0]["evidence"]["User.payments_7d"]["explanation"]
    broken = [text for text in told if text.strip().startswith("tile ")]
    assert len(broken) == 1  # the tile of those payments is what its rows say, in the log or not


def test_audits_are_measured_and_counted(shop: Graph, home: Home) -> None:
    now = home.clock().now()
    audit(shop, home, now)
    change(shop, home, break_a_tile)
    serve(shop, home, "a", "b")
    audit(shop, home, now + HOUR)
    measured = {m["variant"]: m for m in rows(home, "measurement", series="skew/payment")}
    assert {name: m["value"] for name, m in measured.items()} == {"": 2, "User.payments_7d": 2}
    counted = {c["name"]: c["value"] for c in rows(home, "counter")}
    assert counted["audited/payment"] == 2
    with closing(Service(shop, home, home.clock())) as service:
        exported = Metrics(service).text().decode()
    skewed = 'mainspring_skewed_total{endpoint="payment",feature="User.payments_7d"} 2.0'
    assert {'mainspring_audited_total{endpoint="payment"} 2.0', skewed} <= {*exported.split("\n")}


def test_an_audit_that_is_killed_is_done_again_and_counts_once(
    shop: Graph, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = home.clock().now()
    audit(shop, home, now)
    serve(shop, home, "a")
    with monkeypatch.context() as patched:

        def killed(*given: Any) -> None:
            raise SystemExit

        patched.setattr(auditing, "move", killed)  # within the transaction that makes it count
        with pytest.raises(SystemExit):
            audit(shop, home, now + HOUR)
    assert rows(home, "measurement", series="skew/payment") == []
    audit(shop, home, now + HOUR + 1)
    audit(shop, home, now + HOUR + 2)
    (measured,) = rows(home, "measurement", series="skew/payment")
    assert (measured["value"], measured["rows"]) == (0, 1)


def test_a_row_that_came_in_behind_the_stream_is_named(shop: Graph, home: Home) -> None:
    now = home.clock().now()
    audit(shop, home, now)
    bad = {**event("bad", now - HOUR), "user": "u3", "amount": -1}
    with closing(Service(shop, home, home.clock())) as service:
        assert service.take("Payment", [bad])["held"] == 1
    table = home.table(operations.source_named(shop, "Payment"))
    quarantine.replay(table, home.engine, home.clock(), {"amount": 5.0})
    serve(shop, home, "a")
    (opened,) = audit(shop, home, now + HOUR)
    assert "came in behind the stream; `mainspring materialise` takes them in" in opened.reason
    evidence = rows(home, "incident")[0]["evidence"]
    assert evidence.keys() >= {"User.payments_7d", "User.mean_7d"}
    told = "\n".join(evidence["User.payments_7d"]["explanation"])
    assert "row -1: 1, happened" in told


def test_an_answer_of_another_plan_is_not_audited(shop: Graph, home: Home) -> None:
    now = home.clock().now()
    audit(shop, home, now)
    change(shop, home, break_a_tile)
    serve(shop, home, "a")
    operations.apply_plan(shop, home, home.clock().now() + 1)
    assert audit(shop, home, now + HOUR) == []
    assert audit(shop, home, now + 2 * HOUR) == []
    assert rows(home, "counter", name="audited/payment") == []


def test_a_request_that_was_asked_again_with_other_values_is_no_skew(
    shop: Graph, home: Home
) -> None:
    now = home.clock().now()
    serve(shop, home, "a")
    with closing(Service(shop, home, home.clock())) as service:
        again = {**payment("a"), "user": "u4"}
        service.answer(service.score(service.accept("payment", again)))
    with closing(Live(shop, home, home.clock(), told=lambda happened: None)) as live:
        live.fold()
    found = operations.audit(shop, home, "payment", start=now, end=now + HOUR, limit=9)
    assert (found.requests, found.missing, found.first) == (1, 1, None)


def test_the_live_loop_audits(shop: Graph, home: Home) -> None:
    serve(shop, home, "a")
    home.accelerate(home.clock().now(), 100.0)
    with closing(Live(shop, home, home.clock(), told=lambda happened: None)) as live:

        def audited() -> bool:
            live.step()
            return bool(rows(home, "counter", name="audited/payment"))

        until(audited, 20)
