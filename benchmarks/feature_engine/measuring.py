"""Measurements, each in a process of its own: seconds, CPU seconds, and the most memory it held.

A measurement is a function that is named as `module:function` and gives its figures. It runs in a
fresh process, of this Python or of a peer's own environment, so nothing here needs more than the
standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Figures = dict[str, Any]


class Stopped(Exception):
    """A measurement that did not end: why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one measurement may take before it is stopped."""

    seconds: float = 1200
    mb: float = 14_000


@contextmanager
def measured(figures: Figures) -> Generator[None]:
    """Adds what its block takes: `seconds`, `CPU s`, the seconds of all threads, and `peak MB`."""
    cpu, started = time.process_time(), time.perf_counter()
    yield
    figures["seconds"] = time.perf_counter() - started
    figures["CPU s"] = time.process_time() - cpu
    figures["peak MB"] = _memory(os.getpid(), "VmHWM")


def in_child(
    function: str,
    python: Path | str = sys.executable,
    limits: Limits = Limits(),
    best_of: int = 1,
    **arguments: Any,
) -> Figures:
    """The figures of a function in fresh processes: those of the fastest.

    Args:
        function: `module:function` below `benchmarks.feature_engine`.
        arguments: its keyword arguments, as JSON can say them.

    Raises:
        Stopped: it took more than it may, or failed.
    """
    runs = [_once(function, str(python), limits, arguments) for _ in range(best_of)]
    return min(runs, key=lambda figures: float(figures.get("seconds", 0)))


def _once(function: str, python: str, limits: Limits, arguments: Figures) -> Figures:
    command = [python, "-W", "ignore", "-m", "benchmarks.feature_engine.measuring", function]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryDirectory() as scratch:
        figures = Path(scratch) / "figures.json"
        child = subprocess.Popen(
            [*command, json.dumps(arguments), str(figures)],
            env=os.environ | {"PYTHONPATH": path},
            stdout=told,
            stderr=told,
        )
        try:
            _watch(child, limits)
        finally:
            child.kill()
        if child.wait():
            told.seek(0)
            raise Stopped("failed: " + (told.read().strip().splitlines() or ["killed"])[-1][:200])
        found: Figures = json.loads(figures.read_text())
        return found


def _watch(child: subprocess.Popen[bytes], limits: Limits) -> None:
    ends = time.perf_counter() + limits.seconds
    while child.poll() is None:
        if time.perf_counter() > ends:
            raise Stopped(f"stopped after {limits.seconds:,.0f} s")
        if _memory(child.pid, "VmRSS") > limits.mb:
            raise Stopped(f"stopped at {limits.mb:,.0f} MB")
        time.sleep(0.05)


def _memory(process: int, line: str) -> float:
    """A line of a process's status, in MB.

    The peak is read here because `ru_maxrss` begins with what the parent had.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(found.split()[1]) / 1024 for found in status if found.startswith(line)), 0.0)


def environment(folder: Path, name: str, *packages: str) -> Path:
    """The Python of a peer's own environment, which is made when it is not there."""
    python = folder / name / "bin" / "python"
    done = folder / name / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        done.touch()
    return python


def main(function: str, arguments: str, figures: str) -> None:
    """Runs one measurement in this process and writes its figures to a file."""
    module, name = function.split(":")
    measurement = getattr(import_module(f"benchmarks.feature_engine.{module}"), name)
    found = measurement(**json.loads(arguments))
    Path(figures).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
