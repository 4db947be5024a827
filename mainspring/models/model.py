"""`Model`: an estimator, the rows it learns from, and the gates its versions must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from mainspring.errors import declared_at
from mainspring.models.gate import Gate
from mainspring.training.training_set import TrainingSet
from mainspring.windows import microseconds


class Estimator(Protocol):
    """Anything with scikit-learn's `fit` and `predict`."""

    def fit(self, X: Any, y: Any) -> Any: ...
    def predict(self, X: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Model:
    """An estimator, the training set it learns from, and the gates that its versions must pass.

    Every training fits a clone in a child process, together with the ladder of simple models it has to justify itself against, and
    appends a version to the registry.

    Args:
        name: its name in the registry.
        estimator: any estimator with `fit` and `predict` (`predict_proba` for a yes-or-no label).
        rows: what it learns from.
        gates: what a version must meet to go live; all are checked on the same judge rows.
        deadline: how long one fit may take before it is stopped.
        memory_mb: how much memory one fit may take; None leaves it unlimited.
        seed: what makes a fit repeatable.
    """

    name: str
    estimator: Estimator
    rows: TrainingSet
    gates: Sequence[Gate] = ()
    deadline: timedelta = timedelta(hours=1)
    memory_mb: int | None = None
    seed: int = 0
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def definition(self) -> dict[str, Any]:
        """The model as JSON for the plan."""
        return {
            "estimator": " ".join(repr(self.estimator).split()),
            "rows": self.rows.name,
            "gates": [gate.definition() for gate in self.gates],
            "deadline_us": microseconds(self.deadline),
            "seed": self.seed,
        }
