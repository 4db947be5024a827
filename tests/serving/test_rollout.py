"""Rollout: how a version takes over, and what takes it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import days
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.registry import Alias, Role, aliases
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import Logged
from mainspring.serving.rollout import (
    ERROR,
    Guarded,
    Pair,
    advance,
    crown_by_hand,
    due,
    enter,
    guard,
    moving,
)
from mainspring.stores.base import Metadata
from mainspring.stores.urls import connect_metadata
from mainspring.vectors import Vector
from tests import small
from tests.small import DAY

MODEL = small.model()
SLOW = ms.Endpoint("pay", MODEL, rollout=ms.Canary([0.1, 0.5, 1.0], bake=days(1)))
AT_ONCE = ms.Endpoint("pay", MODEL)
HELD = Guarded(None, {})


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with closing(connect_metadata(f"sqlite:///{tmp_path}/m.sqlite", sync=False)) as metadata:
        yield metadata


def roles(metadata: Metadata) -> dict[Role, tuple[int, float]]:
    with metadata.read() as snapshot:
        return {r: (a.number, a.share) for r, a in aliases(snapshot, "pay").items()}


def told(metadata: Metadata) -> list[str]:
    with metadata.read() as snapshot:
        rows = snapshot.select("decision", order="number")
    return [f"{r['kind']} {r['reason']}" for r in rows]


def entering(metadata: Metadata, number: int, now: int = 0, at: Endpoint = SLOW) -> None:
    with metadata.begin() as transaction:
        enter(at, aliases(transaction, "pay"), number, now, transaction)


def stepping(
    metadata: Metadata, guarded: Guarded = HELD, at: Endpoint = SLOW, now: int = 0
) -> None:
    with metadata.begin() as transaction:
        alias = moving(aliases(transaction, "pay"))
        assert alias is not None
        advance(at, alias, guarded, now, transaction)


def test_the_first_version_answers_at_once_and_is_kept_to_compare(metadata: Metadata) -> None:
    entering(metadata, 1)
    assert roles(metadata) == {"champion": (1, 1.0), "frozen": (1, 0.0)}
    assert told(metadata) == ["promoted v1 is champion: the first version that met its gates"]


def test_a_version_goes_from_shadow_by_growing_shares_to_champion(metadata: Metadata) -> None:
    entering(metadata, 1)
    entering(metadata, 2)
    seen = [roles(metadata)]
    for _ in range(3):
        stepping(metadata)
        seen.append(roles(metadata))
    ways = [{r: a for r, a in s.items() if r != "frozen"} for s in seen]
    assert ways == [
        {"champion": (1, 1.0), "shadow": (2, 0.0)},
        {"champion": (1, 1.0), "canary": (2, 0.1)},
        {"champion": (1, 1.0), "canary": (2, 0.5)},
        {"champion": (2, 1.0)},
    ]
    assert told(metadata)[1:] == [
        "shadow v2 answers silently",
        "canary v2 answers 10% of the requests",
        "canary v2 answers 50% of the requests",
        "promoted v2 is champion: every guard held through the rollout",
    ]
    assert roles(metadata)["frozen"] == (1, 0.0)


def test_a_broken_guard_takes_a_version_back_at_any_step(metadata: Metadata) -> None:
    entering(metadata, 1)
    for number, steps in ((2, 0), (3, 1), (4, 2)):
        entering(metadata, number)
        for _ in range(steps):
            stepping(metadata)
        stepping(metadata, Guarded("it is worse", {"answers": 9}))
        assert roles(metadata) == {"champion": (1, 1.0), "frozen": (1, 0.0)}
        assert told(metadata)[-1] == f"rolled_back v{number} is taken back: it is worse"


def test_a_newer_version_overtakes_one_on_its_way(metadata: Metadata) -> None:
    for number in (1, 2):
        entering(metadata, number)
    stepping(metadata)
    entering(metadata, 3)
    assert roles(metadata) == {"champion": (1, 1.0), "frozen": (1, 0.0), "shadow": (3, 0.0)}
    assert told(metadata)[-2:] == [
        "superseded v2 gives way to v3",
        "shadow v3 answers silently",
    ]


def test_without_a_rollout_a_version_is_champion_at_once(metadata: Metadata) -> None:
    entering(metadata, 1)
    entering(metadata, 2, at=AT_ONCE)
    assert roles(metadata)["champion"] == (2, 1.0)
    assert told(metadata)[-1] == "promoted v2 is champion: the endpoint declares no rollout"


def test_a_rollout_that_is_no_longer_declared_ends(metadata: Metadata) -> None:
    for number in (1, 2):
        entering(metadata, number, now=5)
    stepping(metadata, now=7)
    with metadata.read() as snapshot:
        assert due(AT_ONCE, aliases(snapshot, "pay")) == 7
        assert due(SLOW, aliases(snapshot, "pay")) == 7 + DAY
    stepping(metadata, at=AT_ONCE)
    assert roles(metadata) == {"champion": (2, 1.0), "frozen": (1, 0.0)}


def test_a_version_that_a_person_stopped_meanwhile_stays_stopped(metadata: Metadata) -> None:
    for number in (1, 2):
        entering(metadata, number)
    with metadata.begin() as transaction:
        looked_at = moving(aliases(transaction, "pay"))
        assert looked_at is not None
        crown_by_hand(SLOW, aliases(transaction, "pay"), 1, 9, transaction, kind="rolled_back")
        advance(SLOW, looked_at, HELD, 9, transaction)
    assert roles(metadata) == {"champion": (1, 1.0), "frozen": (1, 0.0)}
    assert told(metadata)[-1] == "rolled_back v1 is champion: rolled back by hand"


def logged(role: Mapping[int, str], silent: Vector, score: Vector, number: int = 2) -> Logged:
    """Answers at the times 0, 1, 2, …; `role` by position where it is not the champion."""
    rows = len(score)
    roles = np.array([role.get(n, "champion") for n in range(rows)], object)
    ids, nothing = np.array([f"p{n}" for n in range(rows)], object), np.full(rows, np.nan)
    return Logged(
        ids,
        np.arange(rows),
        score,
        roles,
        np.where(roles == "canary", number, 1),
        {"shadow": silent, "frozen": nothing},
        {"shadow": np.full(rows, number), "frozen": np.zeros(rows, np.int64)},
    )


def test_champion_and_challenger_are_paired_where_both_said_something() -> None:
    score, silent = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.2, np.nan, 0.6])
    pair = Pair.of(logged({1: "canary", 3: "fallback"}, silent, score), 2)
    assert pair.both.tolist() == [True, False, False, False]
    assert len(pair) == 4
    assert len(pair.since(2)) == 2
    assert len(Pair.of(logged({}, silent, score), 7)) == 0


def guarding(
    champion: Vector, challenger: Vector, labels: Vector, metric: Metric = ms.log_loss, **also: Any
) -> Guarded:
    pair = Pair.of(logged({}, challenger, champion), 2)
    given: dict[str, Any] = {"moved": 0.0, "looks": 3, "seed": 0} | also
    return guard(pair, pair, labels, metric=metric, **given)


def answers(rows: int, seed: int, noise: float) -> tuple[Vector, Vector, Vector]:
    """What came, what the champion said, and a challenger with more or less noise than it."""
    random = np.random.default_rng(seed)
    truth = random.normal(-1.5, 1.0, rows)
    y = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.float64)
    ours, theirs = (truth + random.normal(0, s, rows) for s in (0.5, noise))
    return y, 1 / (1 + np.exp(-ours)), 1 / (1 + np.exp(-theirs))


def test_failed_answers_take_a_version_back() -> None:
    y, champion, challenger = answers(300, 0, 0.5)
    challenger[7] = np.nan
    assert guarding(champion, challenger, y).broken == "1 of 300 answers failed"


def test_scores_unlike_those_judged_and_unlike_the_champions_take_it_back() -> None:
    y, champion, challenger = answers(300, 1, 0.5)
    y[:] = np.nan
    broken = guarding(champion, challenger / 9, y, moved=0.4)
    assert broken.broken == "its scores moved by PSI 0.40 since it was judged"
    assert guarding(champion[:100], challenger[:100] / 9, y[:100], moved=0.4).broken is None
    assert guarding(champion, challenger, y, moved=0.4).broken is None  # so did the champion's
    assert guarding(champion, challenger / 9, y, moved=0.1).broken is None  # so was it judged


def test_without_labels_or_answers_quality_is_not_judged() -> None:
    y, champion, challenger = answers(3000, 0, 9.0)
    assert guarding(champion, challenger, np.full(3000, np.nan)).broken is None
    assert guarding(champion[:199], challenger[:199], y[:199]).broken is None
    found = guarding(champion[:0], challenger[:0], y[:0])
    assert (found.broken, found.evidence["answers"]) == (None, 0)


def test_an_identical_version_is_not_taken_back() -> None:
    y, champion, _ = answers(3000, 0, 0.5)
    assert guarding(champion, champion.copy(), y).broken is None


@pytest.mark.parametrize("metric", [METRICS["rmse"], METRICS["r2"]])
def test_numbers_are_guarded_too(metric: Metric) -> None:
    random = np.random.default_rng(0)
    y, noise = random.normal(0, 10, 1000), random.normal(0, 1, 1000)
    worse = guarding(y + noise, y + 1.5 * noise[::-1], y, metric)
    assert worse.broken is not None
    assert worse.broken.startswith(f"its {metric.name} is worse by ")
    assert guarding(y + noise, y + 0.9 * noise, y, metric).broken is None


def taken_back(noise: float, rollouts: int, rows: int = 600) -> float:
    """The share of simulated rollouts that end on the way back: three looks at growing evidence."""
    ended = 0
    for seed in range(rollouts):
        y, champion, challenger = answers(3 * rows, seed, noise)
        looks = (
            guarding(champion[:n], challenger[:n], y[:n], seed=seed)
            for n in (rows, 2 * rows, 3 * rows)
        )
        ended += any(look.broken for look in looks)
    return ended / rollouts


def test_an_equal_version_is_seldom_taken_back_and_a_worse_one_nearly_always() -> None:
    assert taken_back(0.5, rollouts=200) <= 2 * ERROR
    assert taken_back(1.2, rollouts=50) >= 0.95
    assert taken_back(0.1, rollouts=50) == 0.0


def test_due_is_when_the_step_has_baked() -> None:
    assert due(SLOW, {}) is None
    assert due(SLOW, {"shadow": Alias("shadow", 2, 0.0, 5)}) == 5 + DAY
