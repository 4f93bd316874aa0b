"""Which headers and query parameters hold credentials, told by their names; the seam where redaction comes in."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

__all__ = ["REDACTED", "is_sensitive", "redacted_query"]

REDACTED: Final = "[redacted]"

_WORDS: Final = re.compile(
    r"auth(?!or(?!i[sz]))|cookie|credential|csrf|xsrf|passw|passphrase|secret|session|signature|token|dpop|api[-_]?key|[-_]key$",
    re.IGNORECASE,
)
_QUERY_KEYS: Final = frozenset({"code", "key", "otp", "pin", "pwd", "sig"})
"""Too common as words to be looked for within names."""


def is_sensitive(name: str) -> bool:
    """Whether a header or parameter of this name is likely to hold a credential."""
    return _WORDS.search(name) is not None


def redacted_query(query: str) -> str:
    """A query string with the values of sensitive parameters withheld, and otherwise as it came."""
    return "&".join(map(_redacted_pair, query.split("&"))) if "=" in query else query


def _redacted_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    plain = unquote_plus(name) if "%" in name or "+" in name else name
    hidden = equals and (is_sensitive(plain) or plain.lower() in _QUERY_KEYS)
    return f"{name}={REDACTED}" if hidden else pair
