"""The highlight app's HTTP API: what is answered to whom, and every error as a problem with a code."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from running import forget

from highlights import keys
from highlights.api import create_app
from highlights.database import transaction
from highlights.models import Delivery, Highlight, Stream, now
from highlights.storage import storage
from highlights.webhooks import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS, WEBHOOKS = "/api/v1/streams", "/api/v1/webhooks"
NOBODYS = "6a1f2c8e-0000-4000-8000-000000000000"
FILM = {"url": "http://127.0.0.1:9/film.mp4", "title": "Film"}


class Customer:
    """An organization on the plan `pro`, with a client that has its key."""

    def __init__(self, client: TestClient) -> None:
        with transaction() as session:
            self.id = keys.create_organization(session, "Acme", "pro").id
            _, self.key = keys.create_key(session, self.id, "test", keys.SCOPES)
        self._client = client

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **request.pop("headers", {})}
        return self._client.request(method, path, headers=headers, **request)

    def stream(self, **values: Any) -> str:
        """A stream of its own in the database; returns the id."""
        usual = {"url": "http://example.com/", "title": "x", "platform": "custom", "type": "recording"}
        with transaction() as session:
            made = Stream(organization_id=self.id, **{**usual, **values})
            session.add(made)
        return made.id


@pytest.fixture
def client(app_environment: Any) -> Iterator[TestClient]:
    """The API, in this process, for whoever has no key."""
    with TestClient(create_app(), raise_server_exceptions=False) as served:
        yield served


@pytest.fixture
def acme(client: TestClient) -> Customer:
    """A customer."""
    return Customer(client)


@pytest.fixture
def rival(client: TestClient) -> Customer:
    """Another customer."""
    return Customer(client)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The members of a problem, once it is known to be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= set(members)
    assert (members["status"], members["code"]) == (status, code)
    assert members["type"] == f"urn:problem-type:highlights:{code}"
    assert members["title"]
    assert members["detail"]
    return members


def test_a_stream_from_the_first_request_to_its_deletion(acme: Customer):
    """A customer begins a stream, sees how far it is, stops it, deletes it, and it is gone."""
    request = {
        **FILM,
        "url": "https://twitch.tv/test",
        "reference": "order 7",
        "max_seconds": 600,
        "options": {"confidence_threshold": 0.7, "min_clip_seconds": 5, "max_clip_seconds": 30},
    }
    made = acme("POST", STREAMS, json=request)
    assert made.status_code == 201
    stream = made.json()
    path = f"{STREAMS}/{stream['id']}"
    assert made.headers["location"] == path
    told = {name: stream[name] for name in ("url", "title", "platform", "type", "reference", "status", "max_seconds")}
    assert told == {
        "url": "https://twitch.tv/test",
        "title": "Film",
        "platform": "twitch",
        "type": "live",
        "reference": "order 7",
        "status": "pending",
        "max_seconds": 600,
    }
    assert stream["progress"] == {"stage": "waiting", "segments": 0, "keyframes": 0, "analyzed": 0}
    assert stream["failure"] is None
    assert stream["created_at"].endswith("Z")
    assert acme("GET", path).json() == stream
    assert acme("GET", STREAMS).json() == {"streams": [stream], "next": None}

    problem(acme("DELETE", path), 409, "stream_running")
    stopped = acme("POST", f"{path}/stop")
    assert (stopped.status_code, stopped.json()["status"]) == (200, "cancelled")
    problem(acme("POST", f"{path}/stop"), 409, "stream_ended")
    storage().ensure()
    deleted = acme("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for answer in (acme("GET", path), acme("DELETE", path), acme("GET", f"{path}/highlights")):
        problem(answer, 404, "not_found")
    assert acme("GET", STREAMS).json()["streams"] == []


def test_a_stream_that_failed_says_why(acme: Customer):
    """The customer reads a code and a reason."""
    failed = acme.stream(status="failed", failure_code="source_not_found", failure_reason="It isn't there.")
    told = acme("GET", f"{STREAMS}/{failed}").json()
    assert told["failure"] == {"code": "source_not_found", "reason": "It isn't there."}


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"url": None}, "body.url"),
        ({"url": ""}, "body.url"),
        ({"url": "http://example.com/a b"}, "body.url"),
        ({"url": "http://exämple.com/"}, "body.url"),
        ({"url": "http://example.com/" + "x" * 2048}, "body.url"),
        ({"title": ""}, "body.title"),
        ({"title": "   "}, "body.title"),
        ({"title": "a\x00b"}, "body.title"),
        ({"title": "\ud800"}, "body.title"),
        ({"title": "x" * 201}, "body.title"),
        ({"title": 7}, "body.title"),
        ({"type": "film"}, "body.type"),
        ({"max_seconds": 0}, "body.max_seconds"),
        ({"max_seconds": float("nan")}, "body.max_seconds"),
        ({"max_seconds": float("inf")}, "body.max_seconds"),
        ({"options": {"confidence_threshold": 1.1}}, "body.options.confidence_threshold"),
        ({"options": {"max_clip_seconds": 301}}, "body.options.max_clip_seconds"),
        ({"options": {"min_clip_seconds": 20, "max_clip_seconds": 10}}, "body.options"),
        ({"options": {"treshold": 0.5}}, "body.options.treshold"),
        ({"organization_id": NOBODYS}, "body.organization_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_with_a_request_is_named(acme: Customer, changed: dict[str, Any], where: str):
    """A request that can't be right gets 422 with the place and the reason, without what was sent, and does nothing."""
    import json

    body = json.dumps({**FILM, **changed}).encode()
    answer = acme("POST", STREAMS, content=body, headers={"Content-Type": "application/json"})
    members = problem(answer, 422, "invalid_request")
    assert [error["where"] for error in members["errors"]] == [where]
    assert all(set(error) == {"where", "message"} for error in members["errors"])
    assert acme("GET", STREAMS).json()["streams"] == []


