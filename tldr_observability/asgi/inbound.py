"""What a request brings along: the caller's span, its baggage, its correlation id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanContext, get_current_span

from tldr_observability import context
from tldr_observability.asgi import headers as h
from tldr_observability.asgi import w3c

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator

__all__ = ["baggage", "correlation_id", "parent"]

MAX_BAGGAGE_BYTES = 8192
MAX_BAGGAGE_MEMBERS = 180
MAX_BAGGAGE_MEMBER_BYTES = 4096
MAX_ID_BYTES = 512
MAX_FOREIGN_HEADERS = 256
_W3C_FIELDS = frozenset({"traceparent", "tracestate", "baggage"})
_TOKEN = rb"[!#-'*+\-.0-9A-Z^-z|~]+"
_OCTETS = rb"[!#-+\--:<-\[\]-~]*"
_MEMBER = re.compile(
    rb"[ \t]*%b[ \t]*=[ \t]*%b[ \t]*(?:;[ \t]*%b[ \t]*(?:=[ \t]*%b[ \t]*)?)*" % (_TOKEN, _OCTETS, _TOKEN, _OCTETS)
)

Carrier = dict[str, list[str]]


class _CarrierGetter(Getter[Carrier]):
    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Carrier) -> list[str]:
        return list(carrier)


_GETTER = _CarrierGetter()


class _Format(NamedTuple):
    """What the process's propagator is good for, found out once a propagator."""

    propagator: TextMapPropagator | None
    is_closed: bool
    """Whether `logfire.configure(distributed_tracing=False)` was said: callers have no say in our traces."""
    is_foreign: bool
    """Whether it understands more than W3C."""


_format = _Format(None, is_closed=False, is_foreign=False)


def _format_now() -> _Format:
    global _format  # noqa: PLW0603 - what is known of the propagator that holds now, which may be replaced at any time
    from opentelemetry.propagate import get_global_textmap

    propagator = get_global_textmap()
    if propagator is not _format.propagator:
        is_closed = type(propagator).__name__ == "NoExtractTraceContextPropagator"
        _format = _Format(propagator, is_closed, bool(propagator.fields - _W3C_FIELDS))
    return _format


def parent(headers: h.Headers, scope: Mapping[str, Any]) -> SpanContext | None:
    """The caller's span by W3C trace context, or by whatever else `OTEL_PROPAGATORS` names; None starts a trace."""
    propagator, is_closed, is_foreign = _format_now()
    if is_closed:
        return None
    found = w3c.parse(headers.get(h.TRACEPARENT, ()), headers.get(h.TRACESTATE, ()))
    if found is None and is_foreign and propagator is not None:
        found = _foreign_parent(propagator, scope.get("headers") or ())
    return found


def _foreign_parent(propagator: TextMapPropagator, headers: Iterable[tuple[bytes, bytes]]) -> SpanContext | None:
    carrier: Carrier = {}
    for name, value in list(headers)[:MAX_FOREIGN_HEADERS]:
        key = name.decode("latin-1").lower()
        # W3C was tried, strictly; the lenient reading must not bring back what was refused.
        if key not in _W3C_FIELDS:
            carrier.setdefault(key, []).append(value[:MAX_ID_BYTES].decode("latin-1"))
    found = get_current_span(propagator.extract(carrier, Context(), _GETTER)).get_span_context()
    return found if found.is_valid else None


def baggage(headers: h.Headers, into: Context) -> Context:
    """Add the request's W3C baggage to a context, for the services called from here; none of it becomes ours."""
    values = headers.get(h.BAGGAGE)
    if not values or sum(map(len, values)) > MAX_BAGGAGE_BYTES:
        return into
    # The propagator logs what it refuses, in the caller's own words; so it gets to see only what it will take.
    members = [
        member
        for member in b",".join(values).split(b",")
        if len(member) <= MAX_BAGGAGE_MEMBER_BYTES and _MEMBER.fullmatch(member)
    ][:MAX_BAGGAGE_MEMBERS]
    if not members:
        return into
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    return W3CBaggagePropagator().extract({"baggage": [b",".join(members).decode("ascii")]}, into, _GETTER)


def correlation_id(headers: h.Headers) -> str | None:
    """The caller's correlation id, cleaned of everything that could not be echoed."""
    for name in (h.REQUEST_ID, h.CORRELATION_ID):
        if name in headers and (
            clean := context.clean_correlation_id(headers[name][0][:MAX_ID_BYTES].decode("latin-1"))
        ):
            return clean
    return None
