"""The server side of HTTP: one span, the metrics and the context of every request and websocket."""

from __future__ import annotations

from tldr_observability.asgi.middleware import ObservabilityMiddleware

__all__ = ["ObservabilityMiddleware"]
