"""Calls in a child: answers, errors, deadlines, memory, death, and nobody left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mainspring.errors import UnknownName
from mainspring.models.child import _Template, call
from mainspring.models.outcome import Ended, Origin, Outcome, OutOfMemory, Raised, Returned
from mainspring.models.worker import load_module

PROGRAM = """
import os, signal, subprocess, sys, time
from mainspring.errors import UnknownName

def double(x): return 2 * x
def fail(x): raise ValueError(f"bad {x}")
def fail_as_we_do(x): raise UnknownName.among("source", x, ["Flight"])
def allocate(mb): return len(bytearray(mb << 20))
def die(x): os.kill(os.getpid(), signal.SIGSEGV)
def leave(x): os._exit(x)
def answer_with_code(x): return lambda: x
def sleep_and_tell(file):
    open(file, "w").write(str(os.getpid()))
    time.sleep(60)
def leave_a_child(x):
    if os.fork() == 0:
        time.sleep(60)
    return x
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A module that no import finds, as a system file is."""
    file = tmp_path_factory.mktemp("work") / "child_work.py"
    file.write_text(PROGRAM)
    load_module("child_work", file)
    yield sys.modules["child_work"]
    del sys.modules["child_work"]


def run(function: Any, argument: Any, deadline_s: float = 30, **limits: Any) -> Outcome:
    origin = Origin("here", "child_work", sys.modules["child_work"].__file__)
    return call(function, argument, origin=origin, deadline_s=deadline_s, **limits)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.02)


def test_a_function_of_a_system_file_answers(work: Any) -> None:
    assert run(work.double, 21) == Returned(42)


def test_large_values_go_both_ways(work: Any) -> None:
    assert run(work.double, b"x" * 5_000_000) == Returned(b"x" * 10_000_000)


def test_calls_from_many_threads_do_not_mix(work: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda i: run(work.double, i), range(16)))
    assert outcomes == [Returned(2 * i) for i in range(16)]


def test_an_exception_comes_back_as_facts(work: Any) -> None:
    outcome = run(work.fail, 3)
    assert isinstance(outcome, Raised)
    assert (outcome.error, outcome.message, outcome.ours) == ("ValueError", "bad 3", None)
    assert "in fail" in outcome.trace


def test_an_error_of_ours_comes_back_whole(work: Any) -> None:
    outcome = run(work.fail_as_we_do, "Fligt")
    assert isinstance(outcome, Raised) and isinstance(outcome.ours, UnknownName)
    assert "did you mean 'Flight'" in str(outcome.ours)


def test_an_answer_that_cannot_travel_is_an_error(work: Any) -> None:
    assert isinstance(run(work.answer_with_code, 1), Raised)


def test_deadline_ends_the_worker(work: Any, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert run(work.sleep_and_tell, str(file), deadline_s=0.5) == Ended("its deadline")
    wait_until(lambda: not is_alive(int(file.read_text())))


def test_memory_limit_is_met(work: Any) -> None:
    assert run(work.allocate, 2000, memory_mb=1500) == OutOfMemory()
    assert run(work.allocate, 20, memory_mb=1500) == Returned(20 << 20)


def test_death_is_told_by_its_name(work: Any) -> None:
    assert run(work.die, None) == Ended("SIGSEGV")
    assert run(work.leave, 3) == Ended("exit 3")


def test_a_child_of_the_worker_does_not_hold_the_answer_back(work: Any) -> None:
    started = time.monotonic()
    assert run(work.leave_a_child, 5) == Returned(5)
    assert time.monotonic() - started < 10


def test_a_template_that_was_killed_is_replaced(work: Any) -> None:
    assert run(work.double, 1) == Returned(2)
    template = _Template._current
    assert template is not None
    template.process.kill()
    template.process.wait()
    assert run(work.double, 2) == Returned(4)


def test_a_caller_that_is_killed_leaves_nobody_behind(work: Any, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from mainspring.models.child import call
from mainspring.models.outcome import Origin
from mainspring.models.worker import load_module
from pathlib import Path
load_module("child_work", Path({work.__file__!r}))
origin = Origin("here", "child_work", {work.__file__!r})
call(sys.modules["child_work"].sleep_and_tell, {str(file)!r}, origin=origin, deadline_s=60)
"""
    caller = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: file.exists() and file.read_text())
    caller.kill()
    caller.wait()
    wait_until(lambda: not is_alive(int(file.read_text())))
