"""Whether a text is JSON, in which a quote that isn't escaped ends a string for sure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["end_of_json_string", "is_json"]

_BEGINNING: Final = re.compile(r"\s*+(?:\{\s*+\"|\[\s*+[\"{\[])")


_REST_OF_STRING: Final = re.compile(r"(?:[^\"\\]|\\.)*", re.DOTALL)


def end_of_json_string(text: str, start: int) -> int:
    """Where the string of JSON ends in which a position is."""
    rest = _REST_OF_STRING.match(text, start)
    return rest.end() if rest else len(text)


def is_json(text: str) -> bool:
    """Whether it begins like an object or a list of JSON; the end may be cut off."""
    return _BEGINNING.match(text) is not None
