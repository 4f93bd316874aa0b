"""The middleware under a real server, over sockets: streams, disconnects, websockets, the end of the server's life."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from importlib.util import find_spec

import httpx
import pytest
import uvicorn
import websockets
from asgi_probe import hello, telemetry  # noqa: F401
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry.trace import StatusCode

from tldr_observability import _record, add_user_context
from tldr_observability.asgi import ObservabilityMiddleware


class Server:
    """uvicorn in a thread, on a port of its own."""

    def __init__(self, app, **options):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", **options))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self):
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *exc):
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()


def until(condition, seconds=5):
    """Wait for something that other threads bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.005)


def service():
    app = FastAPI()

    @app.get("/stream")
    async def stream(pause: float = 0.0, count: int = 500):
        async def chunks():
            for number in range(count):
                yield b"data: %d\n\n" % number
                if pause:
                    await asyncio.sleep(pause)

        return StreamingResponse(chunks(), media_type="text/event-stream")

    @app.post("/upload")
    async def upload(body: dict):
        return body

    @app.get("/boom")
    async def boom():
        raise LookupError("gone")

    @app.websocket("/ws/{room}")
    async def chat(websocket: WebSocket, room: str):
        await websocket.accept()
        while True:
            text = await websocket.receive_text()
            add_user_context(user_id=text)
            await websocket.send_text(text.upper())

    return app


@pytest.fixture(params=["h11", "httptools"] if find_spec("httptools") else ["h11"])
def http(request):
    """The server's HTTP implementation, each that is installed."""
    return request.param


def test_a_stream_arrives_chunk_by_chunk_and_is_one_span(telemetry, http):  # noqa: F811
    """Server-sent events reach the client while the app is still making them; 500 of them are one span."""
    with Server(telemetry.wrap(service()), http=http) as server:
        arrived = []
        with httpx.stream("GET", f"{server.url}/stream?pause=0.05&count=5") as response:
            arrived.extend(time.monotonic() for line in response.iter_lines() if line)
        assert len(arrived) == 5
        assert arrived[-1] - arrived[0] > 0.15
        text = httpx.get(f"{server.url}/stream").text
        assert text == "".join(f"data: {number}\n\n" for number in range(500))
        until(lambda: len(telemetry.servers) == 2)
    assert [span.name for span in telemetry.spans] == ["GET /stream"] * 2
    slow, _ = telemetry.servers
    assert slow.end_time - slow.start_time > 200_000_000


def test_a_client_that_leaves_in_the_middle_of_a_stream(telemetry, http):  # noqa: F811
    """A disconnect ends the span soon, as an outcome and not as an error, and nothing stays active."""
    with Server(telemetry.wrap(service()), http=http) as server:
        with httpx.stream("GET", f"{server.url}/stream?pause=0.01&count=100000") as response:
            next(response.iter_bytes())
        until(lambda: telemetry.servers)
    span = telemetry.server
    assert span.attributes["tldr.outcome"] == "disconnected"
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events
    assert [point.value for point in telemetry.points("http.server.active_requests")] == [0]


def test_requests_over_one_connection_are_apart(telemetry, http):  # noqa: F811
    """Requests one after another on a kept connection have a span, an id and a size each."""
    with Server(telemetry.wrap(service(), capture_body=True), http=http) as server, httpx.Client() as client:
        ids = {
            client.post(f"{server.url}/upload", json={"number": number}).headers["x-request-id"] for number in range(5)
        }
        until(lambda: len(telemetry.servers) == 5)
    assert ids == {f"{span.context.trace_id:032x}" for span in telemetry.servers}
    assert sorted(span.attributes["http.request.body.text"] for span in telemetry.servers) == [
        f'{{"number":{number}}}' for number in range(5)
    ]
    assert {span.attributes["network.protocol.version"] for span in telemetry.servers} == {"1.1"}


