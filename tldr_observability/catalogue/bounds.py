"""Bounds of histograms' buckets, for readers without exponential histograms."""

from __future__ import annotations

from typing import Final

REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration"""

STORE_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""https://opentelemetry.io/docs/specs/semconv/db/database-metrics/#metric-dbclientoperationduration"""

JOB_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Background work: from a blink to an hour."""

TRANSFER_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""What ends in a moment or moves a large file."""

STREAM_SECONDS: Final = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0)
"""A stream: from a few seconds to a day."""

SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""A figure between 0 and 1."""

BODY_BYTES: Final = tuple(float(4**power) for power in range(4, 14))
"""From 256 bytes to 64 MiB."""

AI_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/#metric-gen_aiclientoperationduration"""

AI_TOKENS: Final = tuple(float(4**power) for power in range(14))
"""https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/#metric-gen_aiclienttokenusage"""

AI_USD: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""One call of a model: from a hundredth of a cent to ten dollars."""
