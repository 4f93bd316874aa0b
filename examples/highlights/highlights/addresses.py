"""Where the service may go on a customer's behalf: public addresses over http and https, and nowhere else."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from functools import cache
from typing import TYPE_CHECKING

import httpcore
import httpx

from highlights.settings import settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

__all__ = ["ForbiddenAddress", "check_url", "guarded_client"]

_MOST_PORT = 65535
_MOST_ADDRESSES = 4
_HOST = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|[0-9A-Fa-f:.]+")
"""What all parsers of URLs take for the same host; of a `\\` some think that it ends there."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_INNER = ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("192.88.99.1")
"""Look public and are not: Azure's own services for each machine, and the way to 6to4."""
_ENCODINGS = frozenset(("gzip", "deflate"))


class ForbiddenAddress(ValueError):  # noqa: N818 - what it is to the caller
    """The service doesn't go there; `reason` is a sentence for customers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_url(url: str) -> None:
    """Raise ForbiddenAddress unless the URL is http(s), has a host and no password, and leads to public addresses.

    A name that can't be resolved passes: whoever goes there gets that for an answer.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ForbiddenAddress("The address is not a valid URL.") from error
    if parsed.scheme not in {"http", "https"}:
        raise ForbiddenAddress("Only http and https addresses are allowed.")
    if not parsed.host or not 0 < (80 if parsed.port is None else parsed.port) <= _MOST_PORT:
        raise ForbiddenAddress("The address has no host, or no valid port.")
    if parsed.userinfo:
        raise ForbiddenAddress("An address must not contain a user name or password.")
    if "\\" in url or not _HOST.fullmatch(parsed.raw_host):
        raise ForbiddenAddress("The address is not a valid URL.")
    try:
        _addresses(parsed.host, parsed.port)
    except OSError:
        return


def guarded_client(
    *,
    timeout: float,
    follow_redirects: bool = False,
    max_redirects: int = 5,
    on_wait: Callable[[], None] | None = None,
) -> httpx.Client:
    """An HTTP client that connects to checked addresses only, redirects included, or raises ForbiddenAddress.

    The address that was checked is the one that is connected to, so a name that changes its mind gains nothing.

    Args:
        timeout: seconds without a byte.
        follow_redirects: whether to go where the answer points to.
        max_redirects: how often in a row.
        on_wait: called about once a second while an answer is waited for; what it raises ends the request.
    """
    return httpx.Client(
        transport=_GuardedTransport(on_wait),
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=max_redirects,
        trust_env=False,
    )


def _addresses(host: str, port: int | None) -> list[str]:
    """What the host resolves to: every address has passed the check."""
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long or empty
        raise ForbiddenAddress("The address is not a valid URL.") from error
    found = [str(sockaddr[0]) for *_, sockaddr in resolved]
    if not settings().allow_private_addresses and not all(map(_is_public, found)):
        raise ForbiddenAddress("The address leads into a private network.")
    return found


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and ip not in _INNER and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _GuardedTransport(httpx.HTTPTransport):
    """httpx's own, on a pool whose connections are opened by the guard, and on its guard against answers too."""

    def __init__(self, on_wait: Callable[[], None] | None) -> None:
        super().__init__(verify=_tls(), trust_env=False)
        # httpx has no public way to hand a network backend to the pool that it makes.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), keepalive_expiry=5.0, network_backend=_GuardedNetwork(on_wait)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # What watches httpx gets to know the host alone: customers' addresses often are secrets, in any part of them.
        shown = httpx.Request(
            request.method,
            request.url.copy_with(raw_path=b"/"),
            headers=request.headers,
            stream=request.stream,
            extensions={"target": request.url.raw_path, **request.extensions},
        )
        answer = super().handle_request(shown)
        if answer.has_redirect_location:  # httpx would read the body, all of it, into the memory
            answer.close()
            answer = httpx.Response(
                answer.status_code, headers=answer.headers, content=b"", extensions=answer.extensions
            )
        # What was not asked for is not decoded: some encodings, and any inside of another, can hide terabytes.
        if answer.headers.get("content-encoding", "").strip().lower() not in _ENCODINGS:
            answer.headers.pop("content-encoding", None)
        return answer


class _GuardedNetwork(httpcore.SyncBackend):
    def __init__(self, on_wait: Callable[[], None] | None) -> None:
        self._on_wait = on_wait

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = _addresses(host, port)[:_MOST_ADDRESSES]
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            if self._on_wait is not None:
                self._on_wait()
            try:
                stream = super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last == 0:
                    raise
            else:
                return stream if self._on_wait is None else _PatientStream(stream, self._on_wait)
        raise httpcore.ConnectError("the name has no address")


class _PatientStream(httpcore.NetworkStream):
    """A connection whose reader is asked once a second whether it still wants to wait."""

    def __init__(self, stream: httpcore.NetworkStream, on_wait: Callable[[], None]) -> None:
        self._stream = stream
        self._on_wait = on_wait

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._on_wait()
            left = 1.0 if deadline is None else deadline - time.monotonic()
            try:
                return self._stream.read(max_bytes, max(0.001, min(1.0, left)))
            except httpcore.ReadTimeout:
                if left <= 1:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _PatientStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._on_wait)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
