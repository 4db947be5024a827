from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from mainspring import errors
from mainspring.errors import InvalidDeclaration, MainspringError, UnknownName, expect

CLASSES: list[type[MainspringError]] = [
    c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, MainspringError)
]
EXAMPLES = {"int": 7, "float": 0.5, "int | str": 7, "bool": True}


def example(kind: type[MainspringError]) -> MainspringError:
    fields: dict[str, Any] = {}
    for base in kind.__mro__[:-1]:
        for name, annotation in inspect.get_annotations(base).items():
            if "ClassVar" not in annotation:
                fields[name] = EXAMPLES.get(annotation, f"<{name}>")
    return kind(**fields)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_prints_and_pickles(kind: type[MainspringError]) -> None:
    error = example(kind)
    print(error)  # noqa: T201 - `pytest -s` shows every message
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.fields, str(again)) == (kind, error.fields, str(error))
    head, *rest = str(error).splitlines()
    assert "\n" not in error.subject
    assert head == error.subject
    assert all(line.startswith(("  where  ", "  fix    ")) for line in rest)
    for name, value in error.fields.items():
        if isinstance(value, str) and name not in ("trace", "found_type"):
            assert value in str(error), f"{name} is never shown"


def test_every_error_says_what_to_do() -> None:
    assert [c.__name__ for c in CLASSES if c is not MainspringError and not c.fix] == []


def test_an_error_takes_its_fields_and_no_others() -> None:
    with pytest.raises(TypeError, match=r"InvalidTime takes the fields \['text'\], got \['txt'\]"):
        errors.InvalidTime(txt="1st")  # type: ignore[call-arg]  # pyright: ignore


def test_repr_is_the_constructor_call() -> None:
    assert repr(errors.InvalidTime(text="1st")) == "InvalidTime(text='1st')"


def test_notes_travel_with_the_error_and_are_no_field() -> None:
    error = errors.InvalidTime(text="1st")
    error.add_note("seen in row 4")
    again = pickle.loads(pickle.dumps(error))
    assert again.fields == {"text": "1st"}
    assert again.__notes__ == ["seen in row 4"]


def test_unknown_name_proposes_the_nearest() -> None:
    error = UnknownName.among("endpoint", "latenes", ["lateness", "ctr"])
    assert str(error) == "there is no endpoint named 'latenes'\n  fix    did you mean 'lateness'?"


class Declared:
    name = "d"
    numbers: Any = (1, 2.0, "three")
    number: Any = "one"


def test_expect_names_the_item_that_does_not_fit() -> None:
    expect(Declared(), number=str | None, numbers=list[int | float | str])
    with pytest.raises(
        InvalidDeclaration, match=r"Declared 'd': numbers= cannot take 'three'"
    ) as e:
        expect(Declared(), numbers=list[int | float])
    assert e.value.fields["remedy"] == "numbers= takes a list of int | float"
    with pytest.raises(
        InvalidDeclaration, match=r"number= cannot take 'one'\n.*\n.*takes int \| None"
    ):
        expect(Declared(), number=int | None)
    with pytest.raises(InvalidDeclaration, match="number= takes a list of str"):
        expect(Declared(), number=list[str])
