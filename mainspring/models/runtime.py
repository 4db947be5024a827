"""Predictors: stored versions as functions from feature columns to predictions.

A predictor is immutable, safe to share between threads, computes in the calling thread alone, and
builds no DataFrame.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mainspring.errors import UnloadableArtefact
from mainspring.models.artefact import SKOPS_FAILS, Artefact, read
from mainspring.models.preprocess import Columns, Floats, Preprocessing
from mainspring.models.signature import Output, Signature

Score = Callable[[Floats], Floats]


class Predictor:
    """A loaded version: `predict` gives the probability of a yes, or the number, for each row."""

    __slots__ = ("_score", "preprocessing", "sha256")

    def __init__(self, preprocessing: Preprocessing, score: Score, sha256: str) -> None:
        self.preprocessing = preprocessing
        self.sha256 = sha256
        self._score = score

    def __repr__(self) -> str:
        return f"<Predictor {self.sha256[:12]} of {len(self.signature.inputs)} inputs>"

    @property
    def signature(self) -> Signature:
        """What `predict` needs and gives."""
        return self.preprocessing.signature

    def predict(self, columns: Columns) -> Floats:
        """One prediction per row of the columns; other columns than the inputs are not looked at.

        Raises: MissingInput when an input is not there.
        """
        matrix = self.preprocessing.transform(columns)
        return self._score(matrix) if len(matrix) else np.empty(0)


def load(folder: Path, sha256: str | None = None) -> Predictor:
    """The predictor of a stored version, verified against its sha256 first.

    Raises: DamagedArtefact, UnloadableArtefact.
    """
    artefact = read(folder, sha256)
    score = _lightgbm(artefact) if artefact.kind == "lightgbm" else _skops(artefact)
    return Predictor(artefact.preprocessing, score, artefact.sha256)


def scorer(estimator: Any, output: Output) -> Score:
    """A fitted estimator's answer as float64: the number, or the probability of a yes."""
    if output == "number":
        return lambda matrix: np.asarray(estimator.predict(matrix), np.float64).reshape(-1)
    positive = list(estimator.classes_).index(1)
    return lambda matrix: np.asarray(estimator.predict_proba(matrix)[:, positive], np.float64)


def _lightgbm(artefact: Artefact) -> Score:
    import lightgbm

    try:
        booster = lightgbm.Booster(model_str=artefact.payload.decode())
    except lightgbm.basic.LightGBMError as error:
        raise _unloadable(artefact, error) from error

    def score(matrix: Floats) -> Floats:
        return np.asarray(booster.predict(matrix, num_threads=1), np.float64)

    return score


def _skops(artefact: Artefact) -> Score:
    import skops.io
    from threadpoolctl import ThreadpoolController

    try:
        estimator = skops.io.loads(artefact.payload, trusted=list(artefact.trusted))
    except SKOPS_FAILS as error:
        raise _unloadable(artefact, error) from error
    for name, value in estimator.get_params().items():
        if name.rpartition("__")[2] == "n_jobs" and value is not None:
            estimator.set_params(**{name: 1})
    answer = scorer(estimator, artefact.preprocessing.signature.output)
    threads = ThreadpoolController()

    def score(matrix: Floats) -> Floats:
        with threads.limit(limits=1):
            return answer(matrix)

    return score


def _unloadable(artefact: Artefact, error: Exception) -> UnloadableArtefact:
    libraries = ", ".join(f"{name} {version}" for name, version in artefact.libraries.items())
    problem = f"{artefact.estimator}: {error}"
    return UnloadableArtefact(folder=str(artefact.folder), problem=problem, libraries=libraries)
