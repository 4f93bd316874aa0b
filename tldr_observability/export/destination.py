"""Where telemetry goes: the URLs of one backend and the headers it wants."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tldr_observability.errors import ConfigurationError
from tldr_observability.settings import fits_in_a_header, http_url_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OTLP_ENDPOINT_VARIABLES", "SIGNALS", "Destination", "metric_interval"]

SIGNALS = ("traces", "logs", "metrics")

OTLP_ENDPOINT_VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT" for signal in SIGNALS),
)
"""OpenTelemetry's variables that name an OTLP backend of one's own."""


@dataclass(frozen=True)
class Destination:
    """One backend that takes OTLP/HTTP with protobuf bodies."""

    name: str
    """How messages and metrics call it."""
    urls: Mapping[str, str]
    """The address for each of the signals `traces`, `logs` and `metrics` that it takes."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request; they hold the token and are never shown."""
    delta: bool = True
    """Counters and histograms are sent as what was added since the last export (Logfire's way), not since the start."""
    token_variable: str = ""
    """The variable to check when the backend refuses the credentials."""

    @classmethod
    def logfire(cls, base_url: str, token: str) -> Destination:
        """A Logfire project, or a backend that speaks like Logfire."""
        host = urlsplit(base_url).netloc
        return cls(
            name=host,
            urls={signal: f"{base_url.rstrip('/')}/v1/{signal}" for signal in SIGNALS},
            headers={"Authorization": token},
            token_variable="LOGFIRE_TOKEN",  # noqa: S106 - the variable's name
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Destination | None:
        """The backend that OpenTelemetry's `OTEL_EXPORTER_OTLP_*` variables name, or None when they name none.

        Raises:
            ConfigurationError: an endpoint is not an http(s) URL, or a protocol is asked for that is not http/protobuf.
        """
        environ = os.environ if environ is None else environ
        urls: dict[str, str] = {}
        problems: list[str] = []
        for signal in SIGNALS:
            if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() not in ("otlp", ""):
                continue
            for variable, path in (
                (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", ""),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", f"/v1/{signal}"),
            ):
                if value := environ.get(variable, "").strip():
                    if (problem := http_url_problem(value)) is not None:
                        problems.append(f"{variable}: {problem}")
                    urls[signal] = f"{value.rstrip('/')}{path}" if path else value
                    break
        protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
        if urls and protocol not in ("", "http/protobuf"):
            problems.append(f"OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, got {protocol!r}")
        headers = _parse_headers(environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), problems) if urls else {}
        if problems:
            raise ConfigurationError(*dict.fromkeys(problems))
        if not urls:
            return None
        temporality = environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower()
        return cls(
            name=urlsplit(next(iter(urls.values()))).netloc,
            urls=urls,
            headers=headers,
            delta=temporality == "delta",
            token_variable="OTEL_EXPORTER_OTLP_HEADERS",  # noqa: S106 - the variable's name
        )

    @property
    def is_local(self) -> bool:
        """Whether the backend runs on this machine."""
        host = urlsplit(next(iter(self.urls.values()))).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


def metric_interval(environ: Mapping[str, str] | None = None) -> float | None:
    """Read OpenTelemetry's interval between collections, in seconds; None when it is not set.

    Raises:
        ConfigurationError: it is not a number of milliseconds.
    """
    value = (os.environ if environ is None else environ).get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if not value:
        return None
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise ConfigurationError(f"OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds above 0, got {value!r}")
    return milliseconds / 1000


def _parse_headers(text: str, problems: list[str]) -> dict[str, str]:
    """Read `key=value,key=value`, values percent-encoded, as OpenTelemetry specifies."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    headers = {key.strip().lower(): unquote(value.strip()) for key, _, value in pairs}
    problems.extend(
        f"OTEL_EXPORTER_OTLP_HEADERS: expected visible ASCII characters, got others in the header {name!r}"
        for name, value in headers.items()
        if not fits_in_a_header(name + value)
    )
    return headers
