"""`Model`: an estimator, the rows it learns from, and the gates its versions must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.expressions import stable
from mainspring.models.gate import Gate
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.signature import Input, Output, Signature
from mainspring.training.training_set import TrainingSet
from mainspring.windows import microseconds


@runtime_checkable
class Estimator(Protocol):
    """Anything with scikit-learn's `fit` and `predict`."""

    def fit(self, X: Any, y: Any) -> Any: ...
    def predict(self, X: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Model:
    """An estimator, the rows it learns from, and the gates its versions must pass.

    Every training fits a clone in a child process, together with the ladder of simple models it has
    to justify itself against, and appends a version to the registry.

    Args:
        name: its name in the registry.
        estimator: any estimator with `fit` and `predict` (`predict_proba` for a yes-or-no label).
        rows: what it learns from.
        gates: what a version must meet to go live; all are checked on the same judge rows.
        deadline: how long one fit may take before it is stopped.
        memory_mb: how much memory one fit may take; None leaves it unlimited.
        seed: what makes a fit repeatable.

    Raises:
        InvalidDeclaration: an estimator without `fit` and `predict`, or a setting of another type.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     flight_id: ms.Column[str] = ms.column(unique=True)
        ...     distance: ms.Column[float]
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> class Arrival(ms.Source, url="arrivals.parquet"):
        ...     flight_id: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     landed_at: ms.Column[datetime] = ms.event_time()
        >>> delay = ms.Label(
        ...     "delay",
        ...     of=Flight.flight_id,
        ...     when=Arrival.flight_id,
        ...     value=Arrival.delay,
        ...     within=ms.days(2),
        ... )
        >>> rows = ms.TrainingSet("rows", delay, [Flight.distance], lookback=ms.days(120))
        >>> from sklearn.linear_model import Ridge
        >>> gates = [ms.beats("baseline", ms.mae)]
        >>> model = ms.Model("delay", Ridge(), rows, gates=gates)
        >>> model.definition()["estimator"], model.definition()["gates"]
        ('Ridge()', [{'beats': 'baseline', 'metric': 'mae', 'by': 0.0}])
    """

    name: str
    estimator: Estimator
    rows: TrainingSet
    gates: Sequence[Gate] = ()
    deadline: timedelta = timedelta(hours=1)
    memory_mb: int | None = None
    seed: int = 0
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, estimator=Estimator, rows=TrainingSet, gates=list[Gate], memory_mb=int | None)
        microseconds(self.deadline, "deadline")
        for gate in self.gates:
            self.expect_metric(gate.metric, f"a gate of model {self.name!r}")

    def expect_metric(self, metric: Metric, owner: str) -> None:
        """Refuses a metric that is not of what the model answers.

        Raises:
            InvalidDeclaration: it is of probabilities where numbers are answered, or the other way.
        """
        if metric.for_ != self.output:
            suitable = ", ".join(f"ms.{m.name}" for m in METRICS.values() if m.for_ == self.output)
            raise InvalidDeclaration(
                subject_name=owner,
                problem=f"{metric.name} is a metric of a {metric.for_}, the model answers "
                f"with a {self.output}",
                at=declared_at(),
                remedy=f"use one of {suitable}",
            )

    @property
    def output(self) -> Output:
        """What it answers: a probability for a yes-or-no label, else a number."""
        return "probability" if self.rows.label.kind == "flag" else "number"

    @property
    def signature(self) -> Signature:
        """The signature of its versions: the feature set in order, and the output."""
        features = self.rows.feature_set
        inputs = (
            Input(name, "category" if kind == "text" else "number")
            for name, kind in zip(features.names, features.kinds, strict=True)
        )
        return Signature(tuple(inputs), self.output)

    def definition(self) -> dict[str, Any]:
        """The model as JSON for the plan."""
        return {
            "estimator": " ".join(stable(self.estimator).split()),
            "rows": self.rows.name,
            "gates": [gate.definition() for gate in self.gates],
            "deadline_us": microseconds(self.deadline),
            "seed": self.seed,
        }
