"""Replay: the whole loop over history on a virtual clock, in the order of visibility."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainspring.clock import SystemClock, VirtualClock
from mainspring.graph import Graph
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.past import move
from mainspring.retraining.reason import DAY
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.roster import Roster
from mainspring.sources.home import Home

AHEAD = 28 * DAY
"""How far ahead features are computed in one go; no value depends on what arrives later."""

REPLAYED = "replayed"
"""The cursor of how far a home was replayed."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did.

    Attributes:
        start, end: the stretch of time, in microseconds.
        timeline: everything that was decided, in order.
        answers: how many requests were answered.
    """

    start: int
    end: int
    timeline: list[Happened]
    answers: int


def replay(
    system: Graph,
    home: Home,
    start: int,
    end: int,
    *,
    told: Callable[[int, list[Happened]], None] = lambda at, happened: None,
    speed: float | None = None,
) -> Replayed:
    """Runs the loop from `start` to `end` over the history in a home's tables.

    Requests are answered in batches between the moments at which the loop has something to do, by
    the same roster and into the same prediction log as live. The same inputs give the same
    timeline, versions and predictions. One that was killed goes on where it was.

    Args:
        told: is told after each step how far the replay is, and what happened.
        speed: virtual seconds per real second at most; None is as fast as it goes.

    Raises:
        InvalidDeclaration: a monitor watches what no model answers from.
        SignatureMismatch: a champion of the home needs what its endpoint does not have any more.
    """
    at = max(start, _replayed(home))
    clock = VirtualClock(at)
    loop = Loop(system, home, clock, sync=False)
    while at < end:
        happened = loop.tick()
        upto = min(loop.next_due(at), end)
        told(at, happened)
        for endpoint in system.of_kind(Endpoint):
            _answer(loop, endpoint, at, upto, end)
        if speed:
            SystemClock().wait((upto - at) / 1e6 / speed)
        clock.move_to(upto)
        with home.metadata.begin(sync=False) as transaction:
            move(transaction, REPLAYED, upto)
        at = upto
    told(at, loop.tick())
    timeline = [h for h in loop.happened() if start <= h.at <= end]
    answers = (loop.answered(e).count(start, end) for e in system.of_kind(Endpoint))
    return Replayed(start, end, timeline, sum(answers))


def _replayed(home: Home) -> int:
    with home.metadata.read() as snapshot:
        row = snapshot.one("cursor", name=REPLAYED)
    return 0 if row is None else row["value"]


def _answer(loop: Loop, endpoint: Endpoint, start: int, end: int, last: int) -> None:
    """Answers the requests of a stretch and logs them."""
    backfill = loop.backfill(endpoint)
    backfill.extend(start, min((end // AHEAD + 1) * AHEAD, last))
    rows = backfill.read(start, end)
    if len(rows):
        answers = Roster.load(endpoint, loop.registry).answer_all(rows.ids, rows.columns)
        loop.answered(endpoint).append(rows, answers, (REPLAYED, end))
