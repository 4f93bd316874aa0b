"""What a hostile customer may try: by an address, a playlist, an answer, a key or a thousand webhooks."""

from __future__ import annotations

import gzip
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient
from media_server import MediaServer, media_server

from highlights import keys
from highlights.addresses import ForbiddenAddress, check_url, guarded_client
from highlights.api import create_app
from highlights.database import transaction
from highlights.failures import StreamFailure
from highlights.platforms import media_url
from highlights.playlists import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
HERE = "http://cdn.example/live/index.m3u8"
UNCLEAR = [
    r"http://127.0.0.1\.twitch.tv/latest.m3u8",
    r"http://127.0.0.1\.twitch.tv/../latest.m3u8",
    "http://127.0.0.1%5c.twitch.tv/",
    "http://%31%32%37.0.0.1/",
    "http://[",
    "http://a[b.twitch.tv/",
    "http://a^b/",
    "http://[fe80::1%25lo]/",
    "http://1.1.1.1:0/",
]


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """A customer's server."""
    with media_server() as server:
        yield server


@pytest.fixture
def client(app_environment: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API, for a customer with a key for everything."""
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        with transaction() as session:
            organization = keys.create_organization(session, "Acme", "business")
            _, key = keys.create_key(session, organization.id, "test", keys.SCOPES)
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.mark.parametrize("url", UNCLEAR)
def test_an_address_that_two_programs_read_differently_is_refused(app_environment: Any, url: str) -> None:
    r"""Of `http://inside\.twitch.tv/` one parser sees Twitch, and another goes to `inside`."""
    with pytest.raises(ForbiddenAddress):
        check_url(url)


def test_the_api_says_that_an_address_is_none(client: TestClient) -> None:
    """What no program can read is the customer's mistake, and no failure of the service."""
    for url in UNCLEAR:
        for answer in (
            client.post("/api/v1/streams", json={"url": url, "title": "x"}),
            client.post("/api/v1/webhooks", json={"url": url, "events": ["stream.failed"]}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_url")


@pytest.mark.parametrize("address", ["168.63.129.16", "192.88.99.1", "[64:ff9b::a83f:8110]", "[::ffff:168.63.129.16]"])
def test_what_only_looks_public_is_refused(app_environment: pytest.MonkeyPatch, address: str) -> None:
    """The cloud's services for the machine itself are none of the customer's, whatever range they are in."""
    from running import forget

    app_environment.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "false")
    forget()
    with pytest.raises(ForbiddenAddress):
        check_url(f"http://{address}/")


@pytest.mark.parametrize("platform", ["twitch", "youtube"])
def test_streamlink_goes_to_no_other_site(app_environment: Any, server: MediaServer, platform: str) -> None:
    """It has no guard, and would read any playlist and follow any redirect: it is asked for what is the platform's."""
    server.answers["/index.m3u8"] = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/\n"
    for path in ("/index.m3u8", "/watch", "/twitch.tv/test"):
        with pytest.raises(StreamFailure) as failed:
            media_url(server.url(path), platform)
        assert failed.value.code == "platform_unavailable"
    assert server.asked == []


def test_the_body_of_a_redirect_is_not_read(app_environment: Any, server: MediaServer) -> None:
    """A redirect that never ends doesn't fill the memory; where it leads to is what counts."""
    sent = []

    def redirect(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/there")
        handler.end_headers()
        while not server.ended.is_set():
            handler.wfile.write(bytes(100_000))
            sent.append(100_000)

    server.answers |= {"/here": redirect, "/there": b"arrived"}
    with guarded_client(timeout=2, follow_redirects=True) as client:
        assert client.get(server.url("/here?a=1")).content == b"arrived"
    assert sum(sent) < 20_000_000


def test_what_is_packed_in_what_is_packed_stays_packed(app_environment: Any, server: MediaServer) -> None:
    """A thousand bytes that would unpack to gigabytes are taken as they are; plain gzip is understood."""
    once = gzip.compress(bytes(30_000_000))
    twice = gzip.compress(once)
    server.answers |= {
        "/bomb": lambda handler: handler.give(twice, Content_Encoding="gzip, gzip"),
        "/unasked": lambda handler: handler.give(once, Content_Encoding="br"),
        "/packed": lambda handler: handler.give(gzip.compress(b"#EXTM3U"), Content_Encoding="gzip"),
    }
    with guarded_client(timeout=5) as client:
        assert client.get(server.url("/bomb")).content == twice
        assert client.get(server.url("/unasked")).content == once
        assert client.get(server.url("/packed")).content == b"#EXTM3U"


def test_a_name_with_a_hundred_dead_addresses_does_not_hold_a_worker(app_environment: pytest.MonkeyPatch) -> None:
    """A few are tried, and whoever waits is asked before each whether it still wants to."""
    tried, asked = [], []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{last}", port)) for last in range(100)]

    def create_connection(address: Any, *_: Any, **__: Any) -> socket.socket:
        tried.append(address)
        raise TimeoutError

    app_environment.setattr(socket, "getaddrinfo", getaddrinfo)
    app_environment.setattr(socket, "create_connection", create_connection)
    with guarded_client(timeout=1, on_wait=lambda: asked.append(1)) as client, pytest.raises(httpx.ConnectTimeout):
        client.get("http://many.example/")
    assert 1 < len(tried) <= 4
    assert len(asked) == len(tried)


def test_no_console_shows_more_of_an_address_than_its_host(
    app_environment: Any, server: MediaServer, start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Addresses of customers are secrets: who sees a request when it starts, or its trace later, reads the host."""
    server.answers["/hook-secret/a"] = b"here"
    observability = start(console_enabled=True)
    with guarded_client(timeout=2) as client:
        assert client.get(server.url("/hook-secret/a?token=query-secret")).content == b"here"
    observability.flush(5)
    shown = capsys.readouterr().out
    assert "GET 127.0.0.1" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "#EXT-X-KEY:" + "A" * 3_000_000,
        HEAD + "#EXT-X-KEY:" + 'A="' * 1_000_000,
        "#EXTM3U\n#EXT-X-STREAM-INF:" + "A-" * 1_500_000 + "\na\n",
        HEAD + "a\n" * 1_500_000,
        HEAD + "#EXTINF:1,\na\n" * 180_000,
        HEAD + '#EXT-X-MAP:URI="a"\n' * 180_000,
    ],
    ids=["one word", "quotes", "two words", "entries", "long entries", "maps"],
)
def test_a_playlist_takes_time_and_room_by_its_length(app_environment: Any, text: str) -> None:
    """None of three megabytes holds a worker for more than moments, nor becomes gigabytes of addresses."""
    base = f"http://cdn.example/{'p' * 2000}/index.m3u8"
    began = time.monotonic()
    try:
        made = rewrite(text, base).text
    except StreamFailure as failure:
        assert failure.code == "not_a_video"  # noqa: PT017 - either is right
        made = ""
    assert time.monotonic() - began < 8
    assert len(made) < 40_000_000


@pytest.mark.parametrize("entry", ["http://[", "http://a]b/", "//[x"])
def test_an_entry_that_is_no_address_is_the_playlists_fault(app_environment: Any, entry: str) -> None:
    """The customer is told that the playlist can't be read, not that the service failed."""
    for text in (f"#EXTINF:6,\n{entry}", f'#EXT-X-MAP:URI="{entry}"'):
        with pytest.raises((StreamFailure, ForbiddenAddress)):
            rewrite(f"{HEAD}{text}\n", HERE)


@pytest.mark.parametrize("number", ["²", "9" * 5000, "-1", "nan", ""])
def test_odd_numbers_in_a_playlist_are_no_numbers(app_environment: Any, number: str) -> None:
    """Whatever stands where a number should, the playlist is read."""
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH={number},RESOLUTION=1x{number}\na.m3u8\n"
    assert "http://cdn.example/live/a.m3u8" in rewrite(master, HERE).text
    assert rewrite(f"#EXTM3U\n#EXT-X-TARGETDURATION:{number}\n#EXTINF:1,\na.ts\n", HERE).look_every == 1


def test_ffmpeg_sees_of_a_playlist_what_was_understood(app_environment: Any) -> None:
    """Addresses without quotes are addresses too, and tags that nobody needs are not passed on."""
    for line in ("#EXT-X-MAP:URI=file:///etc/passwd", '#EXT-X-MEDIA:TYPE=AUDIO,X="a",URI=/etc/passwd,URI=file:/x'):
        with pytest.raises(ForbiddenAddress):
            rewrite(f"{HEAD}{line}\n#EXTINF:6,\na.ts\n", HERE)
    with pytest.raises(StreamFailure, match="encrypted"):
        rewrite(f"{HEAD}#EXT-X-KEY:METHOD=NONE,METHOD=AES-128,URI=k\n#EXTINF:6,\na.ts\n", HERE)
    extras = ("SESSION-DATA", "PRELOAD-HINT", "I-FRAME-STREAM-INF", "DATERANGE", "PART", "RENDITION-REPORT")
    tags = "".join(f'#EXT-X-{extra}:ID="a",URI="file:///etc/passwd",X-ASSET-URI="urn:x"\n' for extra in extras)
    made = rewrite(f"{HEAD}{tags}#EXT-X-MAP:URI=init.mp4,BYTERANGE=5@0\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n", HERE).text
    assert made.splitlines() == [
        *HEAD.splitlines(),
        '#EXT-X-MAP:URI="http://cdn.example/live/init.mp4",BYTERANGE="5@0"',
        "#EXTINF:6,",
        "http://cdn.example/live/a.ts",
        "#EXT-X-ENDLIST",
    ]


def test_a_key_expires_at_its_moment_in_any_zone(client: TestClient) -> None:
    """`02:00+02:00` is midnight in UTC; a key doesn't live two hours longer because the database keeps no zones."""
    asked = {"name": "x", "scopes": ["usage:read"], "expires_at": "2190-01-01T02:00:00+02:00"}
    made = client.post("/api/v1/keys", json=asked).json()
    assert client.get(f"/api/v1/keys/{made['id']}").json()["expires_at"] == "2190-01-01T00:00:00Z"
    never = client.post("/api/v1/keys", json={**asked, "expires_at": "9999-12-31T23:59:59-12:00"})
    assert (never.status_code, never.json()["code"]) == (422, "invalid_request")


def test_webhooks_and_keys_are_limited(client: TestClient) -> None:
    """One event becomes no thousand requests to somebody, and nobody fills the database with keys."""
    hook = {"url": "http://127.0.0.1:9/", "events": ["stream.started"]}
    made = [client.post("/api/v1/webhooks", json=hook) for _ in range(21)]
    assert [each.status_code for each in made] == [201] * 20 + [409]
    assert made[-1].json()["code"] == "too_many_webhooks"
    assert client.delete(f"/api/v1/webhooks/{made[0].json()['id']}").status_code == 204
    assert client.post("/api/v1/webhooks", json=hook).status_code == 201

    key = {"name": "x", "scopes": ["usage:read"]}
    made = [client.post("/api/v1/keys", json=key) for _ in range(100)]
    assert [each.status_code for each in made] == [201] * 99 + [409]
    assert made[-1].json()["code"] == "too_many_keys"
    assert client.delete(f"/api/v1/keys/{made[0].json()['id']}").status_code == 204
    assert client.post("/api/v1/keys", json=key).status_code == 201


def test_every_error_that_an_endpoint_answers_with_is_documented(client: TestClient) -> None:
    """Conflicts and bodies that are too large are among them."""
    for path in client.get("/openapi.json").json()["paths"].values():
        for operation in path.values():
            assert {"401", "403", "404", "409", "413", "422", "429", "503"} <= set(operation["responses"])
