"""The ladder: simple models that a version must beat to be worth its cost.

Constant, then linear, then one small tree, fitted on every training. They are cheap on purpose: the
linear rung reads the newest rows only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from mainspring.models.preprocess import Columns, Floats, Preprocessing
from mainspring.models.runtime import scorer
from mainspring.models.signature import Signature

RUNGS = ("constant", "linear", "tree")
LINEAR_ROWS = 20_000
_TREE = {
    "objective": "regression",
    "learning_rate": 1.0,
    "max_depth": 4,
    "num_leaves": 16,
    "min_data_in_leaf": 50,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "bin_construct_sample_cnt": 10_000,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows, oldest first: inputs, outcomes (0 and 1 for yes or no), perhaps weights.

    Example:
        >>> Rows({"x": np.arange(3.0)}, np.array([0.0, 1.0, 1.0])).newest(2).y
        array([1., 1.])
    """

    columns: Columns
    y: Floats
    weight: Floats | None = None

    def newest(self, count: int) -> Rows:
        """The last `count` rows."""
        columns = {name: values[-count:] for name, values in self.columns.items()}
        return Rows(columns, self.y[-count:], None if self.weight is None else self.weight[-count:])


def ladder(rows: Rows, judge: Columns, signature: Signature, judged: int) -> dict[str, Floats]:
    """What each rung predicts for the `judged` rows of `judge`.

    Example:
        >>> from mainspring.models.signature import Input
        >>> rows = Rows({"x": np.arange(200.0)}, np.repeat([0.0, 1.0], 100))
        >>> signature = Signature((Input("x", "number"),), "probability")
        >>> rungs = ladder(rows, {"x": np.array([0.0, 199.0])}, signature, 2)
        >>> {rung: p.round(2).tolist() for rung, p in rungs.items()}
        {'constant': [0.5, 0.5], 'linear': [0.0, 1.0], 'tree': [0.0, 1.0]}
    """
    constant = np.full(judged, np.average(rows.y, weights=rows.weight))
    if not judged or not signature.inputs:
        return dict.fromkeys(RUNGS, constant)
    linear = _linear(rows.newest(LINEAR_ROWS), judge, signature)
    tree = _tree(rows, judge, signature)
    return {"constant": constant, "linear": constant if linear is None else linear, "tree": tree}


def _linear(rows: Rows, judge: Columns, signature: Signature) -> Floats | None:
    """The linear rung, or None when the newest rows have one outcome only."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    probability = signature.output == "probability"
    if probability and rows.y.min() == rows.y.max():
        return None
    fitted = Preprocessing.fit(rows.columns, signature, "dense")
    model = LogisticRegression() if probability else Ridge()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # nearly converged is good enough for a rung
        model.fit(fitted.transform(rows.columns), rows.y, sample_weight=rows.weight)
    return scorer(model, signature.output)(fitted.transform(judge))


def _tree(rows: Rows, judge: Columns, signature: Signature) -> Floats:
    """The tree rung: splits by variance (Gini for 0 and 1), leaves shrunk by one row."""
    import lightgbm

    fitted = Preprocessing.fit(rows.columns, signature, "native")
    data = lightgbm.Dataset(
        fitted.transform(rows.columns), rows.y, weight=rows.weight, params=_TREE
    )
    answer = lightgbm.train(_TREE, data, num_boost_round=1).predict(fitted.transform(judge))
    means = np.asarray(answer, np.float64)
    return means.clip(0.0, 1.0) if signature.output == "probability" else means
