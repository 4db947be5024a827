"""The prediction log: every answer once, with what it was made from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import Column
from mainspring.clock import NEVER
from mainspring.engines.urls import connect_engine
from mainspring.features.backfill import Rows
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.serving.roster import Answers
from mainspring.sources.record import Numbered, Record
from mainspring.stores.urls import connect_tables
from mainspring.vectors import from_values

ENGINE = connect_engine()


class Ask(ms.Source, url="asks.parquet"):
    """Its columns have the names that the log uses itself."""

    role: Column[str | None]
    score: Column[float | None]
    version: Column[bool | None]
    seen: Column[datetime | None]
    at: Column[datetime] = ms.event_time()


def endpoint(*listed: Any) -> Endpoint:
    """An endpoint whose feature set is what a rule over these columns reads."""
    answered = ms.Endpoint("e", ms.Rule("r", Ask.score > 0), request=Ask, fallback=0.5)
    fake: Any = answered
    features = ms.TrainingSet("t", LABEL, listed, lookback=ms.days(1)).feature_set
    object.__setattr__(fake, "feature_set", features)
    return answered


class Came(ms.Source, url="came.parquet"):
    role: Column[str | None]
    at: Column[datetime] = ms.event_time()


LABEL = ms.Label("l", of=Ask.role, when=Came.role, within=ms.days(1))
FEATURES = (Ask.role, Ask.score, Ask.version, Ask.seen)


def log(folder: Path, *listed: Any) -> PredictionLog:
    return PredictionLog(
        endpoint(*(listed or FEATURES)), connect_tables(f"file://{folder}"), ENGINE
    )


def rows(ids: str, at: list[int]) -> Rows:
    columns = {
        "role": from_values(["x", None, "champion"][: len(ids)], "text"),
        "score": from_values([1.5, None, -2.0][: len(ids)], "number"),
        "version": from_values([True, None, False][: len(ids)], "flag"),
        "seen": from_values([7, None, 0][: len(ids)], "time"),
    }
    return Rows(from_values(list(ids), "text"), np.array(at, np.int64), columns)


def answers(scores: list[float], **silent: Any) -> Answers:
    score, roles = np.array(scores), ["champion", "canary", "fallback"][: len(scores)]
    kept: Any = silent
    return Answers(score, np.array(roles, object), np.array([1, 2, 0][: len(scores)]), kept)


def test_answers_come_back_in_the_order_of_time(tmp_path: Path) -> None:
    written = log(tmp_path)
    shadow = 2, np.array([0.9, np.nan, 0.7])
    assert written.append(
        rows("cab", [30, 10, 20]), answers([0.3, 0.1, 0.5], shadow=shadow), ("r", 1)
    )
    found = written.read(0, 100)
    assert (found.ids.tolist(), found.at.tolist()) == (["a", "b", "c"], [10, 20, 30])
    assert found.score.tolist() == [0.1, 0.5, 0.3]
    assert found.role.tolist() == ["canary", "fallback", "champion"]
    assert found.version.tolist() == [2, 0, 1]
    assert found.silent_version["shadow"].tolist() == [2, 2, 2]
    np.testing.assert_array_equal(found.silent["shadow"], [np.nan, 0.7, 0.9])
    assert found.silent_version["frozen"].tolist() == [0, 0, 0]
    assert np.isnan(found.silent["frozen"]).all()


def test_a_stretch_has_its_start_and_not_its_end(tmp_path: Path) -> None:
    written = log(tmp_path)
    assert (len(written.read(0, 100)), written.count(0, 100)) == (0, 0)
    written.append(rows("abc", [10, 20, 30]), answers([0.1, 0.2, 0.3]), ("r", 1))
    assert written.read(10, 30).ids.tolist() == ["a", "b"]
    assert written.count(11, 31) == 2


def test_what_was_appended_is_not_appended_again(tmp_path: Path) -> None:
    written = log(tmp_path)
    for number, appended in ((5, True), (5, False), (3, False), (6, True)):
        assert written.append(rows("ab", [1, 2]), answers([0.1, 0.2]), ("r", number)) is appended
    assert written.count(0, 9) == 4


def test_features_have_any_name_and_come_back_as_they_were(tmp_path: Path) -> None:
    written, given = log(tmp_path), rows("abc", [10, 20, 30])
    written.append(given, answers([0.1, 0.2, 0.3]), ("r", 1))
    found = written.features(0, 100)
    assert found.ids.tolist() == ["a", "b"]  # a fallback was made from nothing
    assert found.columns["role"].tolist() == ["x", None]
    np.testing.assert_array_equal(found.columns["score"], [1.5, np.nan])
    np.testing.assert_array_equal(found.columns["version"], [1.0, np.nan])
    assert found.columns["seen"].tolist() == [7, NEVER]


def test_a_feature_that_was_declared_later_is_null_before(tmp_path: Path) -> None:
    log(tmp_path, Ask.score).append(rows("ab", [1, 2]), answers([0.1, 0.2]), ("r", 1))
    more = log(tmp_path, Ask.score, Ask.seen)
    assert more.features(0, 9).columns["seen"].tolist() == [NEVER, NEVER]
    more.append(rows("ab", [3, 4]), answers([0.1, 0.2]), ("r", 2))
    assert more.features(0, 9).columns["seen"].tolist() == [NEVER, NEVER, 7, NEVER]
    assert log(tmp_path, Ask.score).features(0, 9).columns.keys() == {"score"}


def record(at: int, to: str = "e", **also: Any) -> Record:
    answer = {
        "endpoint": to,
        "request_id": f"r{at}",
        "id": f"p{at}",
        "at": at,
        "score": 0.25,
        "role": "champion",
        "version": 3,
        "silent": {"shadow": [4, float("nan")]},
        "features": {"role": "x", "score": 1.5, "version": True, "seen": 7},
    }
    return Record("Ask", at, [], answer | also)


def test_records_of_the_log_become_rows_once(tmp_path: Path) -> None:
    written = log(tmp_path)
    batch: list[Numbered] = [
        (0, record(10)),
        (1, Record("Came", 11, [])),
        (2, record(12, to="other")),
        (3, record(13, features={})),
    ]
    assert written.append_records(batch[:3], 3)
    assert not written.append_records(batch[:3], 3)
    assert written.append_records(batch, 4)
    assert not written.append_records(batch, 4)
    found = written.read(0, 99)
    assert (found.ids.tolist(), found.version.tolist()) == (["p10", "p13"], [3, 3])
    assert found.silent_version["shadow"].tolist() == [4, 4]
    assert np.isnan(found.silent["shadow"]).all()
    assert written.features(0, 99).columns["role"].tolist() == ["x", None]


@pytest.mark.parametrize("batch", [[], [(0, Record("Came", 1, []))]])
def test_a_batch_without_answers_writes_nothing(tmp_path: Path, batch: list[Numbered]) -> None:
    assert not log(tmp_path).append_records(batch, 1)
    assert log(tmp_path).store.version("__predictions_e") == -1
