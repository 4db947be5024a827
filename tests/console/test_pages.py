from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from mainspring.console.pages import routes
from mainspring.graph import Graph
from mainspring.sources.home import Home
from tests.console.conftest import HOSTILE
from tests.console.html import check

PAGES = ["", "/versions", "/versions/returns", "/monitors", "/sources", "/features", "/decisions"]


def client(graph: Graph, home: Home) -> TestClient:
    return TestClient(Starlette(routes=routes(graph, home)))


@pytest.mark.parametrize("page", PAGES)
def test_each_page_of_an_empty_home_answers(page: str, graph: Graph, empty: Home) -> None:
    answer = client(graph, empty).get(f"/console{page}")
    assert answer.status_code == 200
    check(answer.text)


@pytest.mark.parametrize("page", PAGES)
def test_each_page_of_a_filled_home_answers(page: str, graph: Graph, filled: Home) -> None:
    answer = client(graph, filled).get(f"/console{page}")
    assert answer.status_code == 200
    check(answer.text)


@pytest.mark.parametrize("page", ["", "/versions", "/monitors", "/sources", "/decisions"])
def test_hostile_text_is_shown_as_text(page: str, graph: Graph, filled: Home) -> None:
    answer = client(graph, filled).get(f"/console{page}")
    assert HOSTILE in check(answer.text).words
    assert "<script" not in answer.text


def test_a_system_with_nothing_in_it_has_its_pages(empty: Home) -> None:
    nothing = client(Graph(HOSTILE, {}), empty)
    for page in (p for p in PAGES if p != "/versions/returns"):
        answer = nothing.get(f"/console{page}")
        assert answer.status_code == 200
        assert HOSTILE in check(answer.text).words


def test_the_overview_says_who_answers_and_who_is_on_the_way(graph: Graph, filled: Home) -> None:
    words = check(client(graph, filled).get("/console").text).words
    assert "v2 answers, v4 10 %" in words
    assert "25 % by the fallback" in words
    assert "0.0360 better than the first version" in words


def test_the_overview_draws_every_declaration_and_need(graph: Graph, empty: Home) -> None:
    text = client(graph, empty).get("/console").text
    for node in graph.nodes.values():
        assert f" {node.name}: " in text
    assert text.count('<path class="loop"') == 1


def test_live_pages_refresh_until_they_are_paused(graph: Graph, empty: Home) -> None:
    pages = client(graph, empty)
    assert 'http-equiv="refresh"' in pages.get("/console").text
    assert 'http-equiv="refresh"' not in pages.get("/console?paused").text
    assert 'http-equiv="refresh"' not in pages.get("/console/versions").text


def test_decisions_of_one_kind_are_shown_alone(graph: Graph, filled: Home) -> None:
    words = check(client(graph, filled).get("/console/decisions?kind=promoted").text).words
    assert words.count("evidence") == 1


def test_a_version_that_was_refused_says_so(graph: Graph, filled: Home) -> None:
    words = check(client(graph, filled).get("/console/versions/returns").text).words
    for standing in ("champion", "canary", "first, frozen", "refused"):
        assert standing in words


def test_a_version_says_which_features_are_worth_a_look(graph: Graph, filled: Home) -> None:
    words = check(client(graph, filled).get("/console/versions/returns").text).words
    assert words.count("feature to look at") == 1
    assert f"{HOSTILE} is always 1" in words


@pytest.mark.parametrize("page", ["/nothing", "/versions/nothing", "/versions/a/b"])
def test_an_unknown_page_is_not_found(page: str, graph: Graph, empty: Home) -> None:
    answer = client(graph, empty).get(f"/console{page}")
    assert answer.status_code == 404
    assert "There is no such page" in check(answer.text).words


def test_pages_allow_no_script_and_nothing_from_elsewhere(graph: Graph, empty: Home) -> None:
    headers = client(graph, empty).get("/console").headers
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")


def test_the_style_sheet_stands_alone(graph: Graph, empty: Home) -> None:
    answer = client(graph, empty).get("/console/console.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text and "//" not in answer.text


def test_pages_work_below_a_prefix(graph: Graph, empty: Home) -> None:
    pages = TestClient(Starlette(routes=routes(graph, empty)), root_path="/ml")
    assert 'href="/ml/console/versions"' in pages.get("/ml/console").text
