"""Signatures compare by names, kinds, order and output."""

from __future__ import annotations

import json

import pytest

from mainspring.models.signature import Input, Signature, difference

A = Signature((Input("bid", "number"), Input("site", "category")), "probability")


def test_json_round_trip() -> None:
    assert Signature.from_json(json.loads(json.dumps(A.to_json()))) == A


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (A, ""),
        (Signature(A.inputs[:1], "probability"), "- site category"),
        (Signature((*A.inputs, Input("age", "number")), "probability"), "+ age number"),
        (Signature(A.inputs[::-1], "probability"), "~ order of inputs"),
        (Signature(A.inputs, "number"), "~ output probability -> number"),
    ],
)
def test_difference_says_what_changes(new: Signature, words: str) -> None:
    assert difference(A, new) == words
