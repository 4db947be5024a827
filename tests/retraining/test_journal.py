from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.clock import VirtualClock
from mainspring.errors import LeaseLost, StepBusy, StepFailed, UnknownName
from mainspring.retraining.journal import Effects, Journal, Work
from mainspring.stores.base import Metadata, Row, Transaction
from mainspring.stores.urls import connect_metadata
from tests.crash import Mortal

SECOND = 1_000_000


@dataclass
class Loops:
    """Two owners on one metadata store, and the clock of their leases."""

    metadata: Metadata
    wall: VirtualClock

    def journal(self, owner: str, lease: timedelta = timedelta(seconds=30)) -> Journal:
        clock = VirtualClock(at=5)
        return Journal(self.metadata, clock=clock, wall=self.wall, owner=owner, lease=lease)

    def step(self, key: str) -> Row:
        with self.metadata.read() as snapshot:
            return snapshot.one("step", key=key) or {}


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[Loops]:
    with closing(connect_metadata(f"sqlite:///{tmp_path}/m.sqlite", sync=False)) as metadata:
        yield Loops(metadata, VirtualClock(at=1000 * SECOND))


def nothing(transaction: Transaction) -> None:
    del transaction


def giving(output: Row, effects: Effects = nothing) -> Work:
    return lambda: (output, effects)


def failing(error: Exception) -> Work:
    def work() -> tuple[Row, Effects]:
        raise error

    return work


def test_a_done_step_gives_its_output_without_working_again(loops: Loops) -> None:
    journal = loops.journal("a")
    first = journal.run("train/1", "train", giving({"version": 3, "pair": (1, 2)}))
    again = loops.journal("b").run("train/1", "train", failing(RuntimeError()))
    assert first == again == {"version": 3, "pair": [1, 2]}
    step = loops.step("train/1")
    assert (step["state"], step["owner"], step["kind"]) == ("done", "a", "train")
    assert (step["started_at"], step["ended_at"], step["lease_until"]) == (5, 5, None)


def test_effects_and_the_mark_are_one_transaction(loops: Loops) -> None:
    def effects(transaction: Transaction) -> None:
        transaction.insert("cursor", name="fold", value=transaction.next_number("version"))
        raise RuntimeError("after the first effect")

    with pytest.raises(StepFailed, match="after the first effect"):
        loops.journal("a").run("fold", "fold", giving({}, effects))
    with loops.metadata.begin() as transaction:
        assert transaction.select("cursor") == []
        assert transaction.next_number("version") == 1


def test_a_failing_step_is_tried_up_to_the_limit_and_keeps_its_error(loops: Loops) -> None:
    journal = loops.journal("a")
    for attempt in (1, 2, 3):
        with pytest.raises(StepFailed, match=f"{attempt} of 3 tries: ValueError") as raised:
            journal.run("fit", "train", failing(ValueError("no rows")))
        assert isinstance(raised.value.__cause__, ValueError)
    with pytest.raises(StepFailed, match="no rows") as raised:
        journal.run("fit", "train", giving({}))
    assert (raised.value.attempts, raised.value.limit) == (3, 3)
    assert loops.step("fit")["output"] == {"error": "ValueError", "message": "no rows"}


def test_a_mended_step_may_be_allowed_new_tries(loops: Loops) -> None:
    journal = loops.journal("a")
    error = UnknownName.among("column", "x", ["y"])
    for _ in range(3):
        with pytest.raises(StepFailed, match="UnknownName"):
            journal.run("fit", "train", failing(error))
    journal.retry("fit")
    assert journal.run("fit", "train", giving({"ok": True})) == {"ok": True}


def test_a_held_step_is_busy_until_its_lease_ends(loops: Loops) -> None:
    def work() -> tuple[Row, Effects]:
        loops.wall.move_to(1010 * SECOND)
        with pytest.raises(StepBusy, match=r"is being done by a[^$]*within 20\.0 s"):
            loops.journal("b").run("fit", "train", failing(RuntimeError()))
        loops.wall.move_to(1031 * SECOND)
        loops.journal("b").run("fit", "train", giving({"by": "b"}))
        return {"by": "a"}, lambda transaction: transaction.insert("cursor", name="a")

    with pytest.raises(LeaseLost, match="was taken over by b while a was doing it"):
        loops.journal("a").run("fit", "train", work)
    assert loops.step("fit")["output"] == {"by": "b"}
    with loops.metadata.read() as snapshot:
        assert snapshot.select("cursor") == []


