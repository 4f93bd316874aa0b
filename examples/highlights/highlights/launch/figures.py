"""The business metrics of a run, read from what was exported, beside what the database says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from highlights.database import transaction
from highlights.launch.terminal import wrapped
from highlights.models import Delivery, Highlight, Stream
from tldr_observability.testing import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tldr_observability.testing import Metric

__all__ = ["Figure", "database_figures", "differing", "exported_figures", "table"]

_ORGANIZATION = "tldr.organization.id"
_TELLING = (
    *("tldr.outcome", "tldr.task.name", "tldr.event.type", "tldr.quota", "tldr.stage", "tldr.detection.method"),
    *("tldr.storage.operation", "tldr.queue", "error.type"),
)
"""Which attribute tells most about a metric's series, the first of them that there is."""
_JOINED = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Figure:
    """One metric over all processes and series."""

    name: str
    unit: str
    kind: str
    value: float
    """Of a histogram how many values it has."""
    mean: float | None
    """Of a histogram's values."""
    parts: tuple[tuple[str, float], ...]
    """The same by its most telling attribute."""


def exported_figures(metrics: Sequence[Metric], organization_id: str) -> dict[str, Figure]:
    """Every `tldr.*` metric that was received, as far as it is about nobody in particular or this organization."""
    series: dict[str, list[Metric]] = {}
    for metric in metrics:
        points = [point for point in metric.points if point.attributes.get(_ORGANIZATION) in {None, organization_id}]
        if metric.name.startswith("tldr.") and points:
            series.setdefault(metric.name, []).append(replace(metric, points=points))
    return {name: _figure(name, series[name]) for name in sorted(series)}


def database_figures(organization_id: str) -> dict[str, float]:
    """What the counters have to say if they are right, by the database's rows."""
    of_streams = select(
        func.count(Stream.started_at),
        func.count(Stream.ended_at),
        func.sum(Stream.billed_seconds),
        func.sum(Stream.cost_usd),
    ).where(Stream.organization_id == organization_id)
    of_highlights = select(func.count(Highlight.id)).join(Stream, Stream.id == Highlight.stream_id)
    of_highlights = of_highlights.where(Stream.organization_id == organization_id)
    of_deliveries = select(func.sum(Delivery.attempts), func.count(Delivery.ended_at)).where(
        Delivery.organization_id == organization_id
    )
    with transaction() as session:
        started, ended, seconds, cost = session.execute(of_streams).one()
        highlights = session.scalar(of_highlights)
        attempts, deliveries = session.execute(of_deliveries).one()
    figures = {
        "tldr.stream.started": started,
        "tldr.stream.completed": ended,
        "tldr.stream.processed": (seconds or 0) / 60,
        "tldr.stream.cost": cost,
        "tldr.highlight.detected": highlights,
        "tldr.highlight.confidence": highlights,
        "tldr.webhook.sent": attempts,
        "tldr.webhook.deliveries": deliveries,
    }
    return {name: float(value or 0) for name, value in figures.items()}


def differing(exported: dict[str, Figure], expected: dict[str, float]) -> list[str]:
    """What the metrics say otherwise than the database, a line each."""
    return [
        f"{name} is {shown:g} and the database says {value:g}"
        for name, value in expected.items()
        for shown in [exported[name].value if name in exported else 0.0]
        if not math.isclose(shown, value, rel_tol=1e-6, abs_tol=1e-9)
    ]


def table(exported: dict[str, Figure], expected: dict[str, float]) -> str:
    """The figures as text, a line each."""
    rows = [("metric", "total", "mean", "unit", "database", "of which")]
    for figure in exported.values():
        database = _number(expected[figure.name]) if figure.name in expected else ""
        mean = "" if figure.mean is None else f"{figure.mean:.3g}"
        unit = figure.unit.strip("{}") if figure.unit != "1" else ""
        rows.append((figure.name, _total(figure), mean, unit, database, _parts(figure)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    before = sum(widths) + 2 * 6
    lines = []
    for row in rows:
        cells = "".join(f"  {row[i]:{'<>><>'[i]}{widths[i]}}" for i in range(5))
        lines.append(f"{cells}  {wrapped(row[5], before, before)}".replace(_JOINED, " ").rstrip())
    return "\n".join(lines)


def _figure(name: str, metrics: list[Metric]) -> Figure:
    value, mean = total(metrics, name), None
    if "histogram" in metrics[0].kind and value:
        mean = total(_sums(metrics), name) / value
    attributes = [point.attributes for metric in metrics for point in metric.points]
    telling = next((key for key in _TELLING if any(key in each for each in attributes)), None)
    values = sorted({str(each[telling]) for each in attributes if telling in each}) if telling else []
    parts = tuple((word, total(metrics, name, {telling: word})) for word in values) if telling else ()
    return Figure(name, metrics[0].unit, metrics[0].kind, value, mean, parts)


def _sums(metrics: Iterable[Metric]) -> list[Metric]:
    return [
        replace(metric, points=[replace(point, count=None, value=point.sum) for point in metric.points])
        for metric in metrics
    ]


def _total(figure: Figure) -> str:
    # A sum of levels is no level of anything.
    return "" if figure.kind == "gauge" and len(figure.parts) > 1 else _number(figure.value)


def _parts(figure: Figure) -> str:
    return ", ".join(f"{word}{_JOINED}{_number(value)}" for word, value in figure.parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6f}".rstrip("0")