def test_an_error_does_not_repeat_what_was_sent(acme: Customer):
    """A secret in the wrong field comes back in no answer."""
    secret = "sk-9c1f52" * 4
    for body in ({**FILM, "type": secret}, {**FILM, "max_seconds": secret}, {**FILM, "options": secret}, [secret]):
        answer = acme("POST", STREAMS, json=body)
        problem(answer, 422, "invalid_request")
        assert secret not in answer.text
    answer = acme("POST", WEBHOOKS, json={"url": "http://example.com/", "events": [secret]})
    problem(answer, 422, "invalid_request")
    assert secret not in answer.text


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/x", "concat:a|b", "http:///x", "http://user:pw@example.com/x", "nowhere"],
)
def test_addresses_that_the_service_does_not_go_to_are_refused(acme: Customer, url: str):
    """What is no address on the web is refused at once, for streams and webhooks alike."""
    problem(acme("POST", STREAMS, json={**FILM, "url": url}), 422, "invalid_url")
    problem(acme("POST", WEBHOOKS, json={"url": url, "events": ["stream.completed"]}), 422, "invalid_url")


def test_private_addresses_are_refused_unless_the_operator_allows_them(
    acme: Customer, app_environment: pytest.MonkeyPatch
):
    """Customers don't reach the service's own network through it."""
    hook = acme("POST", WEBHOOKS, json={"url": "http://127.0.0.1:9/", "events": ["stream.completed"]})
    assert hook.status_code == 201
    app_environment.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "false")
    forget()
    for url in ("http://127.0.0.1:9/film.mp4", "http://169.254.169.254/latest", "http://[::1]/", "http://localhost/"):
        problem(acme("POST", STREAMS, json={**FILM, "url": url}), 422, "invalid_url")
        problem(acme("PATCH", hook.headers["location"], json={"url": url}), 422, "invalid_url")


def test_nobody_reaches_what_is_another_organizations(acme: Customer, rival: Customer):
    """Streams and webhooks of others are as unknown as ids of nothing and ids that are none."""
    stream = acme.stream(status="completed")
    hook = acme("POST", WEBHOOKS, json={"url": "http://127.0.0.1:9/", "events": ["stream.failed"]}).json()["id"]
    for base, own, below in (
        (STREAMS, stream, {"GET": ["", "/highlights"], "POST": ["/stop"], "DELETE": [""]}),
        (WEBHOOKS, hook, {"GET": ["", "/deliveries"], "POST": ["/test"], "DELETE": [""]}),
    ):
        for method, ends in below.items():
            for end in ends:
                for each in (own, NOBODYS, "nope", "%00", "1' OR '1'='1"):
                    problem(rival(method, f"{base}/{each}{end}"), 404, "not_found")
        assert acme("GET", f"{base}/{own}").status_code == 200
    problem(rival("PATCH", f"{WEBHOOKS}/{hook}", json={"enabled": False}), 404, "not_found")
    problem(rival("GET", STREAMS, params={"before": stream}), 404, "not_found")
    assert rival("GET", STREAMS).json()["streams"] == []
    assert rival("GET", WEBHOOKS).json()["webhooks"] == []
    assert rival("GET", "/api/v1/usage").json()["streams"] == 0
    assert acme("GET", f"{WEBHOOKS}/{hook}").json()["enabled"] is True


