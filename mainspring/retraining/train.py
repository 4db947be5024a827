"""One training: rows as known now, a fit in a child, the verdict of the gates, a version."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np

from mainspring.features.backfill import Backfill
from mainspring.graph import SYSTEM_MODULE
from mainspring.models.evaluate import evaluate
from mainspring.models.fit import FitJob, Fitted, fit
from mainspring.models.influence import unused, without_influence
from mainspring.models.judge import Verdict, judge, scores
from mainspring.models.ladder import Rows as FitRows
from mainspring.models.metrics import METRICS
from mainspring.models.model import Model
from mainspring.models.outcome import Origin
from mainspring.models.registry import Registry, decide
from mainspring.models.runtime import load
from mainspring.monitoring.profile import Cells
from mainspring.monitoring.watch import SCORE
from mainspring.retraining.opponents import opponents
from mainspring.sources.home import Home
from mainspring.stores.base import Transaction
from mainspring.training.build import Built, build
from mainspring.training.useful import Warned, costly, told, useless
from mainspring.vectors import Vector
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that was fitted and judged, not yet in the registry."""

    model: Model
    built: Built
    fitted: Fitted
    verdicts: list[Verdict]
    metrics: Mapping[str, Any]
    ladder: Mapping[str, Any]
    warnings: Sequence[Warned] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(v.passed for v in self.verdicts)


def train(
    model: Model,
    now: int,
    backfill: Backfill,
    home: Home,
    registry: Registry,
    champions: Sequence[int],
) -> Trained:
    """Fits and judges a version of a model on what is known at `now`; nothing is registered yet.

    Args:
        champions: the versions of the model that answer somewhere now.

    Raises:
        NoTrainingRows: nothing has matured.
        FitFailed, FitTimedOut, FitOutOfMemory, NothingToLearn, …: see `models.fit`.
    """
    built = build(model.rows, now, backfill, home.table, home.engine)
    judged, y = built.rows.take(np.arange(built.fit, len(built.rows))), built.labels[built.fit :]
    fitted = fit(
        _job(model, built, judged.columns, home.path("versions")),
        deadline_s=microseconds(model.deadline) / 1e6,
        memory_mb=model.memory_mb,
    )
    p = fitted.predictions
    others = opponents(model, judged, fitted.ladder, champions, registry, home)
    return Trained(
        model,
        built,
        fitted,
        judge(model.gates, y, p, others, model.seed),
        scores(model.output, y, p, model.seed),
        _rungs(model, y, fitted.ladder),
        _warnings(model, built, fitted, judged.columns, now, home),
    )


def _job(model: Model, built: Built, judged: Mapping[str, Vector], folder: Path) -> FitJob:
    fit_rows = built.rows.take(np.arange(built.fit))
    return FitJob(
        model=model.name,
        estimator=model.estimator,
        rows=FitRows(fit_rows.columns, built.labels[: built.fit]),
        judge=judged,
        signature=model.signature,
        seed=model.seed,
        folder=folder,
        origin=_origin(model),
    )


def _origin(model: Model) -> Origin:
    """Where the model was declared; from there a child loads a class of the system file."""
    file = model.at.rpartition(":")[0]
    name = f"{SYSTEM_MODULE}{Path(file).stem}"
    of_system = getattr(sys.modules.get(name), "__file__", None) == file
    return Origin(model.at, name, file) if of_system else Origin(model.at)


def _rungs(model: Model, y: Vector, ladder: Mapping[str, Vector]) -> dict[str, dict[str, float]]:
    wanted = [m for m in METRICS.values() if m.for_ == model.output]
    return {rung: {m.name: evaluate(m, y, p) for m in wanted} for rung, p in ladder.items()}


def _warnings(
    model: Model, built: Built, fitted: Fitted, judged: Mapping[str, Vector], now: int, home: Home
) -> list[Warned]:
    """What is to be said of single features."""
    if fitted.importance:
        nothing = unused(fitted.importance)
    else:
        nothing = without_influence(load(fitted.folder, fitted.sha256), judged)
    columns = {n: v[: built.fit] for n, v in built.rows.columns.items()}
    features = model.rows.feature_set
    return [*useless(columns, nothing), *costly(features, home.table, home.engine, now)]


