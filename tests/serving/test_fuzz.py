"""Whatever is sent: an answer, or a refusal with a code; never a broken server."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import Served, payment

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
GOOD = payment("good")
CHANGED = st.dictionaries(
    st.sampled_from([*GOOD, "paid_at", "other"]), VALUES | st.text(), max_size=3
).map(lambda changes: {**GOOD, **changes})
BODIES = (VALUES | CHANGED | st.lists(CHANGED, max_size=3)).map(json.dumps).map(str.encode)
KINDS = st.sampled_from(["application/json", "application/x-ndjson"])


def told(served: Served, path: str, sent: bytes, kind: str) -> Any:
    response: httpx.Response = served.client.post(
        path, content=sent, headers={"content-type": kind}
    )
    found = response.json()
    assert response.status_code in (200, 400), (sent, response.text)
    assert response.status_code == 200 or found["error"]["code"] == "RequestRefused"
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=BODIES | st.binary(), kind=KINDS)
def test_any_body_to_predict(served: Served, sent: bytes, kind: str) -> None:
    told(served, "/predict/payment", sent, kind)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=BODIES | st.binary(), kind=KINDS)
def test_any_body_to_events(served: Served, sent: bytes, kind: str) -> None:
    told(served, "/events/Payment", sent, kind)


@example(name="0/")
@example(name="a/b")
@given(name=st.text())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name(served: Served, name: str) -> None:
    path = f"/predict/{quote(name, safe='', errors='replace')}"
    assert served.post(path, GOOD).json()["error"]["code"] == "UnknownName"