def test_streams_come_in_pages(acme: Customer):
    """Page by page, the newest first, each stream once; also only those of a status."""
    began = now()
    made = [
        acme.stream(created_at=began - timedelta(seconds=number // 2), status="failed" if number == 3 else "completed")
        for number in range(7)
    ]
    found, sizes, before = [], [], None
    while True:
        answer = acme("GET", STREAMS, params={"limit": 3, **({"before": before} if before else {})}).json()
        found += [each["id"] for each in answer["streams"]]
        sizes.append(len(answer["streams"]))
        before = answer["next"]
        if before is None:
            break
    assert sizes == [3, 3, 1]
    assert sorted(found) == sorted(made)
    assert [each["id"] for each in acme("GET", STREAMS, params={"status": "failed"}).json()["streams"]] == [made[3]]
    for wrong in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"status": "lost"}):
        problem(acme("GET", STREAMS, params=wrong), 422, "invalid_request")


def test_highlights_come_with_links_that_open(acme: Customer, tmp_path: Any):
    """A customer gets the highlights above a confidence, with links that expire and need no key."""
    stream = acme.stream(status="completed")
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    storage().ensure()
    storage().upload(tmp_path / "clip.mp4", f"{stream}/1.mp4", "video/mp4")
    about = {"stream_id": stream, "type": "action", "title": "t", "reason": "r", "method": "signal-formula", "bytes": 6}
    with transaction() as session:
        for number, (start, confidence) in enumerate(((50.0, 0.9), (10.0, 0.6))):
            session.add(
                Highlight(
                    id=f"{stream[:34]}-{number}",
                    start_seconds=start,
                    end_seconds=start + 5,
                    confidence=confidence,
                    clip_key=f"{stream}/1.mp4",
                    thumbnail_key=f"{stream}/1.jpg",
                    **about,
                )
            )
    path = f"{STREAMS}/{stream}/highlights"
    found = acme("GET", path).json()["highlights"]
    assert [each["start_seconds"] for each in found] == [10, 50]
    assert httpx.get(found[0]["clip_url"]).content == b"a clip"
    assert parse_qs(urlsplit(found[0]["thumbnail_url"]).query)["X-Amz-Expires"] == ["3600"]
    (sure,) = acme("GET", path, params={"min_confidence": 0.7}).json()["highlights"]
    assert (sure["confidence"], sure["method"], sure["clip_key"]) == (0.9, "signal-formula", f"{stream}/1.mp4")
    problem(acme("GET", path, params={"min_confidence": 2}), 422, "invalid_request")


def test_a_webhook_from_its_creation_to_its_end(acme: Customer):
    """A customer makes a webhook, is told its secret once, tests and changes it, and deletes it."""
    asked = {"url": "http://127.0.0.1:9/hook", "events": ["stream.failed", "stream.completed", "stream.failed"]}
    made = acme("POST", WEBHOOKS, json=asked)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    path, secret = made.headers["location"], made.json()["secret"]
    assert path == f"{WEBHOOKS}/{made.json()['id']}"
    assert secret.startswith("whsec_")
    told = acme("GET", path)
    assert secret not in told.text + acme("GET", WEBHOOKS).text
    assert sorted(told.json()["events"]) == ["stream.completed", "stream.failed"]
    assert acme("GET", WEBHOOKS).json() == {"webhooks": [told.json()]}

    tested = acme("POST", f"{path}/test")
    assert tested.status_code == 202
    (delivery,) = acme("GET", f"{path}/deliveries").json()["deliveries"]
    assert (delivery["id"], delivery["event_type"]) == (tested.json()["delivery_id"], "webhook.test")
    assert (delivery["status"], delivery["attempts"]) == ("pending", 0)

    changed = acme("PATCH", path, json={"enabled": False, "events": ["highlight.detected"]}).json()
    assert (changed["enabled"], changed["events"], changed["url"]) == (False, ["highlight.detected"], asked["url"])
    problem(acme("POST", f"{path}/test"), 409, "webhook_disabled")
    assert acme("PATCH", path, json={"enabled": True}).json()["enabled"] is True
    for wrong in ({"events": []}, {"events": ["everything"]}, {"events": ["webhook.test"]}, {"secret": "mine"}):
        problem(acme("PATCH", path, json=wrong), 422, "invalid_request")

    assert acme("DELETE", path).status_code == 204
    for answer in (acme("GET", path), acme("DELETE", path), acme("GET", f"{path}/deliveries")):
        problem(answer, 404, "not_found")


