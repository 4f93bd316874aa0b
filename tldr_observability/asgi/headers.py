"""The few headers that the middleware needs, picked out in one walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REQUEST", "RESPONSE", "Headers", "body_size", "first", "pick"]

Headers = dict[bytes, list[bytes]]

BAGGAGE: Final = b"baggage"
CONTENT_ENCODING: Final = b"content-encoding"
CONTENT_LENGTH: Final = b"content-length"
CONTENT_TYPE: Final = b"content-type"
CORRELATION_ID: Final = b"x-correlation-id"
HOST: Final = b"host"
REQUEST_ID: Final = b"x-request-id"
TRACEPARENT: Final = b"traceparent"
TRACERESPONSE: Final = b"traceresponse"
TRACESTATE: Final = b"tracestate"
USER_AGENT: Final = b"user-agent"

_CONTENT = (CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE)
REQUEST: Final = frozenset((*_CONTENT, BAGGAGE, CORRELATION_ID, HOST, REQUEST_ID, TRACEPARENT, TRACESTATE, USER_AGENT))
RESPONSE: Final = frozenset((*_CONTENT, REQUEST_ID, TRACERESPONSE))

_MAX_SIZE_DIGITS = 15


def pick(headers: Iterable[tuple[bytes, bytes]], wanted: frozenset[bytes]) -> Headers:
    """The values of the wanted headers, by lower-case name, in the order in which they came."""
    found: Headers = {}
    for name, value in headers:
        key = name.lower()
        if key in wanted:
            if key in found:
                found[key].append(value)
            else:
                found[key] = [value]
    return found


def first(headers: Headers, name: bytes) -> bytes:
    """The first value of a header, empty when it is missing."""
    values = headers.get(name)
    return values[0] if values else b""


def body_size(headers: Headers) -> int | None:
    """What `content-length` says, where it says something sensible."""
    value = first(headers, CONTENT_LENGTH)
    return int(value) if 0 < len(value) <= _MAX_SIZE_DIGITS and value.isdigit() else None
