"""W3C trace context, level 2, strictly: what a caller's headers say, and our answer to it.

OpenTelemetry's own propagator takes the first of several `traceparent` headers and refuses `tracestate` keys that begin
with a digit; here the specification decides (https://www.w3.org/TR/trace-context-2/).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["format_traceresponse", "parse"]

MAX_TRACESTATE_BYTES = 8192
MAX_TRACESTATE_MEMBERS = 32

_OWS = b" \t"
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_TRACEPARENT_BYTES = 55
_KEY = rb"[a-z0-9][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13}"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rb"(%b)=(%b)" % (_KEY, _VALUE))
_KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID


class _ParsedTraceState(TraceState):
    """A trace state that keeps the members as they were parsed, in their order."""

    def __init__(self, members: Mapping[str, str]) -> None:
        super().__init__()
        self._dict.update(members)


def parse(traceparents: Sequence[bytes], tracestates: Sequence[bytes]) -> SpanContext | None:
    """The caller's span; None when there is no valid one and the trace starts here."""
    if len(traceparents) != 1:
        return None
    header = traceparents[0].strip(_OWS)
    match = _TRACEPARENT.match(header)
    if match is None or not _ends_well(header):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    # The flags that are not known must not be passed on.
    flags = TraceFlags(int(match[4], 16) & _KNOWN_FLAGS)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=_trace_state(tracestates))


def _ends_well(header: bytes) -> bool:
    version = header[:2]
    if version == b"00":
        return len(header) == _TRACEPARENT_BYTES
    return version != b"ff" and header[_TRACEPARENT_BYTES : _TRACEPARENT_BYTES + 1] in (b"", b"-")


def _trace_state(headers: Sequence[bytes]) -> TraceState | None:
    """Every member of every header, or nothing at all: half a trace state could mislead its owner."""
    if not headers or sum(map(len, headers)) > MAX_TRACESTATE_BYTES:
        return None
    members: dict[str, str] = {}
    for header in headers:
        for raw in header.split(b","):
            member = raw.strip(_OWS)
            if not member:
                continue
            match = _MEMBER.fullmatch(member)
            if match is None or (key := match[1].decode()) in members or len(members) == MAX_TRACESTATE_MEMBERS:
                return None
            members[key] = match[2].decode()
    return _ParsedTraceState(members) if members else None


def format_traceresponse(span: SpanContext) -> bytes:
    """The value of the `traceresponse` header: which span answered."""
    return b"00-%032x-%016x-%02x" % (span.trace_id, span.span_id, span.trace_flags)
