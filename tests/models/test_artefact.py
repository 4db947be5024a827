"""Artefacts: written whole, named by their content, refused when they were touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mainspring.errors import DamagedArtefact, UnloadableArtefact
from mainspring.models import artefact
from mainspring.models.preprocess import Preprocessing, form_for
from mainspring.models.runtime import load, scorer
from mainspring.models.signature import Output
from tests.models.rows import features, learnable, signature


def fitted(estimator: Any, output: Output = "probability") -> tuple[Any, Preprocessing]:
    rows = learnable(400)
    preprocessing = Preprocessing.fit(rows.columns, signature(output), form_for(estimator))
    estimator.fit(preprocessing.transform(rows.columns), rows.y.astype(int))
    return estimator, preprocessing


def lightgbm() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=5, n_jobs=1, verbosity=-1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return artefact.save(*fitted(lightgbm()), tmp_path)


@pytest.mark.parametrize("model", [lightgbm(), LogisticRegression()], ids=["text", "skops"])
def test_saving_again_is_the_same_artefact(model: Any, tmp_path: Path) -> None:
    first, second = (artefact.save(*fitted(model), tmp_path) for _ in range(2))
    assert first == second
    assert first.name == artefact.read(first).sha256
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


@pytest.mark.parametrize(
    ("model", "output"),
    [
        (lightgbm(), "probability"),
        (LGBMRegressor(n_estimators=5, n_jobs=1, verbosity=-1), "number"),
        (HistGradientBoostingClassifier(max_iter=5), "probability"),
        (LogisticRegression(), "probability"),
    ],
    ids=["text", "regressor", "boosting", "linear"],
)
def test_a_loaded_version_predicts_what_was_fitted(
    model: Any, output: Output, tmp_path: Path
) -> None:
    estimator, preprocessing = fitted(model, output)
    predictor = load(artefact.save(estimator, preprocessing, tmp_path))
    rows = features(200, seed=9)
    expected = scorer(estimator, output)(preprocessing.transform(rows))
    assert np.max(np.abs(predictor.predict(rows) - expected)) <= 1e-12
    single = [predictor.predict({n: v[i : i + 1] for n, v in rows.items()})[0] for i in range(9)]
    assert np.max(np.abs(np.array(single) - expected[:9])) <= 1e-12


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("model.txt", "leaf_value=", "leaf_value=9"), ("manifest.json", "probability", "number")],
)
def test_a_changed_file_is_refused(name: str, old: str, new: str, folder: Path) -> None:
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(old, new, 1))
    with pytest.raises(DamagedArtefact, match=f"{name} does not have its sha256"):
        load(folder)


@pytest.mark.parametrize("name", ["model.txt", "manifest.json"])
def test_a_lost_file_is_refused(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(DamagedArtefact, match=f"there is no {name}"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "Expecting"), ("[]", "is not a manifest"), ("{}", "is not a manifest")],
)
def test_a_broken_manifest_is_refused(text: str, problem: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DamagedArtefact, match=problem):
        load(folder)


def test_a_forged_artefact_is_refused_where_its_sha256_is_known(tmp_path: Path) -> None:
    real = artefact.save(*fitted(lightgbm()), tmp_path)
    forged = artefact.save(*fitted(LogisticRegression()), tmp_path / "forged")
    assert load(forged).sha256 == forged.name
    with pytest.raises(DamagedArtefact, match="does not have its sha256"):
        load(forged, real.name)


def test_a_type_that_the_manifest_does_not_list_is_not_loaded(tmp_path: Path) -> None:
    model = CalibratedClassifierCV(lightgbm(), cv=2)
    folder = artefact.save(*fitted(model), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "lightgbm.basic.Booster" in manifest["trusted"]
    libraries = manifest.pop("libraries")
    content = {k: v for k, v in manifest.items() if k != "sha256"} | {"trusted": []}
    sealed = content | {"sha256": artefact._digest(content), "libraries": libraries}
    (folder / "manifest.json").write_text(json.dumps(sealed))
    with pytest.raises(UnloadableArtefact, match=r"Booster[^\0]*scikit-learn 1"):
        load(folder)
