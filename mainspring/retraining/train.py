"""One training: rows as known now, a fit in a child process, the verdict of the gates, a version in the registry."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from mainspring.engines.base import Engine
from mainspring.expressions import leaves
from mainspring.features.backfill import Backfill
from mainspring.models.evaluate import evaluate
from mainspring.models.fit import FitJob, Fitted, fit
from mainspring.models.judge import Verdict, judge, scores
from mainspring.models.ladder import Rows as FitRows
from mainspring.models.metrics import METRICS
from mainspring.models.model import Model
from mainspring.models.outcome import Origin
from mainspring.models.registry import Registry, decide
from mainspring.models.rule import Rule
from mainspring.models.signature import Input, Output, Signature
from mainspring.monitoring.profile import Cells
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.stores.base import Transaction
from mainspring.training.build import Built, build
from mainspring.vectors import Vector
from mainspring.vectors import evaluate as value_of
from mainspring.windows import microseconds

SCORE = "score"
"""The name under which a version's profile keeps its own predictions."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that was fitted and judged, not yet in the registry."""

    model: Model
    built: Built
    fitted: Fitted
    verdicts: list[Verdict]
    metrics: Mapping[str, Any]
    ladder: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(v.passed for v in self.verdicts)


def signature_of(model: Model) -> Signature:
    """The signature that versions of a model have: the feature set in order, and what the label is."""
    features = model.rows.feature_set
    inputs = (
        Input(name, "category" if kind == "text" else "number")
        for name, kind in zip(features.names, features.kinds, strict=True)
    )
    return Signature(tuple(inputs), output_of(model))


def output_of(model: Model) -> Output:
    """What a model answers: a probability for a yes-or-no label, else a number."""
    return "probability" if model.rows.label.kind == "flag" else "number"


def train(
    model: Model,
    now: int,
    backfill: Backfill,
    tables: Callable[[type[Source]], Table],
    engine: Engine,
    registry: Registry,
    champion: int | None,
    versions: Path,
) -> Trained:
    """Fits and judges a version of a model on what is known at `now`; nothing is registered yet.

    Raises:
        NoTrainingRows: nothing has matured.
        FitFailed, FitTimedOut, FitOutOfMemory, NothingToLearn, …: see `models.fit`.
    """
    built = build(model.rows, now, backfill, tables, engine)
    fit_rows, judge_rows = _split(built, 0, built.fit), _split(built, built.fit, len(built.rows))
    job = FitJob(
        model=model.name,
        estimator=model.estimator,
        rows=fit_rows,
        judge=judge_rows.columns,
        signature=signature_of(model),
        seed=model.seed,
        folder=versions,
        origin=_origin(model),
    )
    fitted = fit(job, deadline_s=microseconds(model.deadline) / 1e6, memory_mb=model.memory_mb)
    y, p = judge_rows.y, fitted.predictions
    others = _others(model, judge_rows.columns, registry, champion, len(y))
    return Trained(
        model,
        built,
        fitted,
        judge(model.gates, y, p, others, fitted.ladder, model.seed),
        scores(output_of(model), y, p, model.seed),
        _rungs(model, y, fitted.ladder),
    )


def _split(built: Built, start: int, end: int) -> FitRows:
    columns = {name: values[start:end] for name, values in built.rows.columns.items()}
    return FitRows(columns, built.labels[start:end])


def _origin(model: Model) -> Origin:
    module = sys.modules.get(type(model.estimator).__module__)
    file = getattr(module, "__file__", None)
    of_system = module is not None and module.__name__.startswith("mainspring_system_")
    return Origin(model.at, module.__name__, file) if of_system and module else Origin(model.at)


def _others(
    model: Model, columns: Mapping[str, Vector], registry: Registry, champion: int | None, rows: int
) -> dict[str, Vector]:
    """What the champion and the rules of the gates predict on the judge rows."""
    found: dict[str, Vector] = {}
    if champion is not None:
        found["champion"] = registry.predictor(model.name, champion).predict(dict(columns))
    for gate in model.gates:
        if isinstance(gate.other, Rule) and all(
            leaf.label in columns for leaf in leaves(gate.other.flag)
        ):
            found[gate.other.name] = value_of(gate.other.flag, columns, rows)
    return found


def _rungs(model: Model, y: Vector, ladder: Mapping[str, Vector]) -> dict[str, dict[str, float]]:
    wanted = [m for m in METRICS.values() if m.for_ == output_of(model)]
    return {rung: {m.name: evaluate(m, y, p) for m in wanted} for rung, p in ladder.items()}


def register(trained: Trained, now: int, reason: str, transaction: Transaction) -> int:
    """Appends a version with everything that is known of it: its run, its metrics, its gates and a decision."""
    model, fitted = trained.model, trained.fitted
    number = transaction.next_number(f"version:{model.name}")
    transaction.insert(
        "version",
        model=model.name,
        number=number,
        sha256=fitted.sha256,
        rows_hash=trained.built.content_hash,
        folder=fitted.folder.name,
        signature=signature_of(model).to_json(),
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
    }
    decide(transaction, now, model.name, "trained", f"{reason}; {verdict}", evidence)
    return number


def _track(trained: Trained, number: int, now: int, transaction: Transaction) -> None:
    """Experiment tracking: the run with parameters, data, code, environment and seed, and its metrics."""
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
    """Keeps the distribution of each input on the fit rows, and of the predictions on the judge rows: what drift is measured against."""
    columns = {n: v[: trained.built.fit] for n, v in trained.built.rows.columns.items()}
    columns[SCORE] = trained.fitted.predictions
    profile = {name: _profile(values) for name, values in columns.items()}
    content = {"features": profile, "importance": dict(trained.fitted.importance)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trained.fitted.sha256}.json"
    path.with_suffix(".partial").write_text(json.dumps(content))
    path.with_suffix(".partial").rename(path)


def _profile(values: Vector) -> dict[str, Any]:
    cells = Cells.fit(values)
    return {"cells": cells.to_json(), "counts": cells.count(values).tolist()}
