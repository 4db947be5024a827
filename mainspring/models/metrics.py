"""Metrics by name: what is measured, for which output, and which direction is better.

Only declarations, so that a system file can name them at no cost; `evaluate.py` computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mainspring.models.signature import Output


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of predictions against outcomes.

    Example:
        >>> log_loss.is_better(0.31, than=0.35)
        True
        >>> roc_auc.is_better(0.70, than=0.74)
        False
    """

    name: str
    better: Literal["lower", "higher"]
    for_: Output

    def is_better(self, score: float, *, than: float) -> bool:
        """Whether `score` is strictly better than another; never so when either is NaN.

        Example:
            >>> mae.is_better(float("nan"), than=2.0)
            False
        """
        return score < than if self.better == "lower" else score > than


log_loss = Metric("log_loss", "lower", "probability")
roc_auc = Metric("roc_auc", "higher", "probability")
average_precision = Metric("average_precision", "higher", "probability")
brier = Metric("brier", "lower", "probability")
accuracy = Metric("accuracy", "higher", "probability")
mae = Metric("mae", "lower", "number")
rmse = Metric("rmse", "lower", "number")
r2 = Metric("r2", "higher", "number")

METRICS = {
    metric.name: metric
    for metric in (log_loss, roc_auc, average_precision, brier, accuracy, mae, rmse, r2)
}
