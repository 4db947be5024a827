"""The closed loop: what is due is done once, what fails is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import days, hours
from mainspring.clock import VirtualClock
from mainspring.errors import InvalidDeclaration
from mainspring.graph import Graph
from mainspring.models.registry import aliases
from mainspring.retraining import work
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.past import Past
from mainspring.retraining.replay import replay
from mainspring.sources.home import Home
from mainspring.stores.base import Row
from tests import small
from tests.small import BEGIN, DAY, HOUR, Card, Payment

START = BEGIN + 10 * DAY


def rows(home: Home, table: str, **given: Any) -> list[Row]:
    with home.metadata.read() as snapshot:
        return snapshot.select(table, **given)


def looped(system: Graph, home: Home, *times: int) -> list[Happened]:
    """A loop that looks at these times; each time it is a new one, as after a restart."""
    return [h for now in times for h in Loop(system, home, VirtualClock(now)).tick()]


def kinds(happened: Sequence[Happened]) -> list[tuple[int, str]]:
    return [((h.at - BEGIN) // DAY, h.kind) for h in happened]


def test_too_few_rows_are_waited_out_and_written_down_once(home: Home) -> None:
    system, at = small.graph(gates=()), BEGIN + 4 * DAY
    happened: list[Happened] = []
    while at <= BEGIN + 6 * DAY:
        loop = Loop(system, home, VirtualClock(at))
        happened += loop.tick()
        assert at < loop.next_due(at) <= at + DAY
        at = loop.next_due(at)
    assert kinds(happened)[:3] == [(4, "waiting"), (6, "trained"), (6, "promoted")]
    assert "has 0 rows to fit on" in happened[0].reason
    tries = [s for s in rows(home, "step", kind="train") if "error" in s["output"]]
    assert [s["output"] for s in tries] == [{"error": "NoTrainingRows"}] * 2


def test_a_fit_that_fails_is_written_down_and_tried_again_a_day_later(home: Home) -> None:
    broken = small.graph(risk=small.model(estimator=small.Broken()))
    happened = looped(broken, home, START, START + HOUR, START + DAY, START + DAY + HOUR)
    assert kinds(happened) == [(10, "training_failed"), (11, "training_failed")]
    assert "the estimator is broken" in happened[0].reason
    mended = looped(small.graph(), home, START + DAY + 2 * HOUR, START + 2 * DAY)
    assert kinds(mended) == [(12, "trained"), (12, "promoted")]


def test_an_error_that_is_none_of_ours_does_not_stop_the_loop(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        raise ZeroDivisionError("in a function of the user")

    with monkeypatch.context() as patched:
        patched.setattr(work, "train", broken)
        (failed,) = looped(small.graph(), home, START)
    assert (failed.kind, failed.subject) == ("training_failed", "risk")
    assert "ZeroDivisionError" in failed.reason
    assert looped(small.graph(), home, START + HOUR) == []
    assert kinds(looped(small.graph(), home, START + DAY)) == [(11, "trained"), (11, "promoted")]


def test_a_step_that_fails_is_left_alone_for_an_hour_and_the_rest_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = small.graph(when=[ms.every(days(1))], rollout=None)
    replay(system, home, START, START + 2 * DAY)

    def broken(*given: Any) -> Any:
        raise OSError("the disk is gone")

    now = START + 3 * DAY
    with monkeypatch.context() as patched:
        patched.setattr(work, "measured", broken)
        happened = looped(system, home, now, now + HOUR - 1, now + HOUR)
    assert kinds(happened).count((13, "step_failed")) == 1
    assert {h.subject for h in happened if h.kind == "step_failed"} == {"measuring pay"}
    assert (13, "trained") in kinds(happened)
    assert looped(system, home, now + 2 * HOUR) == []
    assert {m["at"] for m in rows(home, "measurement", series="pay/log_loss")} == {START}


def test_a_loop_at_rest_does_nothing(home: Home) -> None:
    system = small.graph()
    looped(system, home, START)
    steps = rows(home, "step")
    assert looped(system, home, START, START + 1, START + HOUR) == []
    assert rows(home, "step") == steps


def test_what_a_person_asks_for_is_trained_whatever_the_triggers_say(home: Home) -> None:
    system = small.graph(gates=())
    looped(system, home, START)
    clock = VirtualClock(START + HOUR)
    happened = Loop(system, home, clock).train_now("asked for by hand")
    assert [h.kind for h in happened] == ["trained", "shadow"]
    assert happened[0].reason.startswith("asked for by hand; v2")
    clock.move_to(START + 2 * HOUR)
    again = Loop(system, home, clock).train_now("asked for by hand")
    assert [h.kind for h in again] == ["trained", "superseded", "shadow"]


def several() -> Graph:
    """One model at two endpoints, and a rule at a third."""
    risk, rollout = small.model(), ms.Canary([1.0], bake=days(1))
    large = ms.Rule("large", Payment.amount > 60)
    endpoints = [
        ms.Endpoint("slow", risk, rollout=rollout),
        ms.Endpoint("fast", risk),
        ms.Endpoint("rule", large, request=Payment),
    ]
    refit = ms.Retraining(risk, when=[ms.every(days(1))])
    return ms.System("several", endpoints=endpoints, retraining=[refit]).graph


def champion(home: Home, endpoint: str) -> int | None:
    with home.metadata.read() as snapshot:
        alias = aliases(snapshot, endpoint).get("champion")
    return alias.number if alias else None


def test_endpoints_that_share_a_model_roll_out_on_their_own(home: Home) -> None:
    system = several()
    done = replay(system, home, START, START + 3 * DAY)
    told = {
        (kind, h.subject) for h, (_, kind) in zip(done.timeline, kinds(done.timeline), strict=True)
    }
    assert told >= {("shadow", "slow"), ("promoted", "slow"), ("promoted", "fast")}
    assert ("shadow", "fast") not in told
    assert (champion(home, "slow"), champion(home, "fast")) == (3, 4)
    assert champion(home, "rule") is None
    trained = [h for h in done.timeline if h.kind == "trained"]
    assert [h.at for h in trained] == [START + n * DAY for n in range(4)]


def test_a_rule_answers_without_training_or_version(home: Home) -> None:
    system = several()
    replay(system, home, START, START + DAY)
    rule = next(e for e in system.of_kind(ms.Endpoint) if e.name == "rule")
    found = Loop(system, home, VirtualClock(START)).answered(rule)
    logged, made_from = found.read(START, START + DAY), found.features(START, START + DAY)
    assert len(logged) > 100
    assert set(logged.version) == {0}
    np.testing.assert_array_equal(logged.score, made_from.columns[rule.feature_set.names[0]])
    assert {m["series"].partition("/")[0] for m in rows(home, "measurement")} <= {"slow", "fast"}


def test_a_number_goes_through_the_whole_loop(home: Home) -> None:
    gates = [ms.beats("baseline", ms.rmse, by=-1.0)]
    system = small.graph(risk=small.model(small.loss, gates=gates), when=[ms.every(days(2))])
    done = replay(system, home, START, START + 5 * DAY)
    assert [k for _, k in kinds(done.timeline)][:5] == [
        *("trained", "promoted", "trained", "shadow", "canary")
    ]
    measured = {m["series"] for m in rows(home, "measurement", variant="served")}
    assert measured == {"pay/mae", "pay/rmse", "pay/r2"}
    guarded = [d["evidence"] for d in rows(home, "decision", kind="canary")]
    assert guarded[0].keys() >= {"version", "answers", "failed", "moved", "labelled"}


def test_a_model_that_nobody_serves_is_trained_all_the_same(home: Home) -> None:
    refit = ms.Retraining(small.model(gates=small.EVERY_GATE), when=[ms.every(days(1))])
    system = ms.System("alone", endpoints=[], retraining=[refit]).graph
    happened = looped(system, home, START, START + HOUR, START + DAY)
    assert kinds(happened) == [(10, "trained"), (11, "trained")]
    assert [v["state"] for v in rows(home, "version")] == ["eligible", "eligible"]


def test_a_monitor_of_what_no_model_answers_from_is_refused(home: Home) -> None:
    large = ms.Endpoint("rule", ms.Rule("large", Payment.amount > 60), request=Payment)
    risk = ms.Endpoint("pay", small.model(features=[Payment.amount]))
    for watch in (small.Card, large):
        monitor = ms.Monitor("m", watch, ms.drift(), every=hours(1))
        system = ms.System("s", endpoints=[large, risk], monitors=[monitor]).graph
        with pytest.raises(InvalidDeclaration, match="monitor 'm': what it watches is read by no"):
            Loop(system, home, VirtualClock(START))


def test_a_version_on_its_way_whose_feature_is_gone_is_taken_back(home: Home) -> None:
    looped(small.graph(gates=()), home, START, START + 5 * DAY)
    fewer = small.graph(risk=small.model(features=[Card, Payment.amount]))
    happened = looped(fewer, home, START + 6 * DAY, START + 6 * DAY + 2 * HOUR)
    (told,) = (h.reason for h in happened if h.kind == "rolled_back")
    assert "v2 is taken back: risk v2 needs Shop.declines_1d (number)" in told
    assert [h.subject for h in happened if h.kind == "step_failed"] == ["scores"]  # once a day


def test_the_scores_of_a_champion_are_watched_from_before_its_time(home: Home) -> None:
    system = small.graph()
    replay(system, home, START, START + 2 * DAY)
    (watched, *_) = rows(home, "measurement", series="drift/scores")
    assert (watched["at"], watched["variant"]) == (START + DAY, "score")
    past, (pay,) = Past(home), system.of_kind(ms.Endpoint)
    alias = past.registry.aliases("pay")["champion"]
    _, at = past.scores(pay, alias, BEGIN, START + 2 * DAY)
    asked = past.requests(pay).read(BEGIN, START + 2 * DAY)
    assert at.tolist() == asked.at.tolist()
