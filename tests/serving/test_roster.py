"""The roster: who answers which request, and who is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring.errors import SignatureMismatch
from mainspring.models.registry import Alias, Role
from mainspring.models.signature import Input, Signature
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.roster import Roster, shares
from mainspring.vectors import Vector, Vectors
from tests import small

IDS = np.array([f"p{n}" for n in range(5000)], object)
COLUMNS: dict[str, Vector] = {"amount": np.arange(5000.0)}
MODEL = small.model()
PAY = ms.Endpoint("pay", MODEL, fallback=0.1)


@dataclass
class Constant:
    """A version that always says the same, or raises."""

    says: float | Exception
    signature: Signature = MODEL.signature
    asked: int = 0

    def predict(self, columns: Vectors) -> Vector:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return np.full(len(columns["amount"]), self.says)


@dataclass
class Known:
    """A registry as far as a roster looks at one."""

    roles: Mapping[Role, int]
    versions: Mapping[int, Constant]
    share: float = 0.3

    def aliases(self, endpoint: str) -> dict[Role, Alias]:
        return {role: Alias(role, number, self.share, 0) for role, number in self.roles.items()}

    def predictor(self, model: str, number: int) -> Constant:
        return self.versions[number]


def roster(roles: Mapping[Role, int], endpoint: Endpoint = PAY, **says: Any) -> Roster:
    versions = {int(n[1:]): v if isinstance(v, Constant) else Constant(v) for n, v in says.items()}
    known: Any = Known(roles, versions)
    return Roster.load(endpoint, known)


def test_the_champion_answers_everyone() -> None:
    answers = roster({"champion": 1}, v1=0.4).answer_all(IDS, COLUMNS)
    assert set(answers.score) == {0.4}
    assert set(answers.role) == {"champion"}
    assert set(answers.version) == {1}
    assert answers.silent == {}


def test_a_canary_answers_its_share_and_the_same_requests_every_time() -> None:
    found = roster({"champion": 1, "canary": 2}, v1=0.4, v2=0.6)
    answers, again = (found.answer_all(IDS, COLUMNS) for _ in range(2))
    mine = answers.role == "canary"
    assert mine.mean() == pytest.approx(0.3, abs=0.03)
    assert (answers.version == np.where(mine, 2, 1)).all()
    assert (answers.score == np.where(mine, 0.6, 0.4)).all()
    assert (again.role == answers.role).all()
    number, scores = answers.silent["shadow"]
    assert (number, set(scores)) == (2, {0.6})


def test_a_larger_share_keeps_those_it_had() -> None:
    at = shares("pay", IDS)
    assert set(np.flatnonzero(at < 0.1)) < set(np.flatnonzero(at < 0.5))
    assert abs(np.corrcoef(at, shares("other", IDS))[0, 1]) < 0.05


def test_shadow_and_frozen_are_silent() -> None:
    roles: dict[Role, int] = {"champion": 2, "shadow": 3, "frozen": 1}
    answers = roster(roles, v1=0.1, v2=0.2, v3=0.3).answer_all(IDS, COLUMNS)
    assert set(answers.score) == {0.2}
    said = {role: (number, set(s)) for role, (number, s) in answers.silent.items()}
    assert said == {"shadow": (3, {0.3}), "frozen": (1, {0.1})}


def test_a_version_of_two_roles_is_asked_once() -> None:
    one = Constant(0.2)
    answers = roster({"champion": 1, "frozen": 1}, v1=one).answer_all(IDS, COLUMNS)
    assert one.asked == 1
    assert (answers.silent["frozen"][1] == answers.score).all()


@pytest.mark.parametrize("role", ["shadow", "canary", "frozen"])
def test_a_challenger_that_raises_does_not_fail_the_answers(role: Role) -> None:
    found = roster({role: 2, "champion": 1}, v1=0.4, v2=ValueError("no"))
    answers = found.answer_all(IDS, COLUMNS)
    assert set(answers.score) == {0.4}
    assert set(answers.role) == {"champion"}
    assert np.isnan(answers.silent["frozen" if role == "frozen" else "shadow"][1]).all()


def test_a_champion_that_raises_is_no_secret() -> None:
    with pytest.raises(ValueError, match="no"):
        roster({"champion": 1}, v1=ValueError("no")).answer_all(IDS, COLUMNS)


def test_without_a_champion_the_fallback_answers() -> None:
    answers = roster({}).answer_all(IDS, COLUMNS)
    assert set(answers.score) == {0.1}
    assert set(answers.role) == {"fallback"}
    bare = roster({}, endpoint=ms.Endpoint("bare", MODEL)).answer_all(IDS[:2], COLUMNS)
    assert np.isnan(bare.score).all()


def test_a_rule_answers_with_what_it_says() -> None:
    rule = ms.Rule("large", small.Payment.amount > 100)
    endpoint = ms.Endpoint("rule", rule, request=small.Payment)
    found = roster({}, endpoint=endpoint)
    said = np.array([1.0, 0.0, np.nan])
    answers = found.answer_all(IDS[:3], {endpoint.feature_set.names[0]: said})
    np.testing.assert_array_equal(answers.score, said)
    assert (set(answers.role), set(answers.version)) == ({"champion"}, {0})
    assert found.aliases == {}


def test_a_champion_whose_inputs_are_gone_is_refused_and_a_silent_one_left_out() -> None:
    needed = Signature((*MODEL.signature.inputs, Input("age", "number")), "probability")
    old = Constant(0.4, needed)
    with pytest.raises(SignatureMismatch, match=r"risk v1 needs age \(number\), which endpoint 'p"):
        roster({"champion": 1}, v1=old)
    for role in ("shadow", "canary", "frozen"):
        answers = roster({"champion": 1, role: 2}, v1=0.5, v2=old).answer_all(IDS, COLUMNS)
        assert (set(answers.score), answers.silent) == ({0.5}, {})
