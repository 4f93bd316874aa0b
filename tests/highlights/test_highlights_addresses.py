"""Where a customer's URL may lead the service: to the public internet, and by no trick into its own network."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from media_server import MediaServer, media_server

from highlights.addresses import ForbiddenAddress, check_url, guarded_client
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The service as it runs in production, where private addresses are forbidden."""
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", raising=False)
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """A server that a customer must not reach."""
    with media_server() as server:
        server.answers["/secret"] = b"ours"
        yield server


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let a name resolve to one address after the other, the last one for good; what was resolved."""

    def resolve_to(name: str, *addresses: str) -> list[str]:
        real, left, asked = socket.getaddrinfo, list(addresses), []

        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host != name:
                return real(host, *args, **kwargs)
            asked.append(name)
            return real(left.pop(0) if len(left) > 1 else left[0], *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return resolve_to


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0",
        "0.0.0.0",
        "localhost",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[ff02::1]",
    ],
)
def test_no_spelling_of_a_private_address_is_accepted(host: str) -> None:
    """A URL into loopback, a private network, the cloud's metadata or a group of hosts is refused with a sentence."""
    with pytest.raises(ForbiddenAddress) as refused:
        check_url(f"http://{host}:8080/video.mp4")
    assert refused.value.reason in {"The address leads into a private network.", "The address is not a valid URL."}
    with guarded_client(timeout=1) as client, pytest.raises((ForbiddenAddress, httpx.InvalidURL)):
        client.get(f"http://{host}:8080/video.mp4")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "concat:a|b",
        "data:video/mp4;base64,AAAA",
        "ftp://1.1.1.1/video.mp4",
        "gopher://1.1.1.1/",
        "rtmp://1.1.1.1/live",
        "http://",
        "http:///video.mp4",
        "http://user:password@1.1.1.1/",
        "http://user@1.1.1.1/",
        "http://1.1.1.1:99999/",
        "http://" + "a" * 70 + ".example/",
        "http://a..example/",
        "",
    ],
)
def test_only_plain_http_urls_are_accepted(url: str) -> None:
    """Another scheme, no host, a password, or no URL at all: refused."""
    with pytest.raises(ForbiddenAddress):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://1.1.1.1/", "https://8.8.8.8:8443/a.m3u8?x=1", "http://[2606:4700::1111]/", "http://nowhere.invalid/"],
)
def test_public_addresses_and_unknown_names_pass(url: str) -> None:
    """What is public is accepted, and a name that doesn't resolve fails later, with its own reason."""
    check_url(url)


def test_loopback_is_reachable_where_the_operator_allows_it(strangers: pytest.MonkeyPatch, server: MediaServer) -> None:
    """The development setting opens loopback, and still no other scheme."""
    strangers.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "true")
    settings.cache_clear()
    check_url(server.url("/secret"))
    with guarded_client(timeout=2) as client:
        assert client.get(server.url("/secret")).content == b"ours"
    with pytest.raises(ForbiddenAddress):
        check_url("file:///etc/passwd")


def test_a_name_with_one_private_address_is_refused(names: Callable[..., list[str]]) -> None:
    """A name of somebody's own that leads to loopback is no way in."""
    names("inside.example", "127.0.0.1")
    with pytest.raises(ForbiddenAddress):
        check_url("http://inside.example/video.mp4")


def test_a_name_that_changes_its_mind_gains_nothing(names: Callable[..., list[str]], server: MediaServer) -> None:
    """A name that is public when it's checked and private when it's connected to is refused at the connection."""
    names("rebind.example", "1.1.1.1", "127.0.0.1")
    url = f"http://rebind.example:{server.server_port}/secret"
    check_url(url)
    with guarded_client(timeout=2) as client, pytest.raises(ForbiddenAddress):
        client.get(url)
    assert not server.asked


def test_the_checked_address_is_the_one_that_is_connected_to(
    names: Callable[..., list[str]], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of an address and the connection the name isn't resolved again."""
    asked = names("rebind.example", "1.1.1.1", "127.0.0.1")
    connected: list[Any] = []

    def create_connection(address: Any, *args: Any, **kwargs: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with guarded_client(timeout=2) as client, pytest.raises(httpx.ConnectError):
        client.get("http://rebind.example/secret")
    assert asked == ["rebind.example"]
    assert connected == [("1.1.1.1", 80)]


def test_the_environments_proxies_are_not_used(strangers: pytest.MonkeyPatch, server: MediaServer) -> None:
    """A proxy would resolve names by itself, out of the guard's sight."""
    strangers.setenv("HTTP_PROXY", server.url("/"))
    strangers.setenv("ALL_PROXY", server.url("/"))
    with guarded_client(timeout=2) as client, pytest.raises(ForbiddenAddress):
        client.get("http://127.0.0.1:9/")
    assert not server.asked
