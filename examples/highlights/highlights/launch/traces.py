"""A trace as a page to read: a tree in which spans of one name below one parent are a line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from highlights.launch.terminal import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tldr_observability.testing import Span

__all__ = ["draw", "orphans", "roots", "service_of"]

_DATABASE_KEYS = ("db.system.name", "db.system")


def service_of(span: Span) -> str:
    """Whose span it is: `api`, `worker`, `customer`."""
    return str(span.resource.get("service.name", "?")).removeprefix("highlights-")


def orphans(spans: Iterable[Span]) -> list[Span]:
    """Spans of a trace whose parent isn't among them."""
    spans = list(spans)
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id and span.parent_id not in known]


def roots(spans: Iterable[Span]) -> list[Span]:
    """Spans without a parent."""
    return [span for span in spans if not span.parent_id]


def draw(spans: Sequence[Span]) -> str:
    """One trace as text: when a span began, how long it took, whose it is, and the tree.

    Statements to a database are told of behind the span that made them. A line for several spans has the sum of what
    they took.
    """
    first = min(span.start_time_ns for span in spans)
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_time_ns):
        children.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    width = max(len(service_of(span)) for span in spans)
    lines = [f"{'at':>8}  {'took':>8}  {'service':<{width}}  span"]
    waiting = [(0, group) for group in reversed(_groups(children.get(None, [])))]
    while waiting:
        depth, group = waiting.pop()
        below = [child for span in group for child in children.get(span.span_id, [])]
        began = (min(span.start_time_ns for span in group) - first) / 1e9
        line = f"{began:6.2f} s  {_took(group):>8}  {service_of(group[0]):<{width}}  {'  ' * depth}{group[0].name}"
        line += f" x{len(group)}" if len(group) > 1 else ""
        line += "".join(f"  · {told}" for told in _statements(below))
        line += "  ! error" if any(span.status == "error" for span in group) else ""
        lines.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")
        others = [span for span in below if not _database(span)]
        waiting += [(depth + 1, group) for group in reversed(_groups(others))]
    return "\n".join(lines)


def _groups(spans: Iterable[Span]) -> list[list[Span]]:
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        groups.setdefault((span.name, service_of(span)), []).append(span)
    return list(groups.values())


def _statements(spans: Iterable[Span]) -> list[str]:
    counts = Counter(filter(None, map(_database, spans)))
    return [f"{count} {system}" for system, count in counts.items()]


def _database(span: Span) -> str:
    system = next((str(span.attributes[key]) for key in _DATABASE_KEYS if key in span.attributes), "")
    return {"": "", "redis": "Redis"}.get(system, "SQL")


def _took(spans: Iterable[Span]) -> str:
    seconds = sum(span.duration_seconds for span in spans)
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
