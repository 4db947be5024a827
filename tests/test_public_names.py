"""The public names: each is documented by an example that runs."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

import mainspring as ms

NAMES = {
    name: value
    for name, value in vars(ms).items()
    if not name.startswith("_") and not isinstance(value, ModuleType)
}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(NAMES[name]) or "")


@pytest.mark.parametrize("name", NAMES)
def test_a_first_line_is_a_phrase_of_less_than_80_characters(name: str) -> None:
    first, *rest = (inspect.getdoc(NAMES[name]) or "").splitlines()
    assert len(first) < 80
    assert not first.lower().startswith(("this ", "class ", "returns "))
    assert not rest or rest[0] == ""


def test_constructors_have_at_most_eight_parameters() -> None:
    def parameters(of: Any) -> int:
        return len(inspect.signature(of).parameters)

    classes = {n: v for n, v in NAMES.items() if isinstance(v, type) and v is not ms.Source}
    assert {name: n for name, v in classes.items() if (n := parameters(v)) > 8} == {}
