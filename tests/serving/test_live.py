"""The live loop beside the process that serves: what it folds, once, and how far it looks."""

from __future__ import annotations

from contextlib import closing

from mainspring.graph import Graph
from mainspring.retraining.live import Live
from mainspring.retraining.past import FOLDED
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from mainspring.sources.source import Source
from tests.serving.conftest import event, payment

FOREVER = 1 << 62


def serve(shop: Graph, home: Home, *names: str) -> None:
    """Answers a request of each name, takes an event for each, and stops."""
    with closing(Service(shop, home, home.clock())) as service:
        for name in names:
            service.answer(service.score(service.accept("payment", payment(f"asked-{name}"))))
            service.take("Payment", [event(f"event-{name}", service.clock.now())])


def fold(shop: Graph, home: Home) -> int:
    """What one life of the live loop folds."""
    with closing(Live(shop, home, home.clock(), told=lambda happened: None)) as live:
        return live.fold()


def answered(shop: Graph, home: Home) -> list[str]:
    endpoint = next(e for e in shop.of_kind(Endpoint) if e.name == "payment")
    found = PredictionLog(endpoint, home.tables, home.engine).read(0, FOREVER)
    return sorted(key for key in found.ids if key.startswith("asked"))


def payments(shop: Graph, home: Home) -> list[str]:
    source = next(s for s in shop.of_kind(Source) if s.__schema__.id == "Payment")
    query = "SELECT payment_id AS id FROM rows WHERE payment_id NOT LIKE 'h%' ORDER BY 1"
    found: list[str] = home.engine.select(query, rows=home.table(source).files)["id"].to_pylist()
    return found


def test_answers_and_events_are_folded_once(shop: Graph, home: Home) -> None:
    serve(shop, home, "a", "b")
    assert fold(shop, home) == 4
    assert fold(shop, home) == 0
    assert answered(shop, home) == ["asked-a", "asked-b"]
    assert payments(shop, home) == ["asked-a", "asked-b", "event-a", "event-b"]


def test_a_loop_that_starts_again_goes_on_where_the_last_one_was(shop: Graph, home: Home) -> None:
    serve(shop, home, "a", "b")
    fold(shop, home)
    serve(shop, home, "late")
    assert fold(shop, home) == 2
    assert answered(shop, home) == ["asked-a", "asked-b", "asked-late"]


def test_a_loop_that_lost_its_place_doubles_nothing(shop: Graph, home: Home) -> None:
    serve(shop, home, "a", "b", "c")
    fold(shop, home)
    with home.metadata.begin() as transaction:
        transaction.upsert("cursor", {"name": FOLDED}, value=1)
    assert fold(shop, home) == 5
    assert len(payments(shop, home)) == 6
    assert len(answered(shop, home)) == 3


def test_the_same_request_asked_again_is_one_row_and_two_answers(shop: Graph, home: Home) -> None:
    serve(shop, home, "a")
    serve(shop, home, "a")
    fold(shop, home)
    assert payments(shop, home) == ["asked-a", "event-a"]
    assert answered(shop, home) == ["asked-a", "asked-a"]


def test_a_step_looks_no_further_than_everything_is_known(shop: Graph, home: Home) -> None:
    serve(shop, home, "a")
    with closing(Live(shop, home, home.clock(), told=lambda happened: None)) as live:
        before = home.clock().now()
        live.step()
        assert live.known_at < before
