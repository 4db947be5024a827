"""Fitting: an estimator and rows in, a stored and judged version out, in a child process."""

from __future__ import annotations

import copy
import os
import pickle
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mainspring.errors import (
    ArtefactDisagrees,
    FitDied,
    FitFailed,
    FitOutOfMemory,
    FitTimedOut,
    NothingToLearn,
    UnsuitableEstimator,
)
from mainspring.models import artefact
from mainspring.models.child import call
from mainspring.models.ladder import Rows, ladder
from mainspring.models.outcome import (
    DEADLINE,
    Ended,
    Origin,
    OutOfMemory,
    Raised,
    Returned,
)
from mainspring.models.preprocess import Columns, Floats, Preprocessing, form_for
from mainspring.models.runtime import Predictor, load, scorer
from mainspring.models.signature import Output, Signature

_REPLAYED = 1000  # fit rows on which the stored form must agree with the estimator
_AGREEMENT = 1e-12


@dataclass(frozen=True, slots=True)
class FitJob:
    """Everything that a fit depends on; the same job gives the same sha256.

    Args:
        estimator: unfitted, with `fit` and `predict` (`predict_proba` for a probability).
        rows: the fit rows, oldest first.
        judge: the input columns of the rows that the version will be judged on.
        folder: where artefacts live; the new one becomes a folder in it.
        origin: where the estimator was declared, and the file of its class if that is no module.
    """

    model: str
    estimator: Any
    rows: Rows
    judge: Columns
    signature: Signature
    seed: int
    folder: Path
    origin: Origin


@dataclass(frozen=True, slots=True)
class Fitted:
    """A stored version, and what it and each rung of the ladder predict on the judge rows.

    `importance` gives each input's share, by gain for trees and by coefficient for linear
    estimators; it is empty for others.
    """

    folder: Path
    sha256: str
    seconds: float
    predictions: Floats
    ladder: Mapping[str, Floats]
    importance: Mapping[str, float]


def fit(job: FitJob, *, deadline_s: float, memory_mb: int | None = None) -> Fitted:
    """Fit, store and judge in a child process; here nothing is computed and no thread is blocked.

    Raises: NothingToLearn, UnsuitableEstimator, UnsavableEstimator, ArtefactDisagrees, FitFailed,
        FitTimedOut, FitOutOfMemory, FitDied.
    """
    check_estimator(job.estimator, job.signature.output, model=job.model, at=job.origin.at)
    _check_rows(job)
    try:
        outcome = call(_fit, job, origin=job.origin, deadline_s=deadline_s, memory_mb=memory_mb)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        outcome = Raised(type(error).__name__, f"it cannot be sent to a process: {error}", "")
    if isinstance(outcome, Returned):
        fitted: Fitted = outcome.value
        return fitted
    _raise(job, outcome, deadline_s, memory_mb)


def check_estimator(estimator: Any, output: Output, *, model: str, at: str) -> None:
    """Refuse an estimator that cannot give the output, before anything is computed.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> check_estimator(Ridge(), "probability", model="late", at="flights.py:9")
        Traceback (most recent call last):
        mainspring.errors.UnsuitableEstimator: late: Ridge gives no probability
          where  flights.py:9
          fix    the label is yes or no: use a classifier with predict_proba
    """
    if not _offers(estimator, "fit") or not _offers(estimator, "predict"):
        problem, remedy = "has no fit and predict", "use an estimator, such as LGBMClassifier()"
    elif output == "probability" and not _gives_probability(estimator):
        problem = "gives no probability"
        remedy = "the label is yes or no: use a classifier with predict_proba"
    elif output == "number" and hasattr(estimator, "predict_proba"):
        problem, remedy = "gives no number", "the label is a number: use a regressor"
    else:
        return
    name = type(estimator).__name__
    raise UnsuitableEstimator(model=model, estimator=name, problem=problem, at=at, remedy=remedy)


def _offers(estimator: Any, method: str) -> bool:
    # An unfitted pipeline or stack may show a method on its class only.
    return hasattr(estimator, method) or hasattr(type(estimator), method)


def _gives_probability(estimator: Any) -> bool:
    regressor = hasattr(estimator, "__sklearn_tags__") and (
        estimator.__sklearn_tags__().estimator_type == "regressor"
    )
    return _offers(estimator, "predict_proba") and not regressor


def _check_rows(job: FitJob) -> None:
    y = job.rows.y
    if not len(y):
        raise NothingToLearn(model=job.model, problem="there are no fit rows", at=job.origin.at)
    if job.signature.output == "probability" and y.min() == y.max():
        problem = f"all {len(y):,} fit rows have the same label, {y[0]:g}"
        raise NothingToLearn(model=job.model, problem=problem, at=job.origin.at)


