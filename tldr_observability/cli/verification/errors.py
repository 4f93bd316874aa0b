"""The errors among the spans that arrived, and whether they say where they happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tldr_observability.cli.verification.words import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tldr_observability.cli.verification.evidence import Received
    from tldr_observability.testing import Span

__all__ = ["Error", "find"]

_STACKTRACE = "exception.stacktrace"
_OUTWARD = {"client", "producer"}
_INTERNAL_SERVER_ERROR = "500"


class Error(NamedTuple):
    """A span that failed, or in which an exception was noted."""

    name: str
    kind: str
    """The exception's class, where it is known."""
    has_stacktrace: bool

    def __str__(self) -> str:
        return f"{shown(self.kind)} in {shown(self.name)}" if self.kind else shown(self.name)


def find(received: Received) -> list[Error]:
    """The errors of which a stack trace can be expected.

    It can't of two kinds of error status: that of a call to somebody else, which answered so (where an exception came
    of it, that is on the span of the calling code), and that of a request which was answered on purpose by 503, say.
    A plain 500 is what becomes of an exception, so it counts.
    """
    logged = {log.span_id: log.attributes for log in received.logs if log.span_id and _STACKTRACE in log.attributes}
    return [error for span in received.spans if (error := _error(span, logged.get(span.span_id))) is not None]


def _error(span: Span, logged: Mapping[str, Any] | None) -> Error | None:
    exceptions: list[Mapping[str, Any]] = [event.attributes for event in span.events if event.name == "exception"]
    if logged is not None:  # OpenTelemetry is about to move exceptions from span events to log records
        exceptions = [*(each for each in exceptions if _has_stacktrace(each)), logged]
    if exceptions:
        kind = str(exceptions[-1].get("exception.type") or "")
        return Error(span.name, kind, all(map(_has_stacktrace, exceptions)))
    if span.status != "error" or span.kind in _OUTWARD:
        return None
    kind = str(span.attributes.get("error.type") or "")
    if kind.isdigit() and kind != _INTERNAL_SERVER_ERROR:
        return None
    return Error(span.name, kind, has_stacktrace=False)


def _has_stacktrace(attributes: Mapping[str, Any]) -> bool:
    return bool(str(attributes.get(_STACKTRACE) or "").strip())
