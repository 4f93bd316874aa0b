"""Lines of source code, as stack traces quote them: what is computed there is no secret, a literal is."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_code"]

_CALL: Final = re.compile(r"(?:[A-Za-z_][A-Za-z_.]*+)?\([A-Za-z_., =*]*+\)")
_LOOK_UP: Final = re.compile(r"(?:\w++\.)*(?:environ\[|(?<=\.)(?:get|pop|getenv)\()[\"']\w{1,64}+(?:[\"'][\])])?")
_ATTRIBUTE: Final = re.compile(r"(?:self|cls|settings|config|request|args|kwargs|app)\.[A-Za-z_.]++")
_GENERIC: Final = re.compile(r"(?:Annotated|Optional|Union|Mapped|list|dict|tuple|set)\[\w*+\]?+")
_KEYWORDS: Final = frozenset({"await", "not", "lambda", "yield"})


def is_code(value: str, name: str, equals: str) -> bool:
    """Whether a value without quotes is a call, a look-up, an attribute or an annotation.

    Args:
        value: it.
        name: the name that stands for it.
        equals: the sign between, with the spaces around it: code has some, `password=a(b)` need not be code.
    """
    if ":" in equals:
        is_class = value.isalpha() and value[0].isupper() and value.lower().endswith(name.lower())
        return is_class or _GENERIC.fullmatch(value) is not None
    if _LOOK_UP.fullmatch(value) or _ATTRIBUTE.fullmatch(value):
        return True
    if equals.startswith(" "):
        return value in _KEYWORDS or _CALL.fullmatch(value) is not None
    return value.endswith("()") and _CALL.fullmatch(value) is not None
