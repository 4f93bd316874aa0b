"""What a check looks at, and what it says of it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tldr_observability.cli.verification.exercise import Exercised
    from tldr_observability.testing import Log, Metric, Span

__all__ = ["Evidence", "Received", "State", "Verdict"]


class Received(NamedTuple):
    """The telemetry that has arrived so far."""

    spans: Sequence[Span] = ()
    logs: Sequence[Log] = ()
    metrics: Sequence[Metric] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """Differs as soon as more has arrived."""
        return len(self.spans), len(self.logs), len(self.metrics)


@dataclass(frozen=True)
class Evidence:
    """What the app was asked, and what arrived of it."""

    endpoint: str
    """Where the app must export to."""
    exercised: Exercised
    received: Received

    @cached_property
    def traces(self) -> dict[str, list[Span]]:
        """The spans of each trace."""
        traces: dict[str, list[Span]] = {}
        for span in self.received.spans:
            traces.setdefault(span.trace_id, []).append(span)
        return traces

    @property
    def is_empty(self) -> bool:
        """Whether nothing arrived at all."""
        return not any(self.received.size)

    @property
    def way_in(self) -> str:
        """What to type so that telemetry arrives here."""
        return f"export OTEL_EXPORTER_OTLP_ENDPOINT={self.endpoint}"


class State(StrEnum):
    """How a check ended."""

    HOLDS = "ok"
    FAILS = "FAIL"
    UNSEEN = "NONE"
    """Nothing happened by which it could be told."""


@dataclass(frozen=True)
class Verdict:
    """What a check says."""

    check: str
    """A word for programs."""
    claim: str
    """The line of the checklist."""
    state: State
    detail: str
    """What was seen, in a few words."""
    fix: str = ""
    """What to do about it; empty where it holds."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""
