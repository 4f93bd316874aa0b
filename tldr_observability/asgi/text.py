"""Text from outside, bounded and fit for an exporter."""

from __future__ import annotations

__all__ = ["bounded"]


def bounded(value: object, limit: int) -> str:
    """A piece of a request as text of at most `limit` characters that every exporter can encode; else empty."""
    if isinstance(value, bytes):
        return value[:limit].decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    text = value[:limit]
    # A server that decodes with surrogateescape leaves lone surrogates, which no exporter can encode.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
