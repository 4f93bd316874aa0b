"""Which metrics tell of the business, and what they came to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tldr_observability.catalogue import ALL, GROUPS
from tldr_observability.cli.verification.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tldr_observability.testing import Metric

__all__ = ["Figure", "totals"]

_GROUPS = ("streams", "highlights", "api", "webhooks", "storage", "ai")
_MACHINERY = {"asgi", "botocore"}
"""Owners within these groups that record what the machinery does, whatever the business is."""
_OURS = {spec.name for group in _GROUPS for spec in GROUPS[group] if spec.owner not in _MACHINERY}
_TECHNICAL = {spec.name for spec in ALL} - _OURS
_PREFIXES = (
    *("asgi.", "container.", "cpython.", "db.", "dns.", "faas.", "gc.", "host.", "http.", "jvm.", "k8s."),
    *("logfire.", "messaging.", "network.", "otel.", "otlp.", "process.", "python.", "rpc.", "runtime.", "system."),
)
_INSTRUMENTATION = "opentelemetry."
"""How the scopes of OpenTelemetry's own instrumentation begin."""


class Figure(NamedTuple):
    """A metric and its total over all series and processes."""

    name: str
    unit: str
    total: float | None
    """Of a histogram, how many values were recorded; None of several levels, whose sum is a level of nothing."""

    def __str__(self) -> str:
        return shown(self.name) if self.total is None else f"{shown(self.name)} {self.total:g}"

    def document(self) -> dict[str, Any]:
        """The same as JSON has it, which knows neither infinity nor what is no number."""
        return {**self._asdict(), "total": None if self.total is None or not math.isfinite(self.total) else self.total}


def totals(metrics: Sequence[Metric]) -> list[Figure]:
    """What was counted and measured of the business, by name."""
    named: dict[str, list[Metric]] = {}
    for metric in _telling(metrics):
        named.setdefault(metric.name, []).append(metric)
    return [Figure(name, same[-1].unit, _total(same)) for name, same in sorted(named.items())]


def _total(same: Sequence[Metric]) -> float | None:
    from tldr_observability.testing import total

    series = {repr(sorted(point.attributes.items())) for metric in same for point in metric.points}
    return None if same[0].kind == "gauge" and len(series) > 1 else total(same, same[0].name)


def _telling(metrics: Iterable[Metric]) -> Iterable[Metric]:
    return (metric for metric in metrics if metric.points and _tells(metric.name.removesuffix(".manual"), metric))


def _tells(name: str, metric: Metric) -> bool:
    if name in _OURS or name in _TECHNICAL:
        return name in _OURS
    return not name.startswith(_PREFIXES) and not metric.scope_name.startswith(_INSTRUMENTATION)