def register(trained: Trained, now: int, reason: str, transaction: Transaction) -> int:
    """Appends a version with all that is known of it: metrics, gates, its run, a decision."""
    model, fitted = trained.model, trained.fitted
    number = transaction.next_number(f"version:{model.name}")
    transaction.insert(
        "version",
        model=model.name,
        number=number,
        sha256=fitted.sha256,
        rows_hash=trained.built.content_hash,
        folder=fitted.folder.name,
        signature=model.signature.to_json(),
        metrics=dict(trained.metrics),
        gates=[v.to_json() for v in trained.verdicts],
        ladder=dict(trained.ladder),
        reason=reason,
        at=now,
        state="eligible" if trained.passed else "refused",
    )
    _track(trained, number, now, transaction)
    failed = next((v for v in trained.verdicts if not v.passed), None)
    verdict = (
        f"v{number} met every gate" if failed is None else f"v{number} did not: {failed.reason}"
    )
    evidence = {
        "version": number,
        "gates": [v.to_json() for v in trained.verdicts],
        "trigger": reason,
        "warnings": [w.to_json() for w in trained.warnings],
    }
    new = told(_not_told_before(trained, transaction))
    sentence = f"{reason}; {verdict}; {new}" if new else f"{reason}; {verdict}"
    decide(transaction, now, model.name, "trained", sentence, evidence)
    return number


def _not_told_before(trained: Trained, transaction: Transaction) -> list[Warned]:
    """The warnings that the training before did not have: the timeline has each once."""
    name = trained.model.name
    found = transaction.select("decision", order="-number", limit=1, subject=name, kind="trained")
    before = found[0]["evidence"].get("warnings", ()) if found else ()
    known = {(w["feature"], w["problem"]) for w in before}
    return [w for w in trained.warnings if (w.feature, w.problem) not in known]


def _track(trained: Trained, number: int, now: int, transaction: Transaction) -> None:
    """Appends the run that made a version: settings, rows, code, environment and metrics."""
    model, run = trained.model, transaction.next_number("run")
    transaction.insert(
        "run",
        number=run,
        model=model.name,
        version=number,
        at=now,
        parameters=_parameters(model.estimator),
        rows_hash=trained.built.content_hash,
        code_hash=_code_hash(model),
        environment=_environment(),
        seed=model.seed,
        seconds=trained.fitted.seconds,
    )
    for name, found in trained.metrics.items():
        transaction.insert("metric", run=run, name=name, step=0, value=found["value"])


def _code_hash(model: Model) -> str:
    """A fingerprint of everything declared that a training depends on."""
    declared = [model.definition(), model.rows.definition(), model.rows.feature_set.definition()]
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]


def _parameters(estimator: Any) -> dict[str, Any]:
    given = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return {
        name: value if isinstance(value, int | float | str | None) else repr(value)
        for name, value in given.items()
    }


def _environment() -> dict[str, str]:
    wanted = ("mainspring", "numpy", "scikit-learn", "lightgbm")
    found = {d: packages.version(d) for d in wanted if _installed(d)}
    return {"python": platform.python_version(), **found}


def _installed(name: str) -> bool:
    return any(True for _ in packages.distributions(name=name))


def write_profile(trained: Trained, folder: Path) -> None:
    """Keeps what drift is measured against: inputs of the fit rows, scores of the judge rows."""
    columns = {n: v[: trained.built.fit] for n, v in trained.built.rows.columns.items()}
    columns[SCORE] = trained.fitted.predictions
    profile = {name: _profile(values) for name, values in columns.items()}
    content = {"features": profile, "importance": dict(trained.fitted.importance)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trained.fitted.sha256}.json"
    with path.with_suffix(".partial").open("w") as file:
        file.write(json.dumps(content))
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".partial").rename(path)


def _profile(values: Vector) -> dict[str, Any]:
    cells = Cells.fit(values)
    return {"cells": cells.to_json(), "counts": cells.count(values).tolist()}
