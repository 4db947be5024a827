from __future__ import annotations

from pathlib import Path

import pytest

from mainspring.console.report import write_report
from mainspring.graph import Graph
from mainspring.retraining.loop import Happened
from mainspring.retraining.replay import Replayed
from mainspring.sources.home import Home
from tests.console.conftest import DAY, HOSTILE, START
from tests.console.html import Page, check


def written(graph: Graph, home: Home, path: Path) -> tuple[str, Page]:
    kinds = ("trained", "trained", "promoted", "incident_opened")
    timeline = [Happened(START + DAY, "returns", kind, HOSTILE) for kind in kinds]
    write_report(graph, home, Replayed(START, START + 40 * DAY, timeline, 1234), path, seconds=7)
    text = path.read_text()
    return text, check(text)


def test_the_report_is_one_file_with_its_charts(graph: Graph, filled: Home, tmp_path: Path) -> None:
    text, page = written(graph, filled, tmp_path / "new" / "report.html")
    assert text.count('<svg xmlns="http://www.w3.org/2000/svg" class="chart"') == 4
    assert "//" not in text.replace("http://www.w3.org/", "")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.html"]
    assert "link" in page.tags and page.addresses == ["data:,"]


def test_the_report_escapes_what_it_tells(graph: Graph, filled: Home, tmp_path: Path) -> None:
    text, page = written(graph, filled, tmp_path / "report.html")
    assert HOSTILE in page.words
    assert "<script" not in text


@pytest.mark.parametrize(
    "told",
    [
        "requests answered1,234",
        "trainings2",
        "promotions1",
        "rollbacks0",
        "incidents1",
        "took7 s",
        "Over 40 days and 4,000 labelled answers, the log loss of what was served is 0.4805",
        "that of the first version, left as it was, is 0.5000",
        "Retraining bought 0.0195 (4 %); what was served was better on 39 of the 40 days.",
        "Retraining cost 0.0195",
    ],
)
def test_the_report_tells(told: str, graph: Graph, filled: Home, tmp_path: Path) -> None:
    _, page = written(graph, filled, tmp_path / "report.html")
    assert told in page.words.replace("\n", "")


def test_the_report_of_an_empty_home_says_so(graph: Graph, empty: Home, tmp_path: Path) -> None:
    text, page = written(graph, empty, tmp_path / "report.html")
    assert "No day has matured labels yet." in page.words
    assert 'class="chart"' not in text


def test_the_same_replay_gives_the_same_report(graph: Graph, filled: Home, tmp_path: Path) -> None:
    once, _ = written(graph, filled, tmp_path / "a.html")
    again, _ = written(graph, filled, tmp_path / "b.html")
    assert once == again
