"""Watching: incidents open with a page and close without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import days
from mainspring.monitoring.drift import Verdict
from mainspring.monitoring.profile import Cells
from mainspring.monitoring.watch import HISTORY, SCORE, Reference, evaluate, score_shift, settle
from mainspring.stores.base import Metadata, Row
from mainspring.stores.urls import connect_metadata
from mainspring.vectors import Vector
from tests import small
from tests.small import BEGIN, DAY

MONITOR = ms.Monitor("cards", small.Card, ms.drift(min_rows=100), every=days(1))
NOW = BEGIN + 40 * DAY


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with closing(connect_metadata(f"sqlite:///{tmp_path}/m.sqlite", sync=False)) as metadata:
        yield metadata


def reference(**columns: Vector) -> Reference:
    cells = {name: Cells.fit(values) for name, values in columns.items()}
    features = {name: (c, c.count(columns[name])) for name, c in cells.items()}
    return Reference(features, {"a": 0.9, "b": 0.1})


def four_weeks(moves: float, seed: int = 0) -> tuple[dict[str, Vector], Vector]:
    """Two columns of the last four weeks, the first of which moves on the last day."""
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(NOW - HISTORY, NOW, 12_000))
    a, b = random.normal(size=(2, 12_000))
    return {"a": a + moves * (at >= NOW - DAY), "b": b}, at


def test_a_column_that_moves_is_paged_and_another_is_not() -> None:
    random = np.random.default_rng(1)
    known = reference(a=random.normal(size=5000), b=random.normal(size=5000))
    quiet = evaluate(MONITOR, known, *four_weeks(0.0), NOW)
    assert {name: v.level for name, v in quiet.items()} == {"a": "none", "b": "none"}
    moved = evaluate(MONITOR, known, *four_weeks(1.0), NOW)
    assert {name: v.level for name, v in moved.items()} == {"a": "page", "b": "none"}


def test_a_column_that_no_training_saw_is_not_judged() -> None:
    columns, at = four_weeks(1.0)
    assert evaluate(MONITOR, reference(b=columns["b"]), columns, at, NOW).keys() == {"b"}


def verdict(level: Any = "page", excess: float = 0.3) -> Verdict:
    return Verdict(level, False, excess, excess, 99.0, 1e-9, 24, 400, f"it is {level}")


def settled(metadata: Metadata, now: int, **verdicts: Verdict) -> str:
    known = Reference({}, {"a": 0.9, "b": 0.1})
    with metadata.begin() as transaction:
        return settle(MONITOR, verdicts, known, now, transaction)


def incidents(metadata: Metadata) -> list[Row]:
    with metadata.read() as snapshot:
        return snapshot.select("incident", order="number")


def test_an_incident_opens_once_stays_open_and_closes(metadata: Metadata) -> None:
    quiet = verdict("none", 0.0)
    steps = [quiet, verdict("notice"), verdict(), verdict(), quiet, quiet, verdict()]
    outcomes = [settled(metadata, now, a=v) for now, v in enumerate(steps)]
    assert outcomes == ["quiet", "quiet", "opened", "open", "closed", "quiet", "opened"]
    assert [(i["opened_at"], i["closed_at"]) for i in incidents(metadata)] == [(2, 4), (6, None)]


def test_an_incident_names_first_what_hurts_most(metadata: Metadata) -> None:
    settled(metadata, 5, a=verdict(excess=0.1), b=verdict(excess=0.3), c=verdict("none"))
    (incident,) = incidents(metadata)
    assert (incident["subject"], list(incident["evidence"])) == ("a", ["a", "b"])
    assert incident["evidence"]["b"]["reason"] == "it is page"


def test_every_column_is_measured_once_a_time(metadata: Metadata) -> None:
    for _ in range(2):
        settled(metadata, 5, a=verdict("none", 0.02), b=verdict(excess=0.3))
    with metadata.read() as snapshot:
        rows = snapshot.select("measurement", series="drift/cards")
    assert [(r["variant"], r["value"], r["low"]) for r in rows] == [
        ("a", 0.02, 0.02),
        ("b", 0.3, 0.3),
    ]


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    cells = Cells.fit(np.arange(100.0))
    kept = {"cells": cells.to_json(), "counts": cells.count(np.arange(100.0)).tolist()}
    content = {"features": {"a": kept}, "importance": {"a": 1.0}}
    (tmp_path / "abc.json").write_text(json.dumps(content))
    found = Reference.read(tmp_path, "abc")
    assert found.features["a"][0] == cells
    assert (found.features["a"][1].sum(), found.importance) == (100, {"a": 1.0})


def test_scores_as_they_were_judged_have_not_moved_and_others_have() -> None:
    random = np.random.default_rng(0)
    judged = {SCORE: random.beta(2, 8, 2000)}
    assert abs(score_shift(reference(**judged), random.beta(2, 8, 400))) < 0.1
    assert score_shift(reference(**judged), random.beta(3, 6, 400)) > 0.25
    assert score_shift(reference(**judged), np.empty(0)) == 0.0
