"""The server: strict bodies, bounds, deadlines, and swaps that nobody notices."""

from __future__ import annotations

import http.client
import json
import logging
import resource
import socket
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mainspring.errors import CannotListen, LogLocked, PortInUse
from mainspring.graph import Graph
from mainspring.models.registry import assign
from mainspring.serving import body, desk
from mainspring.serving.server import application, listen, serve
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from tests.serving.conftest import Served, event, lines, logged, payment, serving, until

GOOD = payment("good")


@pytest.mark.parametrize(
    ("sent", "path", "told"),
    [
        ([1], "$[0]", "is not an object"),
        ("text", "$", "is not an object"),
        ([], "$", "has 0 requests"),
        ([GOOD, {**GOOD, "amount": "far"}], "$[1].amount", "is no float, got 'far'"),
        ({**GOOD, "amount": True}, "$.amount", "is no float, got True"),
        ({**GOOD, "items": 1.5}, "$.items", "is no int, got 1.5"),
        ({**GOOD, "items": "1"}, "$.items", "is no int"),
        ({**GOOD, "express": 1}, "$.express", "is no bool, got 1"),
        ({**GOOD, "user": 7}, "$.user", "is no str, got 7"),
        ({**GOOD, "user": None}, "$.user", "may not be null"),
        ({k: v for k, v in GOOD.items() if k != "user"}, "$.user", "is missing"),
        ({**GOOD, "amount": -0.01}, "$.amount", "< 0, got -0.01"),
        ({**GOOD, "amount": 1000.01}, "$.amount", "> 1000"),
        ({**GOOD, "country": "DK"}, "$.country", "is not one of NO, SE, got 'DK'"),
        ({**GOOD, "amuont": 3}, "$.amuont", "is not a column of Payment"),
        ({**GOOD, "paid_at": "2024-01-01"}, "$.paid_at", "is stamped by the server"),
    ],
)
def test_a_bad_request_is_refused_with_the_path(
    served: Served, sent: Any, path: str, told: str
) -> None:
    response = served.post("/predict/payment", sent)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["path"]) == (400, "RequestRefused", path)
    assert told in error["message"] and error["fix"]


def test_what_may_be_null_may_be_left_out(served: Served) -> None:
    least = {k: v for k, v in GOOD.items() if k in ("payment_id", "user", "amount", "country")}
    assert served.post("/predict/payment", least).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b'{"amount": NaN}',
        b'{"amount": -Infinity}',
        b'{"amount": 1e999}',
        b"\xff",
        b"{}x",
        b"[" * 100_000,
        b'"\\ud800"',
    ],
)
def test_what_is_no_json_is_refused(served: Served, sent: bytes) -> None:
    response = served.client.post("/predict/payment", content=sent)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["path"]) == (400, "RequestRefused", "$")


def test_unknown_names_get_the_nearest_one(served: Served) -> None:
    for path, near in (("/predict/paymnet", "payment"), ("/events/Paymnt", "Payment")):
        response = served.post(path, GOOD)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "UnknownName")
        assert response.json()["error"]["fix"] == f"did you mean {near!r}?"
    assert served.client.get("/helth").json()["error"]["fix"] == "did you mean '/health'?"


def test_a_wrong_method_is_told_the_right_one(served: Served) -> None:
    response = served.client.get("/predict/payment")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "MethodNotAllowed"


def test_only_json_is_read(served: Served) -> None:
    for kind, status in (("text/plain", 415), ("application/json; charset=utf-8", 200)):
        sent = json.dumps(GOOD)
        response = served.client.post(
            "/predict/payment", content=sent, headers={"content-type": kind}
        )
        assert response.status_code == status
    missing = raw(served, b"content-length: %d\r\n\r\n%b" % (len(sent), sent.encode()))
    assert missing.startswith(b"HTTP/1.1 200")


def raw(served: Served, rest: bytes) -> bytes:
    """What comes back for a request to predict, byte by byte."""
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as connection:
        connection.sendall(b"POST /predict/payment HTTP/1.1\r\nhost: here\r\n" + rest)
        return connection.recv(65_536)


