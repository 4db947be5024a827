"""Replay: the whole loop over history on a virtual clock, in the order in which things became visible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainspring.clock import SystemClock, VirtualClock
from mainspring.graph import Graph
from mainspring.retraining.loop import DAY, Happened, Loop
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.roster import Roster
from mainspring.sources.home import Home

AHEAD = 28 * DAY
"""How far ahead the features of requests are computed in one go. Their values depend on nothing that arrives after each request."""


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

    Requests are answered in batches between the moments at which the loop has something to do, by the same roster and into the same prediction
    log as live. The same inputs give the same timeline, versions and predictions.

    Args:
        told: is told after each step how far the replay is, and what happened.
        speed: virtual seconds per real second at most; None is as fast as it goes.
    """
    clock = VirtualClock(start)
    loop = Loop(system, home, clock, sync=False)
    timeline: list[Happened] = []
    answers, at = 0, start
    while at < end:
        happened = loop.tick()
        timeline += happened
        upto = min(loop.next_due(at), end)
        told(at, happened)
        for endpoint in system.of_kind(Endpoint):
            answers += _answer(loop, endpoint, at, upto, end)
        if speed:
            SystemClock().wait((upto - at) / 1e6 / speed)
        clock.move_to(upto)
        at = upto
    timeline += loop.tick()
    return Replayed(start, end, timeline, answers)


def _answer(loop: Loop, endpoint: Endpoint, start: int, end: int, last: int) -> int:
    """Answers the requests of a stretch and logs them."""
    backfill = loop.backfill(endpoint)
    backfill.extend(start, min(max(end, start + AHEAD), last))
    rows = backfill.read(start, end)
    if not len(rows):
        return 0
    roster = Roster.load(endpoint, loop.registry)
    answers = roster.answer_all(rows.ids, rows.columns)
    loop.answered(endpoint).append(rows, answers, (f"replay:{endpoint.name}", end))
    return len(rows)
