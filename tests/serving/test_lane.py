"""Lanes: bounded, in order, and not held up by what nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from mainspring.errors import Overloaded
from mainspring.serving.lane import LIMIT, Lane


def test_what_was_given_up_is_not_begun() -> None:
    go, begun = threading.Event(), list[int]()

    async def main() -> None:
        lane = Lane("one", threads=1)
        first = lane.submit(go.wait)
        second, third = (lane.submit(partial(begun.append, n)) for n in (2, 3))
        second.cancel()
        await asyncio.sleep(0)
        assert lane.in_flight == 2
        go.set()
        await first
        await third

    asyncio.run(main())
    assert begun == [3]


def test_a_lane_refuses_beyond_its_limit_until_there_is_room_again() -> None:
    go = threading.Event()

    async def main() -> None:
        lane = Lane("full", threads=1)
        waiting = [lane.submit(go.wait) for _ in range(LIMIT)]
        with pytest.raises(Overloaded, match="'full' has 64 requests in flight"):
            lane.submit(go.wait)
        go.set()
        await asyncio.gather(*waiting)
        assert await lane.submit(lambda: 7) == 7

    asyncio.run(main())


def test_an_error_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        await Lane("wrong", threads=1).submit(lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError, match="by zero"):
        asyncio.run(main())