def test_work_that_fails_after_losing_its_lease_changes_nothing(loops: Loops) -> None:
    def work() -> tuple[Row, Effects]:
        loops.wall.move_to(1031 * SECOND)
        loops.journal("b").run("fit", "train", giving({"by": "b"}))
        raise RuntimeError("too late")

    with pytest.raises(LeaseLost, match="taken over by b"):
        loops.journal("a").run("fit", "train", work)
    assert loops.step("fit")["state"] == "done"


def test_a_restarted_owner_takes_its_step_back_at_once(loops: Loops) -> None:
    class Killed(BaseException):
        pass

    def work() -> tuple[Row, Effects]:
        raise Killed

    with pytest.raises(Killed):
        loops.journal("a").run("fit", "train", work)
    assert loops.step("fit")["state"] == "running"
    with pytest.raises(StepBusy, match="is being done by a"):
        loops.journal("b").run("fit", "train", giving({}))
    assert loops.journal("a").run("fit", "train", giving({"n": 1})) == {"n": 1}
    assert (loops.step("fit")["token"], loops.step("fit")["attempts"]) == (2, 0)


def test_two_threads_of_one_journal_do_not_share_a_step(loops: Loops) -> None:
    journal = loops.journal("a")

    def work() -> tuple[Row, Effects]:
        with pytest.raises(StepBusy, match="another thread of a"):
            journal.run("fit", "train", giving({}))
        return {}, nothing

    journal.run("fit", "train", work)
    journal.run("other", "train", giving({}))


def test_the_lease_is_extended_while_the_work_runs(loops: Loops) -> None:
    extended = threading.Event()

    class Watched(Journal):
        def extend(self, key: str, token: int) -> bool:
            loops.wall.move_to(loops.wall.now() + SECOND)
            done = super().extend(key, token)
            extended.set()
            return done

    def work() -> tuple[Row, Effects]:
        before = loops.step("fit")["lease_until"]
        assert extended.wait(10)
        assert loops.step("fit")["lease_until"] > before
        return {}, nothing

    lease = timedelta(milliseconds=60)
    clock = VirtualClock(at=5)
    journal = Watched(loops.metadata, clock=clock, wall=loops.wall, owner="a", lease=lease)
    journal.run("fit", "train", work)


def test_every_step_finishes_once_through_15_kill_9(tmp_path: Path) -> None:
    imports = """
import sys, threading
import mainspring.stores.sqlalchemy
from datetime import timedelta
from mainspring.clock import SystemClock
from mainspring.retraining.journal import Journal
from mainspring.stores.urls import connect_metadata
"""
    program = """
metadata, clock = connect_metadata(sys.argv[3]), SystemClock()
lease = timedelta(seconds=60)
journal = Journal(metadata, clock=clock, wall=clock, owner="loop", lease=lease)
ready()
for n in range(30):
    def effects(transaction):
        number = transaction.next_number("version")
        transaction.insert("version", model="m", number=number, reason=f"step {n}")
        transaction.insert("measurement", series="auc", at=n, variant="", value=number)
    def work():
        threading.Event().wait(0.005)
        return {"n": n}, effects
    assert journal.run(f"step/{n}", "train", work) == {"n": n}
"""
    moments, url = random.Random(15), f"sqlite:///{tmp_path}/m.sqlite"
    with Mortal(imports, program, url) as loop:
        killed = sum(not loop.live(moments.uniform(0, 0.016)) for _ in range(15))
        assert killed == 15
        assert loop.live()
    with closing(connect_metadata(url)) as metadata, metadata.read() as snapshot:
        steps = snapshot.select("step")
        versions = snapshot.select("version", order="number")
        measured = snapshot.select("measurement", order="at")
    assert [step["state"] for step in steps] == ["done"] * 30
    assert sum(step["token"] for step in steps) > 30  # some were interrupted, and taken again
    assert [v["number"] for v in versions] == [m["value"] for m in measured] == list(range(1, 31))
    assert [v["reason"] for v in versions] == [f"step {n}" for n in range(30)]
