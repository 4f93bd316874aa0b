"""How much of the host's values a span or log record may carry."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DEFAULT_LIMITS", "Limits"]


class Limits(NamedTuple):
    """The bounds of a snapshot; whatever lies beyond one of them is counted or named, not copied."""

    depth: int = 5
    """Containers inside each other; a deeper one is named with its size."""
    breadth: int = 64
    """Items of one container; further ones are counted."""
    text: int = 8_192
    """Characters of one string."""
    total: int = 32_768
    """Characters of one value's JSON."""
    span: int = 131_072
    """Characters of all attributes of one span together."""
    seconds: float = 0.010
    """Time for one value, or for all attributes of one span. Looked at every 32 values, so that a thread that lost the
    processor for a moment doesn't lose its small values."""


DEFAULT_LIMITS: Final = Limits()