def test_deliveries_come_in_pages(acme: Customer):
    """The newest deliveries first, and an id to go on from."""
    hook = acme("POST", WEBHOOKS, json={"url": "http://127.0.0.1:9/", "events": list(EVENTS[:5])}).json()["id"]
    with transaction() as session:
        session.add_all(
            Delivery(
                id=f"6a1f2c8e-0000-4000-8000-00000000000{number}",
                webhook_id=hook,
                organization_id=acme.id,
                event_type="stream.started",
                payload={"number": number},
                created_at=now() + timedelta(seconds=number),
            )
            for number in range(5)
        )
    path = f"{WEBHOOKS}/{hook}/deliveries"
    first = acme("GET", path, params={"limit": 3}).json()
    assert [each["payload"]["number"] for each in first["deliveries"]] == [4, 3, 2]
    rest = acme("GET", path, params={"limit": 3, "before": first["next"]}).json()
    assert [each["payload"]["number"] for each in rest["deliveries"]] == [1, 0]
    assert rest["next"] is None


def test_whoever_has_no_key_sees_nothing(client: TestClient):
    """Without a key every endpoint of the API answers 401, existing things or not; health and readiness are open."""
    paths = client.get("/openapi.json").json()["paths"]
    open_paths = {"/health", "/ready"}
    assert open_paths < set(paths)
    for path, operations in paths.items():
        for method in operations:
            if path not in open_paths:
                answer = client.request(method, path.replace("{", "").replace("}", ""), json={})
                assert problem(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"


def test_errors_of_http_itself_are_problems_too(client: TestClient, acme: Customer):
    """Unknown routes, wrong methods, broken and oversized bodies are answered like all other errors."""
    problem(client.get("/nope"), 404, "not_found")
    problem(acme("GET", f"{STREAMS}/"), 404, "not_found")
    wrong = client.put("/health")
    problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    json = {"Content-Type": "application/json"}
    for body, status, code in (
        (b"{", 422, "invalid_request"),
        (b'{"url": "\xff"}', 400, "bad_request"),
        (b"", 422, "invalid_request"),
        (b"[" * 50_000, 400, "bad_request"),
        (b" " * 70_000, 413, "request_entity_too_large"),
    ):
        problem(acme("POST", STREAMS, content=body, headers=json), status, code)
        assert acme("GET", STREAMS).status_code == 200


def test_errors_are_documented_as_problems(client: TestClient):
    """The OpenAPI document names the key, and a problem as the body of every error."""
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            errors = {status: each for status, each in operation["responses"].items() if status >= "400"}
            assert {"401", "403", "404", "422", "429", "503"} <= set(errors)
            for error in errors.values():
                schema = error["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemAnswer"}
            assert ("security" in operation) == path.startswith("/api/")
    assert document["components"]["schemas"]["WebhookRequest"]["properties"]["events"]["items"]["enum"]


def test_a_fault_of_ours_is_a_500_without_internals(acme: Customer, telemetry: Any):
    """What nobody foresaw tells the customer nothing of our insides; the trace has the exception with its stack."""
    from tldr_observability import setup

    app = create_app()

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("password=hunter2 in /srv/secret.py")

    setup(app=app)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    problem(answer, 500, "internal_error")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    span = telemetry.span("GET /broken")
    assert "in broken" in str(span.events)


def test_a_database_that_is_away_is_a_503_and_the_api_lives_on(
    client: TestClient, acme: Customer, app_environment: pytest.MonkeyPatch
):
    """While the database is away requests get 503 and when to come back, health stays 200, and then all is well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
        forget()
        answer = acme("GET", STREAMS)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/health").json() == {"status": "ok"}
        away = problem(client.get("/ready"), 503, "unavailable")
        assert away["checks"]["database"] == "error"
        assert away["checks"]["redis"] == "ok"
    forget()
    assert acme("GET", STREAMS).status_code == 200


def test_ready_says_which_service_is_away_and_waits_for_none(client: TestClient, app_environment: pytest.MonkeyPatch):
    """With all services there, ready; with a Redis and an S3 that accept and never answer, 503 in about 2 s."""
    storage().ensure()
    answer = client.get("/ready")
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "redis": "ok", "storage": "ok"}}
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        app_environment.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
        app_environment.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        forget()
        began = time.monotonic()
        away = problem(client.get("/ready"), 503, "unavailable")
        assert time.monotonic() - began < 4
        assert away["checks"] == {"database": "ok", "redis": "error", "storage": "error"}
        assert client.get("/health").status_code == 200
