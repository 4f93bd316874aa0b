"""Headers and bodies on the span: what was asked for, bounded, and nothing held up."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from asgi_probe import Response, hello, http_scope, request, run, serve, telemetry  # noqa: F401
from fastapi import FastAPI, Request

LIMIT = 10 * 1024
SECRET = b"hunter2-value"


def body_app(content_type=b"application/json", body=b'{"a": 1}', more=()):
    """Reads what comes in and answers with a body in one or several pieces."""

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", content_type), *more]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": body[half:]})

    return app


def post(telemetry, app, content_type, *pieces, more=()):  # noqa: F811
    incoming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    incoming[-1]["more_body"] = False
    headers = [(b"content-type", content_type), *more]
    wrapped = telemetry.wrap(app, capture_body=True)
    return asyncio.run(serve(wrapped, http_scope(method="POST", headers=headers), incoming))


def test_nothing_is_captured_unless_asked_for(telemetry):  # noqa: F811
    """By default neither headers nor bodies are on the span."""
    run(telemetry.wrap(body_app()), http_scope(headers=[(b"x-a", b"b")]))
    assert not [key for key in telemetry.server.attributes if ".header." in key or key.endswith(".text")]


def test_headers_are_lists_by_name(telemetry):  # noqa: F811
    """Each header is a list of its values, in both directions, cut at 1 kB, at most 64 of them."""
    headers = [(b"X-One", b"1"), (b"x-two", b"a"), (b"x-two", b"b"), (b"x-long", b"l" * 5000)]
    headers += [(b"x-more-%d" % i, b"v") for i in range(100)]
    run(telemetry.wrap(hello, capture_headers=True), http_scope(headers=headers))
    attributes = telemetry.server.attributes
    assert attributes["http.request.header.x-one"] == ("1",)
    assert attributes["http.request.header.x-two"] == ("a", "b")
    assert attributes["http.request.header.x-long"] == ("l" * 1024,)
    assert attributes["http.response.header.content-type"] == ("text/plain",)
    assert len([key for key in attributes if key.startswith("http.request.header.")]) == 63
    assert attributes["http.route"] if "http.route" in attributes else attributes["http.response.status_code"] == 200


@pytest.mark.parametrize("name", [
    b"Authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"X-API-Key", b"x-auth-token", b"x-shop-secret",
    b"x-admin-password", b"stripe-signature", b"x-amz-security-token", b"x-goog-iap-jwt-assertion-key", b"apikey",
    b"x-csrf-token", b"x-vault-token", b"x-session", b"php-auth",
])  # fmt: skip
def test_values_of_sensitive_headers_are_withheld(telemetry, name):  # noqa: F811
    """That a credential was sent is shown; the credential is nowhere on the span."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(name, SECRET)]})
        await send({"type": "http.response.body"})

    run(telemetry.wrap(app, capture_headers=True), http_scope(headers=[(name, SECRET), (name, SECRET)]))
    key = name.decode().lower()
    assert telemetry.server.attributes[f"http.request.header.{key}"] == ("[redacted]", "[redacted]")
    assert telemetry.server.attributes[f"http.response.header.{key}"] == ("[redacted]",)
    assert SECRET.decode() not in telemetry.server.to_json()


def test_bodies_are_captured_in_both_directions(telemetry):  # noqa: F811
    """Textual bodies are on the span as they were, put together from their pieces."""
    post(telemetry, body_app(), b"application/json; charset=utf-8", b'{"na', 'me": "Zo\u00eb"}'.encode())
    attributes = telemetry.server.attributes
    assert attributes["http.request.body.text"] == '{"name": "Zo\u00eb"}'
    assert attributes["http.response.body.text"] == '{"a": 1}'
    assert "http.request.body.truncated" not in attributes


