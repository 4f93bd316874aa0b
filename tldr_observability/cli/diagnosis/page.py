"""A diagnosis as plain text for a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tldr_observability.cli.diagnosis import Diagnosis

__all__ = ["render"]

_WIDEST_VALUE = 60
_GREEN, _RED, _FAINT = "32", "31", "2"


class _Pen:
    """Writes with or without colour."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour and not os.environ.get("NO_COLOR")

    def write(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text

    def table(self, rows: Sequence[Sequence[tuple[str, str]]]) -> Iterator[str]:
        """Lines of aligned cells; a cell is its text and its colour."""
        widths = [
            # The last text of a line needs no room: nothing stands to its right.
            max((len(row[place][0]) for row in rows if any(text for text, _ in row[place + 1 :])), default=0)
            for place in range(len(rows[0]))
        ]
        for row in rows:
            cells = [
                self.write(text, code) + " " * (width - len(text))
                for (text, code), width in zip(row, widths, strict=True)
            ]
            yield f"  {'  '.join(cells)}".rstrip()


def render(diagnosis: Diagnosis, *, colour: bool) -> str:
    """The page: what is, in sections, and last what to do, where a terminal shows it."""
    pen = _Pen(colour=colour)
    sections = [] if diagnosis.bad_settings else [
        ["Settings", *_settings(diagnosis, pen)],
        ["Parts", *_parts(diagnosis, pen)],
        ["Versions", *_versions(diagnosis, pen)],
        ["Endpoint", *_endpoints(diagnosis, pen)],
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in (*sections, list(_verdict(diagnosis, pen))))


def _settings(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    return pen.table(
        [
            [
                (setting.name, ""),
                (_value(setting.value), ""),
                (setting.origin(diagnosis.preset), "" if setting.source == "environment" else _FAINT),
            ]
            for setting in diagnosis.settings
        ]
    )


def _parts(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    rows = []
    said = ""
    for (name, on, detail), type_this, works in diagnosis.parts:
        colour = _GREEN if on else _FAINT if works else _RED
        hint = "" if type_this == said else type_this
        said = type_this or said
        rows.append([(name, ""), ("on" if on else "off", colour), (detail, ""), (hint, _FAINT)])
    return pen.table(rows)


def _versions(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    return pen.table([[(name, ""), (found or "-", "")] for name, found in diagnosis.versions.shown.items()])


def _endpoints(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    if not diagnosis.endpoints:
        yield "  none: nothing is sent"
        return
    yield from pen.table(
        [
            [(endpoint.name, ""), ("ok", _GREEN) if endpoint.ok else ("fails", _RED), (endpoint.detail, "")]
            for endpoint in diagnosis.endpoints
        ]
    )


def _verdict(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    if diagnosis.problems:
        yield pen.write(_count(len(diagnosis.problems)), _RED)
        yield from (f"  - {problem}" for problem in diagnosis.problems)
    elif diagnosis.endpoints:
        yield pen.write("All that is configured works.", _GREEN)
    else:
        yield from _invitation(diagnosis, pen)


def _invitation(diagnosis: Diagnosis, pen: _Pen) -> Iterator[str]:
    from tldr_observability.cli.diagnosis import parts

    export = next(part for part in diagnosis.parts if part.status.part == "export")
    yield f"Nothing is sent: {export.status.detail}. To send, type:"
    rows = [(export.type_this, "")]
    if export.type_this == parts.SET_TOKEN:
        rows = [(parts.SET_TOKEN, "to a Logfire project"), (parts.SET_ENDPOINT, "or to any OTLP backend")]
    yield from pen.table([[(command, ""), (what, _FAINT)] for command, what in rows])


def _count(problems: int) -> str:
    return "1 problem:" if problems == 1 else f"{problems} problems:"


def _value(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    text = ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
    if not text.isprintable():
        text = repr(text)
    return text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 3]}..."
