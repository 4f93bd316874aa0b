"""Fields of multipart forms, each judged by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.names import HARMLESS
from tldr_observability.redaction.telling import tells_nothing

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold
    from tldr_observability.redaction.names import Names

__all__ = ["redact_multipart"]

_NAME: Final = re.compile(r"form-data;[^\n]{0,200}?(?<![\w])name=\\?[\"']?([^\"';\r\n\\]{1,128})", re.IGNORECASE)
_BLANK: Final = re.compile(r"\r?\n\r?\n|(?:\\r)?\\n(?:\\r)?\\n")
_BOUNDARY: Final = re.compile(r"(?:\r?\n|(?:\\r)?\\n)--")


def redact_multipart(text: str, names: Names, withhold: Withhold) -> str:
    """The text of a multipart body without the content of secrets' fields."""
    pieces: list[str] = []
    done = position = 0
    while (found := _NAME.search(text, position)) is not None:
        blank = _BLANK.search(text, found.end())
        if blank is None:
            break
        boundary = _BOUNDARY.search(text, blank.end())
        start, end = blank.end(), boundary.start() if boundary else len(text)
        position = end
        content = text[start:end]
        decision = names.decide_parameter(found[1])
        if decision == HARMLESS or tells_nothing(content, decision):
            continue
        pieces += text[done:start], withhold(content, found[1])
        done = end
    return "".join((*pieces, text[done:])) if pieces else text
