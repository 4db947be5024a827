"""Fitting: the same job gives the same version, and what goes wrong has a name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from mainspring.errors import (
    ArtefactDisagrees,
    FitDied,
    FitFailed,
    FitOutOfMemory,
    FitTimedOut,
    MainspringError,
    NothingToLearn,
    UnsavableEstimator,
    UnsuitableEstimator,
)
from mainspring.models.fit import FitJob, fit, seeded
from mainspring.models.ladder import Rows
from mainspring.models.outcome import Origin
from mainspring.models.runtime import load
from mainspring.models.worker import load_module
from tests.models.rows import features, learnable, outcome, signature

Make = Callable[..., FitJob]

SYSTEM_FILE = """
import os, signal, threading, time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Half(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        self.rate_ = float(np.mean(y))
        return self
    def predict_proba(self, X):
        return np.tile([1 - self.rate_, self.rate_], (len(X), 1))
    def predict(self, X):
        return self.predict_proba(X)[:, 1] > 0.5

class Raises(Half):
    def fit(self, X, y): raise ValueError("the matrix is singular")
class Sleeps(Half):
    def fit(self, X, y): time.sleep(60)
class Hungry(Half):
    def fit(self, X, y): np.ones(1 << 29)
class Dies(Half):
    def fit(self, X, y): os.kill(os.getpid(), signal.SIGKILL)
class Locked(Half):
    def fit(self, X, y):
        self.lock_ = threading.Lock()
        return super().fit(X, y)
class Fickle(Half):
    def predict_proba(self, X): return np.random.random((len(X), 2))
"""


@pytest.fixture
def system_file(tmp_path: Path) -> Iterator[tuple[ModuleType, Origin]]:
    """A system file that defines estimators, loaded under a name that no import finds."""
    file = tmp_path / "fit_system.py"
    file.write_text(SYSTEM_FILE)
    load_module("fit_system", file)
    yield sys.modules["fit_system"], Origin("fit_system.py:5", "fit_system", str(file))
    del sys.modules["fit_system"]


ESTIMATORS = [
    LGBMClassifier(n_estimators=20),
    LGBMClassifier(n_estimators=20, subsample=0.5, subsample_freq=1, n_jobs=1),
    HistGradientBoostingClassifier(max_iter=10),
    RandomForestClassifier(n_estimators=10, n_jobs=2),
    make_pipeline(MinMaxScaler(), LogisticRegression()),
    KNeighborsClassifier(),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_the_same_job_gives_the_same_version(estimator: Any, job: Make, tmp_path: Path) -> None:
    first = fit(job(estimator), deadline_s=60)
    second = fit(job(estimator, folder=tmp_path / "elsewhere"), deadline_s=60)
    assert first.sha256 == second.sha256
    assert first.folder != second.folder
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_other_rows_give_another_version(job: Make) -> None:
    small, large = (
        fit(job(LGBMClassifier(n_estimators=5), rows=n), deadline_s=60) for n in (500, 600)
    )
    assert small.sha256 != large.sha256


def test_threads_do_not_change_a_lightgbm_version(job: Make) -> None:
    hashes = {
        fit(job(LGBMClassifier(n_estimators=20, n_jobs=n)), deadline_s=60).sha256 for n in (1, 2)
    }
    assert len(hashes) == 1


def test_a_version_predicts_and_explains(job: Make) -> None:
    done = job(LGBMClassifier(n_estimators=30), rows=2000)
    fitted = fit(done, deadline_s=60)
    np.testing.assert_array_equal(load(fitted.folder).predict(done.judge), fitted.predictions)
    assert sum(fitted.importance.values()) == pytest.approx(1)
    assert max(fitted.importance, key=lambda name: fitted.importance[name]) == "wind"
    assert set(fitted.ladder) == {"constant", "linear", "tree"}


def test_linear_importance_is_by_input(job: Make) -> None:
    fitted = fit(job(LogisticRegression(), rows=2000), deadline_s=60)
    assert sum(fitted.importance.values()) == pytest.approx(1)
    assert list(fitted.importance) == ["wind", "rain", "asked_at", "carrier"]


def test_a_number_is_fitted_and_predicted(job: Make) -> None:
    columns = features(600)
    rows = Rows(columns, 3 * columns["wind"] + 100)
    made = job(LGBMRegressor(n_estimators=50), rows=rows, signature=signature("number"))
    fitted = fit(made, deadline_s=60)
    assert np.corrcoef(fitted.predictions, features(200, seed=5)["wind"])[0, 1] > 0.9
    assert fitted.ladder["constant"][0] == pytest.approx(rows.y.mean())


def test_weights_count(job: Make) -> None:
    light = learnable(600)
    heavy = Rows(light.columns, light.y, np.where(light.y > 0, 9.0, 1.0))
    plain, more = (fit(job(LogisticRegression(), rows=r), deadline_s=60) for r in (light, heavy))
    assert more.predictions.mean() > plain.predictions.mean() + 0.2
    assert more.ladder["constant"][0] > plain.ladder["constant"][0] + 0.2


def test_no_judge_rows_are_no_predictions(job: Make) -> None:
    nobody = {name: values[:0] for name, values in features(1).items()}
    fitted = fit(job(LogisticRegression(), judge=nobody), deadline_s=60)
    assert [len(p) for p in (fitted.predictions, *fitted.ladder.values())] == [0, 0, 0, 0]


def test_seed_is_set_where_the_user_left_it_open() -> None:
    pipeline = make_pipeline(MinMaxScaler(), RandomForestClassifier())
    assert seeded(pipeline, 7)[-1].random_state == 7
    assert seeded(RandomForestClassifier(random_state=3), 7).random_state == 3


def test_lightgbm_settings_of_the_user_are_kept() -> None:
    given = seeded(LGBMClassifier(n_jobs=1, force_row_wise=True, verbose=1), 7).get_params()
    assert given["n_jobs"] == 1 and given["deterministic"] and given["random_state"] == 7
    assert "force_col_wise" not in given and "verbosity" not in given


def test_an_estimator_of_the_system_file_is_fitted_and_loaded(
    job: Make, system_file: tuple[ModuleType, Origin]
) -> None:
    module, origin = system_file
    done = job(module.Half(), origin=origin)
    fitted = fit(done, deadline_s=60)
    assert fitted.predictions == pytest.approx(np.full(200, done.rows.y.mean()))
    assert load(fitted.folder).predict(done.judge) == pytest.approx(fitted.predictions)


def test_a_class_of_a_library_is_imported_though_its_file_is_known(job: Make) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=5)
    module = type(estimator).__module__
    origin = Origin("flights.py:24", module, sys.modules[module].__file__)
    fitted = fit(job(estimator, origin=origin), deadline_s=60)
    assert fitted.sha256 == fit(job(estimator), deadline_s=60).sha256


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Raises", FitFailed, "lateness failed to fit: ValueError: the matrix is singular"),
        ("Sleeps", FitTimedOut, "lateness was still fitting after 0.8 s"),
        ("Hungry", FitOutOfMemory, "lateness needed more than 2000 MB"),
        ("Dies", FitDied, "the fitting process was ended by SIGKILL"),
        ("Locked", UnsavableEstimator, "fit_system.Locked cannot be stored"),
        ("Fickle", ArtefactDisagrees, "Fickle, stored and loaded again, predicts differently"),
    ],
)
def test_what_goes_wrong_has_a_name(
    name: str,
    error: type[MainspringError],
    message: str,
    job: Make,
    system_file: tuple[ModuleType, Origin],
) -> None:
    module, origin = system_file
    with pytest.raises(error, match=message) as caught:
        fit(
            job(getattr(module, name)(), origin=origin),
            deadline_s=0.8 if name == "Sleeps" else 60,
            memory_mb=2000,
        )
    assert "fix" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_traceback_of_a_failed_fit_is_kept(
    job: Make, system_file: tuple[ModuleType, Origin]
) -> None:
    module, origin = system_file
    with pytest.raises(FitFailed, match="singular") as caught:
        fit(job(module.Raises(), origin=origin), deadline_s=60)
    assert 'raise ValueError("the matrix is singular")' in caught.value.trace
    assert "fit_system.py:5" in str(caught.value)


def test_rows_that_teach_nothing_are_refused(job: Make) -> None:
    with pytest.raises(NothingToLearn, match="there are no fit rows"):
        fit(job(LGBMClassifier(), rows=0), deadline_s=60)
    never = Rows(features(50), np.zeros(50))
    with pytest.raises(NothingToLearn, match="all 50 fit rows have the same label, 0"):
        fit(job(LGBMClassifier(), rows=never), deadline_s=60)


def test_unsuitable_estimators_are_refused_before_they_are_fitted(job: Make) -> None:
    with pytest.raises(UnsuitableEstimator, match="Ridge gives no probability"):
        fit(job(Ridge()), deadline_s=60)
    with pytest.raises(UnsuitableEstimator, match="Pipeline gives no probability"):
        fit(job(make_pipeline(Ridge())), deadline_s=60)
    with pytest.raises(UnsuitableEstimator, match="LogisticRegression gives no number"):
        fit(job(LogisticRegression(), signature=signature("number")), deadline_s=60)
    with pytest.raises(UnsuitableEstimator, match="object has no fit and predict"):
        fit(job(object()), deadline_s=60)


def test_weights_that_an_estimator_cannot_take_are_refused(job: Make) -> None:
    columns = features(100)
    weighted = Rows(columns, outcome(columns), np.ones(100))
    with pytest.raises(UnsuitableEstimator, match="takes no sample_weight"):
        fit(job(KNeighborsClassifier(), rows=weighted), deadline_s=60)


def test_an_estimator_that_cannot_travel_fails_by_name(job: Make) -> None:
    class Local:
        def fit(self, X: Any, y: Any) -> None: ...
        def predict(self, X: Any) -> None: ...
        def predict_proba(self, X: Any) -> None: ...

    with pytest.raises(FitFailed, match="it cannot be sent to a process"):
        fit(job(Local()), deadline_s=60)