def _raise(
    job: FitJob, outcome: Raised | OutOfMemory | Ended, deadline_s: float, memory_mb: int | None
) -> NoReturn:
    model, at = job.model, job.origin.at
    match outcome:
        case Raised(ours=Exception() as ours):
            raise ours
        case Raised(error, message, trace):
            raise FitFailed(model=model, error=error, message=message, trace=trace, at=at)
        case OutOfMemory():
            raise FitOutOfMemory(model=model, memory_mb=memory_mb or "the available", at=at)
        case Ended(by):
            if by == DEADLINE:
                raise FitTimedOut(model=model, deadline_s=deadline_s, at=at)
            raise FitDied(model=model, signal=by, at=at)


def _fit(job: FitJob) -> Fitted:
    """The work of the child."""
    started = time.perf_counter()
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)
    estimator = seeded(job.estimator, job.seed)
    preprocessing = Preprocessing.fit(job.rows.columns, job.signature, form_for(estimator))
    matrix = preprocessing.transform(job.rows.columns)
    estimator.fit(matrix, _target(job), **_weights(job, estimator))
    folder = artefact.save(estimator, preprocessing, job.folder)
    predictor = load(folder)
    _replay(estimator, predictor, matrix[-_REPLAYED:], job)
    predictions = predictor.predict(job.judge)
    return Fitted(
        folder=folder,
        sha256=predictor.sha256,
        seconds=time.perf_counter() - started,
        predictions=predictions,
        ladder=ladder(job.rows, job.judge, job.signature, len(predictions)),
        importance=_importance(estimator, preprocessing),
    )


def seeded(estimator: Any, seed: int) -> Any:
    """A copy of the estimator with every open `random_state` set, and LightGBM deterministic.

    LightGBM uses every core unless `n_jobs` is given. Settings that the user made are kept.

    Example:
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> seeded(RandomForestClassifier(), 7)
        RandomForestClassifier(random_state=7)
    """
    estimator = copy.deepcopy(estimator)
    if not hasattr(estimator, "get_params"):
        return estimator
    given = estimator.get_params(deep=True)
    settings = {name: seed for name, value in given.items() if _is_seed(name) and value is None}
    for name, part in [("", estimator), *given.items()]:
        if type(part).__module__.startswith("lightgbm."):
            settings |= _deterministic(part, f"{name}__" if name else "")
    return estimator.set_params(**settings)


def _is_seed(name: str) -> bool:
    return name.rpartition("__")[2] == "random_state"


def _deterministic(part: Any, prefix: str) -> dict[str, Any]:
    given = part.get_params(deep=False)
    wanted: dict[str, Any] = {"deterministic": True}
    if given.get("n_jobs") is None:
        wanted["n_jobs"] = len(os.sched_getaffinity(0))
    if not given.keys() & {"force_row_wise", "force_col_wise"}:
        wanted["force_col_wise"] = True
    if not given.keys() & {"verbosity", "verbose"}:
        wanted["verbosity"] = -1
    return {prefix + name: value for name, value in wanted.items()}


def _target(job: FitJob) -> Any:
    # Whole numbers, so that classes_ is [0, 1] for every library.
    return job.rows.y.astype(np.int64) if job.signature.output == "probability" else job.rows.y


def _weights(job: FitJob, estimator: Any) -> dict[str, Floats]:
    from sklearn.utils.validation import has_fit_parameter

    if job.rows.weight is None:
        return {}
    if not has_fit_parameter(estimator, "sample_weight"):
        raise UnsuitableEstimator(
            model=job.model,
            estimator=type(estimator).__name__,
            problem="takes no sample_weight, and the training set has weights",
            at=job.origin.at,
            remedy="use an estimator that does, or drop the weights",
        )
    return {"sample_weight": job.rows.weight}


def _replay(estimator: Any, predictor: Predictor, matrix: Floats, job: FitJob) -> None:
    """What was stored must answer as what was fitted, or it must not be served."""
    newest = job.rows.newest(_REPLAYED).columns
    expected = scorer(estimator, job.signature.output)(matrix)
    worst = float(np.max(np.abs(expected - predictor.predict(newest))))
    scale = max(1.0, float(np.max(np.abs(expected))))
    if not worst <= _AGREEMENT * scale:
        raise ArtefactDisagrees(estimator=type(estimator).__name__, worst=worst)


def _importance(estimator: Any, preprocessing: Preprocessing) -> dict[str, float]:
    shares = _column_importance(estimator)
    inputs = preprocessing.signature.names
    if shares is None or len(shares) != len(preprocessing.sources) or not shares.sum() > 0:
        return {}
    total = np.bincount(preprocessing.sources, weights=shares / shares.sum(), minlength=len(inputs))
    return dict(zip(inputs, total.tolist(), strict=True))


def _column_importance(estimator: Any) -> Floats | None:
    if hasattr(estimator, "booster_"):
        return np.asarray(estimator.booster_.feature_importance("gain"), np.float64)
    for name in ("feature_importances_", "coef_"):
        if hasattr(estimator, name):
            return np.abs(np.asarray(getattr(estimator, name), np.float64)).reshape(-1)
    return None
