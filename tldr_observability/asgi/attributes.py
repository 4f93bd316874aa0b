"""What is known of a request before anything has handled it, in OpenTelemetry's stable HTTP conventions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.semconv.attributes import (
    client_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

from tldr_observability import semconv
from tldr_observability.asgi import headers as h
from tldr_observability.asgi import withheld
from tldr_observability.asgi.text import bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OTHER", "known_method", "known_scheme", "known_version", "request_attributes"]

OTHER: Final = "_OTHER"

MAX_ADDRESS_LENGTH: Final = 255
MAX_AGENT_LENGTH: Final = 512
MAX_MESSAGE_LENGTH: Final = 512
MAX_METHOD_LENGTH: Final = 32
MAX_PATH_LENGTH: Final = 2048
MAX_PORT: Final = 65_535
MAX_QUERY_LENGTH: Final = 2048

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_VERSIONS: Final = frozenset({"1.0", "1.1", "2", "2.0", "3", "3.0"})
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,64}\]|[0-9A-Za-z._\-]{1,255})(?::([0-9]{1,5}))?")

Attributes = dict[str, Any]


def known_method(scope: Mapping[str, Any]) -> str:
    """The request's method, `_OTHER` when it is none of HTTP's."""
    method = scope.get("method")
    return method if method in _METHODS else OTHER


def known_scheme(scope: Mapping[str, Any], default: str) -> str:
    """The request's scheme, the default when the scope tells none that there is."""
    scheme = scope.get("scheme")
    return scheme if scheme in _DEFAULT_PORTS else default


def known_version(scope: Mapping[str, Any]) -> str:
    """The version of HTTP, empty when the scope tells none that there is."""
    version = scope.get("http_version")
    return version if version in _VERSIONS else ""


def request_attributes(scope: Mapping[str, Any], headers: h.Headers, method: str, verb: str, scheme: str) -> Attributes:
    """The attributes with which a server span begins; `verb` is the word that its message opens with."""
    path = withheld.path(bounded(scope.get("path"), MAX_PATH_LENGTH))
    attributes: Attributes = {
        semconv.LOGFIRE_MESSAGE: f"{verb} {path}"[:MAX_MESSAGE_LENGTH],
        http_attributes.HTTP_REQUEST_METHOD: method,
        url_attributes.URL_PATH: path,
        url_attributes.URL_SCHEME: scheme,
    }
    if method is OTHER and (original := bounded(scope.get("method"), MAX_METHOD_LENGTH)):
        attributes[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] = original
    if query := bounded(scope.get("query_string"), MAX_QUERY_LENGTH):
        attributes[url_attributes.URL_QUERY] = withheld.query(query)
    if version := known_version(scope):
        attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = version
    if agent := bounded(h.first(headers, h.USER_AGENT), MAX_AGENT_LENGTH):
        attributes[user_agent_attributes.USER_AGENT_ORIGINAL] = agent
    _put(attributes, server_attributes.SERVER_ADDRESS, server_attributes.SERVER_PORT, _server(scope, headers, scheme))
    _put(attributes, client_attributes.CLIENT_ADDRESS, client_attributes.CLIENT_PORT, scope.get("client"))
    return attributes


def _server(scope: Mapping[str, Any], headers: h.Headers, scheme: str) -> Any:
    authority = _AUTHORITY.fullmatch(h.first(headers, h.HOST))
    if authority is None:
        return scope.get("server")
    return authority[1].strip(b"[]").decode("ascii"), int(authority[2]) if authority[2] else _DEFAULT_PORTS[scheme]


def _put(attributes: Attributes, address_key: str, port_key: str, end: Any) -> None:
    """Add one end of the connection, `(address, port)` or a Unix socket's `(path, None)`."""
    if not isinstance(end, (tuple, list)) or not end:
        return
    if address := bounded(end[0], MAX_ADDRESS_LENGTH):
        attributes[address_key] = address
        if len(end) > 1 and isinstance(end[1], int) and 0 < end[1] <= MAX_PORT:
            attributes[port_key] = end[1]
