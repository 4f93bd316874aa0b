"""Metrics of a service's own: OpenTelemetry instruments that can be made at import and start to count at `setup()`."""

from __future__ import annotations

from tldr_observability.instruments.facade import Metrics

__all__ = ["Metrics", "metrics"]

metrics = Metrics()