def test_a_failing_endpoint_answers_500_with_its_ids(telemetry):  # noqa: F811
    """Around the whole app, the 500 carries the correlation id and the exception is on the span."""
    with Server(telemetry.wrap(service())) as server:
        response = httpx.get(f"{server.url}/boom")
        until(lambda: telemetry.servers)
    assert response.status_code == 500
    assert response.headers["x-request-id"] == f"{telemetry.server.context.trace_id:032x}"
    assert telemetry.server.attributes["error.type"] == "LookupError"


def test_a_websocket_over_a_socket(telemetry):  # noqa: F811
    """Messages go both ways, the handshake's answer has the ids, and the close ends the one span."""

    async def talk(server):
        async with websockets.connect(f"ws://{server.address}/ws/7") as connection:
            for text in ("ada", "bob"):
                await connection.send(text)
                assert await connection.recv() == text.upper()
            return connection.response.headers["x-request-id"]

    with Server(telemetry.wrap(service())) as server:
        own_id = asyncio.run(talk(server))
        until(lambda: telemetry.servers)
    span = telemetry.server
    assert own_id == f"{span.context.trace_id:032x}"
    assert span.name == "WEBSOCKET /ws/{room}"
    assert span.attributes["websocket.close_code"] == 1000
    assert span.attributes["user.id"] == "bob"
    assert span.status.status_code is StatusCode.UNSET


def test_a_websocket_without_a_route_is_refused(telemetry):  # noqa: F811
    """An unrouted handshake is refused as without us and has a span without a made-up name."""

    async def talk(server):
        with contextlib.suppress(websockets.InvalidStatus):
            async with websockets.connect(f"ws://{server.address}/nowhere"):
                pass

    with Server(telemetry.wrap(service())) as server:
        asyncio.run(talk(server))
        until(lambda: telemetry.servers)
    assert telemetry.server.name == "WEBSOCKET"
    assert telemetry.server.attributes["http.response.status_code"] == 403


@pytest.mark.parametrize("place", ["around", "added"])
def test_everything_is_flushed_before_the_server_ends(telemetry, place):  # noqa: F811
    """At shutdown the flush runs in a thread of its own, after the app's own clean-up and before the server goes."""
    happened = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        happened.append("started")
        yield {"key": "value"}
        happened.append("stopped")

    def flush(timeout):
        assert timeout is None
        assert threading.current_thread() is not server._thread
        happened.append("flushed")
        return True

    app = FastAPI(lifespan=lifespan)
    if place == "added":
        app.add_middleware(ObservabilityMiddleware, **telemetry.options)
    _record.record.flush = flush
    server = Server(app if place == "added" else telemetry.wrap(app))
    with server:
        assert happened == ["started"]
    assert happened == ["started", "stopped", "flushed"]


def test_a_flush_that_fails_does_not_keep_the_server_from_ending(telemetry, caplog):  # noqa: F811
    """A flush that raises is logged and the shutdown is completed."""
    from tldr_observability import guard

    guard.set_strict(False)
    guard._last_logged.clear()

    def flush(timeout):
        raise RuntimeError("no way")

    _record.record.flush = flush
    with Server(telemetry.wrap(FastAPI()), lifespan="on"):
        pass
    assert "flushing at the server's shutdown" in caplog.text


def test_a_flush_works_without_asyncio(telemetry):  # noqa: F811
    """Under an event loop that isn't asyncio's the flush is made all the same."""
    flushed, sent = [], []
    _record.record.flush = lambda timeout: bool(flushed.append(timeout)) or True

    async def app(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append((message["type"], list(flushed)))

    coroutine = telemetry.wrap(app)({"type": "lifespan"}, None, send)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert sent == [("lifespan.startup.complete", []), ("lifespan.shutdown.complete", [None])]


def test_an_app_without_lifespan_is_served_as_before(telemetry):  # noqa: F811
    """A bare app that knows only requests works under a server that tries the lifespan protocol."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await hello(scope, receive, send)

    with Server(telemetry.wrap(app)) as server:
        assert httpx.get(server.url).text == "hello"
        until(lambda: telemetry.servers)
