"""Bounded, safe snapshots of the host's values, made when they are asked for: what changes later doesn't show.

Size, depth, breadth and time are bounded before anything walks a value, and none of the host's code runs for it, but
for one case: an exception's message is its own `str()`.
"""

from __future__ import annotations

from tldr_observability.capture.exceptions import exception_attributes, is_tame
from tldr_observability.capture.limits import DEFAULT_LIMITS, Limits
from tldr_observability.capture.spans import attribute, attributes, text

__all__ = ["DEFAULT_LIMITS", "Limits", "attribute", "attributes", "exception_attributes", "is_tame", "text"]
