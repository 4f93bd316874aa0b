"""Whether a value under a secret's name tells nothing of the secret."""

from __future__ import annotations

from tldr_observability.redaction.names import COUNT, WEAK
from tldr_observability.redaction.values import is_number, is_placeholder, is_state

__all__ = ["tells_nothing"]


def tells_nothing(value: str, decision: int) -> bool:
    """Whether it is a placeholder or a truth, a number where a count is named, a state where one may be."""
    return (
        is_placeholder(value)
        or value in {"true", "false", "True", "False"}
        or (decision == COUNT and is_number(value))
        or (decision == WEAK and is_state(value))
    )
