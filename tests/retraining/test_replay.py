"""Replay: the same inputs give the same timeline, whatever happens to the process that runs it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mainspring.clock import VirtualClock
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.replay import Replayed, replay
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.sources.home import Home
from tests import small
from tests.crash import Mortal
from tests.retraining.conftest import END, START
from tests.small import BEGIN, CHANGE, DAY, HOUR

GRAPH = small.graph()
(PAY,) = GRAPH.of_kind(Endpoint)


def log(home: Home) -> PredictionLog:
    return PredictionLog(PAY, home.tables, home.engine)


def rows(home: Home, table: str, **given: Any) -> list[dict[str, Any]]:
    with home.metadata.read() as snapshot:
        return snapshot.select(table, **given)


def versions(home: Home, until: int) -> list[tuple[int, str, str, int]]:
    found = rows(home, "version", order="number", below={"at": until + 1})
    return [(v["number"], v["sha256"], v["rows_hash"], v["at"]) for v in found]


def before(timeline: Iterable[Happened], until: int) -> list[Happened]:
    return [happened for happened in timeline if happened.at <= until]


def same_answers(one: Home, other: Home, start: int, end: int) -> bool:
    """Whether both logs have the same rows, to the bit."""
    a, b = (log(home).read(start, end) for home in (one, other))
    features = [log(home).features(start, end).columns for home in (one, other)]
    pairs = [(a.ids, b.ids), (a.at, b.at), (a.score, b.score), (a.role, b.role)]
    pairs += [(a.version, b.version)]
    pairs += [(a.silent[role], b.silent[role]) for role in a.silent]
    pairs += [(a.silent_version[role], b.silent_version[role]) for role in a.silent]
    pairs += [(features[0][name], features[1][name]) for name in features[0]]
    return len(a) > 0 and all(
        x.tolist() == y.tolist() if x.dtype == object else x.tobytes() == y.tobytes()
        for x, y in pairs
    )


def test_every_request_is_answered_once(replayed: tuple[Home, Replayed]) -> None:
    home, done = replayed
    with_rows = home.engine.select(
        f"SELECT count(*) AS n FROM p WHERE epoch_us(asked_at) >= {START}",
        p=home.table(small.Payment).files,
    )
    found = log(home).read(START, END)
    assert done.answers == len(found) == len(set(found.ids)) == with_rows["n"][0].as_py()


def test_everything_happened_for_a_reason_and_in_order(replayed: tuple[Home, Replayed]) -> None:
    _, done = replayed
    assert {h.kind for h in done.timeline} >= {
        *("trained", "shadow", "canary", "promoted", "incident_opened", "incident_closed")
    }
    assert all(h.reason for h in done.timeline)
    assert [h.at for h in done.timeline] == sorted(h.at for h in done.timeline)


def test_the_frozen_version_never_changes_and_retraining_beats_it_after_the_change(
    replayed: tuple[Home, Replayed],
) -> None:
    home, _ = replayed
    assert set(log(home).read(START, END).silent_version["frozen"]) == {1}
    days = rows(home, "measurement", series="pay/log_loss")
    value = {(d["variant"], d["at"]): d["value"] for d in days}
    late = [at for variant, at in value if variant == "served" and at >= CHANGE + 15 * DAY]
    assert len(late) >= 5
    assert all(value["served", at] < value["frozen", at] - 0.05 for at in late)


def test_no_version_answers_before_it_was_made(replayed: tuple[Home, Replayed]) -> None:
    home, _ = replayed
    made = {v["number"]: v["at"] for v in rows(home, "version")}
    found = log(home).read(START, END)
    assert all(made[n] <= at for n, at in zip(found.version, found.at, strict=True))
    challengers = zip(found.silent_version["shadow"], found.at, strict=True)
    assert all(made[number] <= at for number, at in challengers if number)


def test_each_day_is_measured_once_when_its_outcomes_have_come(
    replayed: tuple[Home, Replayed],
) -> None:
    home, _ = replayed
    steps = rows(home, "step", kind="measure")
    days = sorted(int(step["key"].rpartition("/")[2]) for step in steps)
    assert days == list(range(START, END - DAY - DAY - 2 * HOUR, DAY))
    matured = [d + DAY + DAY + 2 * HOUR + 1 for d in days]
    assert sorted(step["started_at"] for step in steps) == matured
    assert {step["state"] for step in rows(home, "step")} == {"done"}


def test_an_incident_opens_after_the_change_and_asks_for_a_training(
    replayed: tuple[Home, Replayed],
) -> None:
    home, done = replayed
    (incident, *_) = rows(home, "incident", order="number", monitor="cards")
    assert CHANGE < incident["opened_at"] <= CHANGE + 8 * DAY
    assert incident["closed_at"] > incident["opened_at"]
    told = [h for h in done.timeline if h.kind == "trained" and h.reason.startswith("drift: Card.")]
    assert [h.at for h in told] == [incident["opened_at"]]


def test_a_replay_that_knows_nothing_of_the_future_does_the_same(
    replayed: tuple[Home, Replayed], tmp_path: Path
) -> None:
    """Another process with one thread, and a history that ends where the replay does."""
    whole, done = replayed
    until = BEGIN + 18 * DAY
    small.write_history(tmp_path, until=18)
    with small.home(tmp_path / "home", tmp_path) as home:
        engine: Any = home.engine
        engine._database.execute("SET threads = 1")
        again = replay(GRAPH, home, START, until)
        assert again.timeline == before(done.timeline, until)
        assert versions(home, until) == versions(whole, until)
        assert same_answers(home, whole, START, until)


def test_it_may_stop_and_go_on_and_be_looked_at_more_often(
    replayed: tuple[Home, Replayed], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`next_due` skips nothing: who looks every three hours sees nothing earlier."""
    whole, done = replayed
    until, due = START + 6 * DAY, Loop.next_due
    monkeypatch.setattr(
        Loop, "next_due", lambda self, now: min(due(self, now), (now // HOUR + 3) * HOUR)
    )
    seen: list[Happened] = []

    def told(at: int, happened: Sequence[Happened]) -> None:
        assert all(h.at == at for h in happened)
        seen.extend(happened)

    replay(GRAPH, home, START, START + 3 * DAY, told=told)
    again = replay(GRAPH, home, START, until, told=told)
    assert seen == again.timeline == before(done.timeline, until)
    assert again.answers == log(home).count(START, until)
    assert same_answers(home, whole, START, until)
    assert replay(GRAPH, home, START, until).timeline == again.timeline


KILLED_IMPORTS = """
import sys
from pathlib import Path
import mainspring.stores.sqlalchemy, mainspring.stores.deltalake, mainspring.engines.duckdb
from mainspring.retraining.replay import replay
from mainspring.sources.home import Home
from tests import small
"""
KILLED_PROGRAM = """
folder, data, start, end = Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
home = Home.open(folder, data, sync=False)
ready()
replay(small.graph(), home, start, end)
"""


def test_six_kill_9_double_nothing_and_lose_nothing(
    replayed: tuple[Home, Replayed], data: Path, tmp_path: Path
) -> None:
    whole, done = replayed
    until, moments = START + 6 * DAY, random.Random(9)
    with small.home(tmp_path, data):
        pass
    arguments = (str(tmp_path), str(data), str(START), str(until))
    with Mortal(KILLED_IMPORTS, KILLED_PROGRAM, *arguments) as process:
        ended = [process.live(moments.uniform(0.1, 1.5)) for _ in range(6)]
        while not process.live():
            pass
    assert not all(ended)
    with small.home(tmp_path, data) as home:
        assert list(Loop(GRAPH, home, VirtualClock(until)).happened()) == before(
            done.timeline, until
        )
        assert versions(home, until) == versions(whole, until)
        assert [r["number"] for r in rows(home, "run")] == [v[0] for v in versions(home, until)]
        assert {step["state"] for step in rows(home, "step")} == {"done"}
        assert same_answers(home, whole, START, until)
        measured = {"below": {"at": until - 2 * DAY - 3 * HOUR}}
        assert rows(home, "measurement", **measured) == rows(whole, "measurement", **measured)
