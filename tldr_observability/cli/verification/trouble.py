"""Why nothing could be verified."""

from __future__ import annotations

__all__ = ["CannotRunError"]


class CannotRunError(Exception):
    """The checklist can't be run; the message says why, and what to type next."""
