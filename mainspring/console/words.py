"""Numbers and times as the pages say them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mainspring.clock import format_time
from mainspring.expressions import Expr
from mainspring.features.description import made
from mainspring.features.view import lineage
from mainspring.models.metrics import METRICS
from mainspring.sources.source import Column

WORDS = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "calibration_error": "calibration error",
    "rolled_back": "rolled back",
    "training_failed": "training failed",
    "incident_opened": "incident opened",
    "incident_closed": "incident closed",
    "training_set": "training set",
}


def worded(name: str) -> str:
    """A name of the code as a person says it.

    Example:
        >>> worded("roc_auc"), worded("promoted")
        ('ROC AUC', 'promoted')
    """
    return WORDS.get(name, name)


_UNITS = ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"))


def count(number: int) -> str:
    """A whole number with its thousands apart.

    Example:
        >>> count(252448)
        '252,448'
    """
    return f"{number:,}"


def decimals(number: float | None, places: int = 4) -> str:
    """A number to a few places; a dash where there is none.

    Example:
        >>> decimals(0.40467), decimals(None)
        ('0.4047', '–')
    """
    return "–" if number is None else f"{number:.{places}f}"


def percent(part: float, whole: float = 1) -> str:
    """A share of a whole, with a place more where it is small.

    Example:
        >>> percent(1, 8), percent(3, 1000), percent(0, 0)
        ('12 %', '0.3 %', '0 %')
    """
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 1 else f"{share:.0f} %"


def moment(at: int) -> str:
    """A time to the minute, in UTC.

    Example:
        >>> moment(0)
        '1970-01-01 00:00'
    """
    return format_time(at)[:16]


def day(at: int) -> str:
    """A date.

    Example:
        >>> day(0)
        '1970-01-01'
    """
    return format_time(at)[:10]


def span(microseconds: int) -> str:
    """A duration in its largest whole unit, rounded down.

    Example:
        >>> span(7 * 86_400_000_000), span(90_000_000), span(5_000_000)
        ('7 days', '1 minute', '5 seconds')
    """
    for unit, name in _UNITS:
        if microseconds >= unit:
            return _counted(microseconds // unit, name)
    return _counted(microseconds // 1_000_000, "second")


def every(microseconds: int) -> str:
    """How often something is done.

    Example:
        >>> every(86_400_000_000), every(7 * 86_400_000_000)
        ('every day', 'every 7 days')
    """
    return f"every {span(microseconds).removeprefix('1 ')}"


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def checks(column: Column[Any]) -> str:
    """What a contract asks of a column beyond its type.

    Example:
        >>> from mainspring.sources.source import column
        >>> checks(column(ge=0, le=6000))
        'at least 0, at most 6,000'
    """
    asked = column.checks
    said = [
        "unique" if asked.unique else "",
        "" if asked.ge is None else f"at least {asked.ge:,g}",
        "" if asked.le is None else f"at most {asked.le:,g}",
        "" if asked.one_of is None else f"one of {', '.join(asked.one_of)}",
        "" if asked.pattern is None else f"matches {asked.pattern}",
        "" if asked.bad_at_most >= 1 else f"{percent(asked.bad_at_most)} may be bad",
        "event time" if column.late_by is not None else "",
    ]
    return ", ".join(filter(None, said))


def window(feature: Expr[Any]) -> str:
    """How far back a feature looks; a dash for one that is made of others."""
    return repr(feature.settings["window"]) if "window" in feature.settings else "–"


def origins(feature: Expr[Any]) -> list[str]:
    """The source columns that a feature comes from."""
    return sorted(set(lineage(feature)))


def pretty(value: Any) -> str:
    """Evidence as it was written down."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def said(reason: str) -> str:
    """A reason with metrics by the names that a person gives them.

    Example:
        >>> said("log_loss 0.34 against 0.35 of the champion")
        'log loss 0.34 against 0.35 of the champion'
    """
    return re.sub(r"\b\w+\b", lambda word: METRIC_WORDS.get(word[0], word[0]), reason)


METRIC_WORDS = {name: worded(name) for name in METRICS}

FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "decimals": decimals,
    "percent": percent,
    "moment": moment,
    "day": day,
    "span": span,
    "every": every,
    "worded": worded,
    "checks": checks,
    "definition": made,
    "window": window,
    "lineage": origins,
    "pretty": pretty,
    "said": said,
}
"""What the templates may pipe a value through."""
