"""An example of every error, with facts that might have been."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mainspring.errors import MainspringError

USUAL: Mapping[str, Any] = {
    "at": "payments.py:12",
    "column": "amount",
    "endpoint": "risk",
    "estimator": "LogisticRegression",
    "file": "payments.csv",
    "folder": ".mainspring/payments/log",
    "host": "127.0.0.1",
    "incident": "9f1c52d07a3b",
    "key": "train/risk/1709251200000000",
    "label": "bad",
    "limit": 3,
    "model": "risk",
    "name": "risk",
    "number": 4,
    "offset": 1204,
    "owner": "loop",
    "path": ".mainspring/payments/metadata.sqlite",
    "port": 8000,
    "request": "Payment",
    "seconds": 5.0,
    "source": "Payment",
    "table": "Payment",
    "training_set": "rows",
}
"""What a field says where its class does not say otherwise."""

OWN: Mapping[str, Mapping[str, Any]] = {
    "InvalidDeclaration": {
        "subject_name": "window",
        "problem": "3600 is not a duration",
        "remedy": "say the unit, as in window=hours(1)",
    },
    "UnknownName": {
        "kind": "endpoint",
        "name": "rsik",
        "at": "",
        "suggestion": "did you mean 'risk'?",
    },
    "InvalidTime": {"text": "1st of May"},
    "AmbiguousTruth": {"expression": "Payment.amount > 100"},
    "OutcomeLeak": {"feature": "Chargeback.fee", "owner": "training set 'rows'"},
    "DuplicateName": {"kind": "model", "first": "payments.py:31"},
    "SystemFileMissing": {"path": "paymets.py"},
    "NoSystem": {"path": "payments.py", "found": 0},
    "UnknownScheme": {"url": "ftp://store/tables", "scheme": "ftp", "known": "file://"},
    "DataFileMissing": {"path": "payments.csv"},
    "UnreadableFile": {"path": "payments.parquet", "problem": "no magic bytes at its end"},
    "UnknownColumn": {
        "column": "amuont",
        "has": "abroad, amount, paid_at, payment_id, shop",
        "suggestion": "did you mean 'amount'?",
    },
    "WrongType": {
        "column": "shop",
        "found": "BIGINT",
        "found_type": "int",
        "expected": "text",
    },
    "ContractViolation": {
        "bad": 412,
        "rows": 12_000,
        "check": "amount < 0",
        "allowed": 0.01,
        "first": "payment_id='p7' shop='s10' amount=-5.0",
    },
    "TooManyChecks": {"found": 71},
    "DiskFull": {"path": ".mainspring/payments/log", "reason": "No space left on device"},
    "LogLocked": {"process": "4711"},
    "LogCorrupt": {"path": ".mainspring/payments/log/00000000000000000000.log", "position": 88_211},
    "LogDropped": {"start": 5_000},
    "WrongValue": {"table": "version", "column": "number", "expected": "int", "got": "'one'"},
    "DuplicateRow": {"table": "version", "key": "model='risk', number=4"},
    "StoreInherited": {"opened": 4711, "used": 4712},
    "SchemaTooNew": {"found": 3, "known": 1},
    "StepBusy": {"seconds": 12.5},
    "StepFailed": {
        "attempts": 1,
        "error": "OSError",
        "message": "Input/output error: '.mainspring/payments/features'",
    },
    "LeaseLost": {"owner": "loop 4712", "loser": "loop 4711"},
    "MissingInput": {"name": "amount", "given": "shop, abroad"},
    "NothingToLearn": {"problem": "every label is 0"},
    "UnsuitableEstimator": {
        "estimator": "Ridge",
        "problem": "has no predict_proba, and the label is a yes or no",
        "remedy": "use a classifier, such as LogisticRegression",
    },
    "FitFailed": {
        "error": "InvalidParameterError",
        "message": "The 'C' parameter of LogisticRegression must be a float above 0.0. Got -1.",
        "trace": "",
    },
    "FitTimedOut": {"deadline_s": 3600.0},
    "FitOutOfMemory": {"memory_mb": 512},
    "FitDied": {"signal": "SIGKILL"},
    "UnsavableEstimator": {"estimator": "MyModel", "problem": "its attribute 'f' is a function"},
    "ArtefactDisagrees": {"estimator": "MyModel", "worst": 0.25},
    "DamagedArtefact": {
        "folder": ".mainspring/payments/versions/dab05bd5",
        "problem": "its sha256 is another",
    },
    "UnloadableArtefact": {
        "folder": ".mainspring/payments/versions/dab05bd5",
        "problem": "No module named 'my_estimators'",
        "libraries": "scikit-learn 1.9.0",
    },
    "NoTrainingRows": {
        "fit": 0,
        "judge": 0,
        "at_least": 100,
        "labelled": 0,
        "pending": 1_800,
        "censored": 0,
    },
    "RequestRefused": {
        "path": "$.amount",
        "problem": "is no float, got '99'",
        "remedy": "send a number, at least 0",
    },
    "DeadlineExceeded": {"timeout_ms": 500.0},
    "NotMaterialised": {"found": "half-built", "wanted": "5c2d9e04a1b37f68"},
    "OnlineAhead": {"applied": 1_204, "end": 0},
    "FeedRefused": {
        "path": "/events/Chargeback",
        "status": 400,
        "answer": "$[0].fee: is not a column of Chargeback",
    },
    "WriteConflict": {"problem": "version 12 is taken"},
    "FileChanged": {
        "path": "clicks.csv",
        "source": "Click",
        "remedy": "mark a column unique=True",
    },
    "PortInUse": {"free": 8001},
    "CannotListen": {"port": 80, "reason": "Permission denied"},
    "Overloaded": {"waiting": 64},
    "BodyTooLarge": {"limit": 1 << 20},
    "WrongContentType": {"found": "application/x-www-form-urlencoded"},
    "MethodNotAllowed": {"path": "/predict/risk", "method": "GET", "allowed": "POST"},
    "DemoMissing": {"folder": "site-packages/mainspring"},
    "ServerDidNotStart": {"address": "127.0.0.1:8000", "seconds": 60.0},
    "SignatureMismatch": {
        "missing": "Shop.mean_7d (number)",
        "owner": "endpoint 'risk'",
        "difference": "- Shop.mean_7d number",
    },
    "FunctionFailed": {"function": "is_heavy", "message": "ValueError: math domain error"},
    "UnfitResult": {"function": "is_heavy", "problem": "an array of object", "wanted": "bool"},
}
"""What a class says of itself."""


def example(kind: type[MainspringError]) -> MainspringError:
    """An error of a class.

    Raises:
        KeyError: the class has a field that nothing is known of: give it a value above.

    Example:
        >>> from mainspring.errors import InvalidTime
        >>> example(InvalidTime)
        InvalidTime(text='1st of May')
    """
    known = {**USUAL, **OWN.get(kind.__name__, {})}
    return kind(**{name: known[name] for name in _fields(kind)})


def _fields(kind: type[MainspringError]) -> Iterator[str]:
    for base in kind.__mro__[:-1]:
        for name, annotation in inspect.get_annotations(base).items():
            if "ClassVar" not in str(annotation):
                yield name
