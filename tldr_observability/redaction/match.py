"""What was found, and what stands in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["REDACTED", "RedactionMatch", "Withhold"]

REDACTED: Final = "[redacted]"
"""What stands in the place of a secret."""

Withhold = Callable[[str, str], str]
"""Given a secret and the rule that found it, what stands in its place."""


class RedactionMatch(NamedTuple):
    """A secret that was found, as a callback sees it.

    Attributes:
        key: the attribute that holds it; empty for names, messages and descriptions.
        value: the secret. Don't store it, and don't log it.
        pattern: what found it: the name that it goes by (`password`), its shape (`jwt`), or the regular expression.
    """

    key: str
    value: str
    pattern: str
