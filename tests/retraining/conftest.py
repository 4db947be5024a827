"""The small system, replayed once for every test that looks at a replay."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.retraining.replay import Replayed, replay
from mainspring.sources.home import Home
from tests import small
from tests.small import BEGIN, DAY

START, END = BEGIN + 10 * DAY, BEGIN + small.DAYS * DAY


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the small system."""
    folder = tmp_path_factory.mktemp("data")
    small.write_history(folder)
    return folder


@pytest.fixture(scope="session")
def ingested(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a home that has the history and nothing else."""
    with small.home(tmp_path_factory.mktemp("ingested"), data) as home:
        return home.folder


@pytest.fixture
def home(ingested: Path, data: Path, tmp_path: Path) -> Generator[Home]:
    """A home that has the history and nothing else."""
    folder = shutil.copytree(ingested, tmp_path / "home")
    with closing(Home.open(folder, data, sync=False)) as home:
        yield home


@pytest.fixture(scope="session")
def replayed(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Home, Replayed]]:
    """A home after a whole replay; to be looked at, not changed."""
    with small.home(tmp_path_factory.mktemp("replayed"), data) as home:
        yield home, replay(small.graph(), home, START, END)