def test_a_large_body_is_refused_before_it_is_sent(served: Served) -> None:
    assert raw(served, b"content-length: 1048577\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_read_up_to_the_limit(served: Served) -> None:
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    found = raw(served, b"transfer-encoding: chunked\r\n\r\n" + chunk + b"2\r\n{}\r\n")
    assert found.startswith(b"HTTP/1.1 413") and b"BodyTooLarge" in found


def test_a_body_that_does_not_come_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SECONDS", 0.1)
    assert raw(served, b"content-length: 10\r\n\r\n{").startswith(b"HTTP/1.1 408")


def test_events_come_as_one_a_list_or_lines(served: Served) -> None:
    now = served.service.clock.now()
    some = [event(f"form{number}", now) for number in range(4)]
    assert served.post("/events/Payment", some[0]).json()["taken"] == 1
    assert served.post("/events/Payment", some[1:2]).json()["taken"] == 1
    kind = {"content-type": "application/x-ndjson"}
    found = served.client.post("/events/Payment", content=lines(some[2:]), headers=kind)
    assert found.json()["taken"] == 2
    assert served.refused("/events/Payment", [some[0], 3]) == (400, "RequestRefused", "$[1]")
    wrong = [some[0], {**some[1], "amuont": 1}]
    assert served.refused("/events/Payment", wrong) == (400, "RequestRefused", "$[1].amuont")


def test_a_full_disk_refuses_and_leaves_nothing_behind(served: Served) -> None:
    log = served.service.home.folder / "log"
    end, now = len(logged(log.parent)), served.service.clock.now()
    with files_of_at_most(max(f.stat().st_size for f in log.iterdir()) + 20):
        response = served.post("/events/Payment", event("full", now))
        assert served.refused("/predict/payment", GOOD) == (507, "DiskFull", None)
    assert (response.status_code, response.headers["retry-after"]) == (507, "1")
    assert len(logged(log.parent)) == end
    assert served.post("/predict/payment", GOOD).status_code == 200


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_fallback_answers_at_the_deadline(served: Served, gate: threading.Event) -> None:
    gate.clear()
    answered = served.post("/predict/patient", payment("late")).json()
    assert (answered["prediction"], answered["role"], answered["fallback"]) == (
        0.5,
        "fallback",
        True,
    )
    gate.set()
    until(lambda: served.post("/predict/patient", payment("soon")).json()["role"] == "champion")
    answers = [r.answer for _, r in logged(served.service.home.folder) if r.answer]
    assert [a["role"] for a in answers if a["id"] == "late"] == ["fallback"]


def test_no_fallback_means_no_answer_at_the_deadline(served: Served, gate: threading.Event) -> None:
    gate.clear()
    assert served.refused("/predict/strict", GOOD) == (504, "DeadlineExceeded", None)


def test_too_many_at_once_are_refused_at_once(served: Served, gate: threading.Event) -> None:
    gate.clear()
    with ThreadPoolExecutor(70) as crowd:
        asked = [crowd.submit(one, served, payment(f"crowd{n}")) for n in range(70)]
        until(lambda: sum(a.done() for a in asked) == 6)
        gate.set()
        answers = Counter(a.result() for a in asked)
    assert answers == {(200, None): 64, (503, "1"): 6}


def one(served: Served, sent: Any) -> tuple[int, str | None]:
    """The status and Retry-After of a request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.request("POST", "/predict/queue", json.dumps(sent))
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("retry-after")


def test_an_error_of_the_users_function_tells_only_its_number(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = served.post("/predict/raises", {**GOOD, "amount": 13})
        until(lambda: "thirteen is a secret" in caplog.text)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (500, "Broken")
    assert "secret" not in response.text and "Traceback" not in response.text
    incident = error["message"].rpartition(" ")[2]
    assert f"incident {incident}, at /predict/raises" in caplog.text


def test_a_promoted_version_takes_over_without_a_lost_request(
    shop: Graph, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "REFRESH", 0.02)
    stop, statuses = threading.Event(), Counter[int]()
    with serving(shop, home) as served, ThreadPoolExecutor(3) as crowd:
        loads = [crowd.submit(load, served, stop, f"load{n}") for n in range(3)]
        for number in (1, 2, 1):
            with home.metadata.begin() as transaction:
                assign(transaction, "payment", "champion", number, home.clock().now(), 1.0)
            until(partial(answers, served, number))
        stop.set()
        for found in loads:
            statuses += found.result()
    assert statuses.keys() == {200} and statuses[200] > 30


def answers(served: Served, number: int) -> bool:
    answered = served.post("/predict/payment", GOOD).json()
    return bool(answered["version"] == number)


def load(served: Served, stop: threading.Event, name: str) -> Counter[int]:
    statuses, number = Counter[int](), 0
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        while not stop.is_set():
            number += 1
            connection.request("POST", "/predict/payment", json.dumps(payment(f"{name}-{number}")))
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
    return statuses


def test_ready_says_why_not(shop: Graph, home: Home) -> None:
    with home.metadata.begin() as transaction:
        transaction.delete("alias", subject="payment", role="champion")
    with serving(shop, home) as served:
        assert served.client.get("/ready").json() == {"ready": True, "reason": None}
        answered = served.post("/predict/payment", GOOD).json()
        assert (answered["prediction"], answered["role"]) == (0.1, "fallback")
        served.service.stream.close()
        response = served.client.get("/ready")
        assert response.status_code == 503 and "not being applied" in response.json()["reason"]
        assert served.client.get("/health").json() == {"alive": True}


def test_metrics_count_what_happened(shop: Graph, home: Home) -> None:
    with serving(shop, home) as served:
        served.post("/predict/payment", [GOOD, GOOD])
        served.post("/predict/payment", {})
        served.post("/predict/nothing", GOOD)
        served.post("/events/Payment", event("counted", home.clock().now()))
        text = served.client.get("/metrics").text
    for line in (
        'mainspring_requests_total{name="payment",status="200"} 1.0',
        'mainspring_requests_total{name="payment",status="400"} 1.0',
        'mainspring_requests_total{name="",status="404"} 1.0',
        'mainspring_answers_total{endpoint="payment",role="champion"} 2.0',
        'mainspring_events_total{source="Payment",state="taken"} 1.0',
        'mainspring_request_seconds_count{name="payment"} 1.0',
        'mainspring_version{endpoint="payment",role="champion"} 2.0',
        "mainspring_stream_behind_records",
        "mainspring_stream_applied_offset",
        'mainspring_feature_freshness_seconds_bucket{le="+Inf"}',
        "mainspring_feature_lag_seconds",
    ):
        assert line in text


def test_the_openapi_document_says_what_a_request_takes(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    found = document["components"]["schemas"]["payment"]
    assert found["required"] == ["payment_id", "user", "amount", "country"]
    assert found["additionalProperties"] is False and "paid_at" not in found["properties"]
    assert found["properties"]["amount"] == {"type": "number", "minimum": 0, "maximum": 1000}
    assert found["properties"]["country"] == {"type": "string", "enum": ["NO", "SE"]}
    assert found["properties"]["items"] == {"type": ["integer", "null"]}
    assert "504" in document["paths"]["/predict/strict"]["post"]["responses"]
    assert "504" not in document["paths"]["/predict/payment"]["post"]["responses"]


def test_the_plan_is_served(served: Served, shop: Graph) -> None:
    assert served.client.get("/plan").json() == json.loads(json.dumps(shop.plan()))


def test_the_root_leads_to_the_console_where_there_is_one(served: Served) -> None:
    async def console(_: Request) -> Response:
        return PlainTextResponse("the console")

    found = application(served.service, [Route("/console", console)])
    assert [r.path for r in found.routes if isinstance(r, Route)][-2:] == ["/console", "/"]
    assert served.client.get("/").status_code == 404


def test_a_port_in_use_is_told(served: Served) -> None:
    with pytest.raises(PortInUse, match=f"127.0.0.1:{served.port}\n  fix .*--port"):
        serve(served.service, port=served.port)


def test_an_address_of_another_machine_is_told() -> None:
    for host, port in (("192.0.2.1", 0), ("127.0.0.1", 99_999)):
        with pytest.raises(CannotListen, match=f"cannot listen on {host}:{port}"):
            listen(host, port)


def test_a_second_service_of_one_home_is_refused(served: Served, shop: Graph) -> None:
    home = served.service.home
    with pytest.raises(LogLocked, match="is being written by process"):
        Service(shop, home, home.clock())