@pytest.mark.parametrize(
    "kind",
    [
        b"text/plain",
        b"text/html",
        b"TEXT/CSV",
        b"application/xml",
        b"application/atom+xml",
        b"application/problem+json",
        b"application/x-www-form-urlencoded",
        b"application/x-ndjson",
    ],
)
def test_text_like_bodies_are_captured(telemetry, kind):  # noqa: F811
    """Everything that is text by its type counts as text."""
    post(telemetry, body_app(kind, b"a<b"), kind, b"c=d")
    assert telemetry.server.attributes["http.request.body.text"] == "c=d"
    assert telemetry.server.attributes["http.response.body.text"] == "a<b"


@pytest.mark.parametrize(("kind", "more"), [
    (b"application/octet-stream", ()), (b"image/png", ()), (b"multipart/form-data; boundary=x", ()), (b"", ()),
    (b"application/json", ((b"content-encoding", b"gzip"),)), (b"application/pdf; text/plain", ()),
])  # fmt: skip
def test_files_and_compressed_bodies_are_not_captured(telemetry, kind, more):  # noqa: F811
    """Binary, multipart and compressed bodies pass without being kept."""
    body = gzip.compress(SECRET)
    response = post(telemetry, body_app(kind, body, more), kind, body, more=more)
    assert response.body == body
    assert not [key for key in telemetry.server.attributes if key.endswith(".text")]


def test_capture_stops_at_its_limit(telemetry):  # noqa: F811
    """Only the first 10 kB are kept, the span says so, and the app and the client get everything."""
    big = b"x" * (LIMIT * 3)
    response = post(telemetry, body_app(b"text/plain", big), b"text/plain", big[:5000], big[5000:])
    attributes = telemetry.server.attributes
    assert response.body == big
    for direction in ("request", "response"):
        assert len(attributes[f"http.{direction}.body.text"]) == LIMIT
        assert attributes[f"http.{direction}.body.truncated"] is True
        assert attributes[f"http.{direction}.body.size"] == len(big)


def test_a_character_cut_by_the_limit_is_left_out(telemetry):  # noqa: F811
    """The limit never makes a broken character, and undecodable bytes become replacement characters."""
    post(telemetry, body_app(b"text/plain", b"ok\xff\xfeok"), b"text/plain", b"x" + "\u00eb".encode() * LIMIT)
    assert telemetry.server.attributes["http.request.body.text"] == "x" + "\u00eb" * (LIMIT // 2 - 1)
    assert telemetry.server.attributes["http.response.body.text"] == "ok\ufffd\ufffdok"


def test_a_captured_stream_is_not_held_up(telemetry):  # noqa: F811
    """With capture on, every chunk of a stream still passes at once, and an unread request body stays unread."""
    response = Response()
    asked = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(20):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            assert len(response.messages) == number + 2
        await send({"type": "http.response.body"})

    async def go():
        async def receive():
            asked.append(1)

        async def send(message):
            response.messages.append(message)

        scope = http_scope(method="POST", headers=[(b"content-type", b"application/json")])
        await telemetry.wrap(app, capture_body=True)(scope, receive, send)

    asyncio.run(go())
    assert not asked
    assert telemetry.server.attributes["http.response.body.text"].startswith("data: 0\n\ndata: 1")
    assert "http.request.body.text" not in telemetry.server.attributes


def test_a_failing_request_still_has_its_body(telemetry):  # noqa: F811
    """What was sent in is on the span of a request that broke on it."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(incoming: Request):
        raise ValueError(await incoming.json())

    response = request(telemetry.wrap(app, capture_body=True), "/", "POST", json={"a": 1})
    assert response.status_code == 500
    assert telemetry.server.attributes["http.request.body.text"] == '{"a":1}'


def test_uploads_arrive_whole(telemetry):  # noqa: F811
    """A multipart upload reaches the endpoint unharmed and leaves only its size."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(incoming: Request):
        return (await incoming.body()).count(b"z")

    response = request(telemetry.wrap(app, capture_body=True), "/", "POST", files={"file": b"z" * 50_000})
    assert response.json() == 50_000
    assert telemetry.server.attributes["http.request.body.size"] > 50_000
    assert "http.request.body.text" not in telemetry.server.attributes
