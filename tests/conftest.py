"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# A slow machine is no counterexample, and a build that fails must fail again.
settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data sets: `data/` below MAINSPRING_SHARED, by default ../shared."""
    shared = Path(os.environ.get("MAINSPRING_SHARED") or REPOSITORY.parent / "shared")
    if not (shared / "data").is_dir():
        pytest.fail(f"no data at {shared / 'data'}: set MAINSPRING_SHARED", pytrace=False)
    return shared / "data"
