"""What validation errors quote of a refused field: pydantic's messages and FastAPI's answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.names import HARMLESS
from tldr_observability.redaction.values import is_placeholder, value_at

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold
    from tldr_observability.redaction.names import Names

__all__ = ["redact_validation"]

_MESSAGE: Final = re.compile(
    r"(?:^|(?<=\\n))(?P<name>[\w.\-]++)(?P<between>(?:\\n|\n)[^\S\n]++[^\n]*?input_value=)"
    r"(?P<value>[^\n]*?)(?P<after>, input_type=|$)",
    re.MULTILINE,
)
_LOCATION: Final = re.compile(
    r"[\"']loc\\*[\"']\s*+:\s*+[\[(]([^\])]{0,200})[\])][^{}]{0,300}?[\"']input\\*[\"']\s*+:\s*+"
)
_LAST: Final = re.compile(r"([\w.\-]+)\\*[\"']?,?\s*$")


def redact_validation(text: str, names: Names, withhold: Withhold) -> str:
    """The text without the refused values of fields that hold secrets."""
    if "input_value=" in text:
        text = _MESSAGE.sub(lambda found: _message(found, names, withhold), text)
    return _without_inputs(text, names, withhold) if "loc" in text and "input" in text else text


def _message(found: re.Match[str], names: Names, withhold: Withhold) -> str:
    name, between, value, after = found.group("name", "between", "value", "after")
    if names.decide_key(name) == HARMLESS or is_placeholder(value):
        return found[0]
    return name + between + withhold(value, name) + after


def _without_inputs(text: str, names: Names, withhold: Withhold) -> str:
    pieces: list[str] = []
    done = 0
    for found in _LOCATION.finditer(text):
        last = _LAST.search(found[1])
        value = value_at(text, found.end())
        if last is None or value is None or not value.quoted or names.decide(last[1]) == HARMLESS:
            continue
        if found.end() >= done:
            pieces += text[done : value.start], withhold(text[value.start : value.end], last[1])
            done = value.end
    return "".join((*pieces, text[done:])) if pieces else text
