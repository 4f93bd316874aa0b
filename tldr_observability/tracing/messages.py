"""The text of a span's message: a template such as `fetched {count} items` with its values filled in."""

from __future__ import annotations

from string import Formatter

from tldr_observability.tracing import captured

__all__ = ["fill", "shorten"]

_MOST_TEMPLATES = 1024
_VALUE_LENGTH = 128
_MESSAGE_LENGTH = 2048
_MOST_DIGITS = 4
_Part = tuple[str, str | None, str | None, str | None]
_templates: dict[str, tuple[_Part, ...] | None] = {}


def fill(template: str, values: dict[str, object]) -> str:
    """Fill `{name}` (also `{name=}`, `{name!r}`, `{name:.2f}`) from `values`; bounded, and never raises.

    A name without a value keeps its braces. Attributes and items (`{user.name}`, `{rows[0]}`) are not looked up: that
    would run the host's code.
    """
    parts = _parse(template) if "{" in template or "}" in template else None
    if parts is not None:
        template = "".join([part[0] if part[1] is None else part[0] + _field(part, values) for part in parts])
    text = template[:_MESSAGE_LENGTH]
    # Half a surrogate pair can't be exported, and would cost the span.
    return text if text.isascii() else captured.text(text, _MESSAGE_LENGTH)


def shorten(text: str, limit: int) -> str:
    """A text of at most `limit` characters: its two ends where it was longer."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _parse(template: str) -> tuple[_Part, ...] | None:
    if template not in _templates:
        if len(_templates) >= _MOST_TEMPLATES:
            _templates.clear()
        try:
            _templates[template] = tuple(Formatter().parse(template))
        except ValueError:  # a lone brace: the text stays as it was written
            _templates[template] = None
    return _templates[template]


def _field(part: _Part, values: dict[str, object]) -> str:
    _, field, spec, conversion = part
    field, label = (field[:-1], field) if field and field.endswith("=") else (field or "", "")
    if field not in values:
        return "{" + label.removesuffix("=") + ("=" if label else field) + _suffix(conversion, spec) + "}"
    return label + shorten(_format(values[field], spec or "", conversion), _VALUE_LENGTH)


def _suffix(conversion: str | None, spec: str | None) -> str:
    return ("!" + conversion if conversion else "") + (":" + spec if spec else "")


def _format(value: object, spec: str, conversion: str | None) -> str:
    if value.__class__ is str and conversion in (None, "s"):
        text = str(value)[: 4 * _VALUE_LENGTH] if spec else str(value)
        return _specified(text, spec)
    if value.__class__ in (int, float, bool) and conversion is None:
        return _specified(value, spec)
    return captured.text(value, 4 * _VALUE_LENGTH)


def _specified(value: object, spec: str) -> str:
    # A width of a milliard would ask for as much memory; a name for the width isn't looked up.
    if "{" in spec or sum(map(str.isdigit, spec)) > _MOST_DIGITS:
        spec = ""
    try:
        return format(value, spec)
    except (ValueError, OverflowError):  # a spec for another type, or an integer too long to be written
        return captured.text(value, 4 * _VALUE_LENGTH)
