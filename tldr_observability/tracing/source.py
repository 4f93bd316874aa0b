"""Where code stands, as the attributes by which Logfire's live view links a span to its source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tldr_observability import semconv

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["of_code", "relative"]

_MOST_PLACES = 2048
# By id, which the code beside the place keeps unique: equal code of two files is equal as an object, too.
_places: dict[int, tuple[CodeType, dict[str, str | int]]] = {}


def of_code(code: CodeType) -> dict[str, str | int]:
    """File, qualified name and first line of a function's code; the caller must not change the answer."""
    known = _places.get(id(code))
    if known is None:
        place: dict[str, str | int] = {
            semconv.CODE_FILEPATH: relative(code.co_filename),
            semconv.CODE_LINENO: code.co_firstlineno,
        }
        if code.co_name != "<module>":
            place[semconv.CODE_FUNCTION] = code.co_qualname
        if len(_places) >= _MOST_PLACES:  # a program that makes code objects without end must not fill our memory
            _places.clear()
        known = _places[id(code)] = code, place
    return known[1]


def relative(path: str) -> str:
    """A path below the working directory without that directory, as Logfire writes it; any other unchanged."""
    try:
        root = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - pathlib would add to the price of the import
    except OSError:  # the working directory was removed
        return path
    return path.removeprefix(root)
