"""Gates: the conditions a version must meet before it may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mainspring.errors import InvalidDeclaration, closest, declared_at, expect
from mainspring.models.metrics import Metric
from mainspring.models.rule import Rule

OTHERS = ("champion", "baseline")


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition on a new version, that it beats another on the same judge rows: `ms.beats`."""

    other: Literal["champion", "baseline"] | Rule
    metric: Metric
    by: float

    def __post_init__(self) -> None:
        expect(self, other=str | Rule, metric=Metric, by=float | int)
        if isinstance(self.other, str) and self.other not in OTHERS:
            raise InvalidDeclaration(
                subject_name="ms.beats",
                problem=f"there is no {self.other!r} to beat",
                at=declared_at(),
                remedy=closest(self.other, OTHERS),
            )

    @property
    def name(self) -> str:
        """The gate as a sentence."""
        other = self.other if isinstance(self.other, str) else f"rule {self.other.name}"
        return f"beats {other} on {self.metric.name}" + (f" by {self.by:g}" if self.by else "")

    def definition(self) -> dict[str, Any]:
        """The gate as JSON for the plan."""
        other = self.other if isinstance(self.other, str) else {"rule": self.other.name}
        return {"beats": other, "metric": self.metric.name, "by": self.by}


def beats(other: Literal["champion", "baseline"] | Rule, on: Metric, *, by: float = 0.0) -> Gate:
    """The gate that a version must be better than `other`, on the same judge rows.

    Args:
        other: the version that answers now (`"champion"`; passed while there is none), the best of
            the simple models of the ladder (`"baseline"`), or a rule.
        on: the metric.
        by: by how much at least; below 0, how much worse it may be.

    Raises:
        InvalidDeclaration: another text than these two, or not a metric.

    Example:
        >>> from mainspring import log_loss
        >>> beats("champion", log_loss, by=0.001).name
        'beats champion on log_loss by 0.001'
    """
    return Gate(other, on, by)
