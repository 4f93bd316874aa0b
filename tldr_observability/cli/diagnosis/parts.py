"""What `setup()` would turn on with these settings, what not, why, and what to type for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from tldr_observability._setup.observability import Status
from tldr_observability.cli.diagnosis import secrets
from tldr_observability.export.destination import SIGNALS
from tldr_observability.integrations.table import INTEGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tldr_observability.export.destination import Destination
    from tldr_observability.integrations.table import Integration
    from tldr_observability.settings import ObservabilitySettings

__all__ = ["SET_ENDPOINT", "SET_TOKEN", "Part", "look"]

SET_TOKEN = "export LOGFIRE_TOKEN=..."  # noqa: S105 - what to type
SET_ENDPOINT = "export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"

_CONTRIB = "opentelemetry-instrumentation-fastapi"
_EXTRA = "pip install 'tldr-observability[fastapi]'"


class Part(NamedTuple):
    """One part of the set-up."""

    status: Status
    type_this: str
    """What to type to turn it on, where it is off; empty where it is on."""
    works: bool = True
    """False where it is asked for and can't be had."""


def look(
    settings: ObservabilitySettings, destinations: Sequence[Destination], installed: Mapping[str, str]
) -> list[Part]:
    """Look at each part.

    Args:
        settings: those in force.
        destinations: where `setup()` would send.
        installed: versions of the installed distributions by name.
    """
    parts = [
        _export(settings, destinations),
        *_signals(destinations),
        _fastapi(settings, installed),
        *(_library(each, settings, installed) for each in INTEGRATIONS),
        *_options(settings),
    ]
    if settings.enabled:
        return parts
    return [
        Part(Status(part.status.part, on=False, detail="LOGFIRE_ENABLED is false"), "export LOGFIRE_ENABLED=true")
        for part in parts
    ]


def _export(settings: ObservabilitySettings, destinations: Sequence[Destination]) -> Part:
    if destinations:
        return _on("export", f"to {_hosts(destinations)}")
    if settings.write_tokens and not settings.send_to_logfire:
        return _off(
            "export", "there is a token, but LOGFIRE_SEND_TO_LOGFIRE is false", "export LOGFIRE_SEND_TO_LOGFIRE=true"
        )
    if settings.base_url:
        return _off("export", "LOGFIRE_BASE_URL is set, but there is no token", SET_TOKEN)
    return _off("export", "no token, no OTLP endpoint", SET_TOKEN)


def _signals(destinations: Sequence[Destination]) -> Iterator[Part]:
    for signal in SIGNALS:
        takers = [destination for destination in destinations if signal in destination.urls]
        if takers:
            yield _on(signal, f"to {_hosts(takers)}")
        elif destinations:
            variable = f"OTEL_{signal.upper()}_EXPORTER"
            value = os.environ.get(variable)
            yield (
                _off(signal, f"{variable} is {value}", f"unset {variable}")
                if value and value != "otlp"
                else _off(signal, "no endpoint for them", f"export OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT=...")
            )
        else:
            yield _off(signal, "export is off", SET_TOKEN)


def _fastapi(settings: ObservabilitySettings, installed: Mapping[str, str]) -> Part:
    library = next((f"{name} {installed[name]}" for name in ("fastapi", "starlette") if name in installed), None)
    if not settings.fastapi_enabled:
        return _off("fastapi", "LOGFIRE_FASTAPI_ENABLED is false", "export LOGFIRE_FASTAPI_ENABLED=true")
    if library is None:
        return _off("fastapi", "neither fastapi nor starlette is installed", _EXTRA)
    contrib = installed.get(_CONTRIB)
    if settings.fastapi_instrumentation == "middleware":
        unused = f"contrib instrumentation {contrib} not used" if contrib else "without contrib instrumentation"
        return _on("fastapi", f"{library}, our middleware by setup(app=app); {unused}")
    if contrib:
        return _on("fastapi", f"{library}, contrib instrumentation {contrib} and our middleware by setup(app=app)")
    reason = f"LOGFIRE_FASTAPI_INSTRUMENTATION is contrib, and {_CONTRIB} is not installed"
    return _off("fastapi", reason, _EXTRA)._replace(works=False)


def _library(each: Integration, settings: ObservabilitySettings, installed: Mapping[str, str]) -> Part:
    if not each.is_on(settings):
        return _off(each.part, f"{each.variable} is false", f"export {each.variable}=true")
    if lack := each.lack(installed.__contains__):
        return _off(each.part, lack, each.remedy)._replace(works=not each.is_asked_for(settings))
    found = ", ".join(f"{name} {installed[name]}" for name in (*each.libraries, *each.needs) if name in installed)
    how = f"by setup({each.by_hand})" if each.by_hand else "by itself"
    return _on(each.part, f"{found}, {how}" if found else how)


def _options(settings: ObservabilitySettings) -> Iterator[Part]:
    console, headers, body = settings.console_enabled, settings.capture_headers, settings.capture_body
    rate, slow = settings.sample_rate, settings.slow_threshold
    yield (
        _on("console", f"prints spans and logs from level {settings.log_level}")
        if console
        else _off("console", "prints nothing", "export LOGFIRE_CONSOLE_ENABLED=true")
    )
    yield _on("sampling", f"{rate * 100:g} % of the traces are kept")
    yield (
        _on("slow calls", f"decorated calls over {slow:g} s are marked and logged")
        if slow is not None
        else _off("slow calls", "none is marked", "export LOGFIRE_SLOW_THRESHOLD=0.5")
    )
    yield (
        _on("redaction", _redaction(settings))
        if settings.redaction_enabled
        else _off("redaction", "secrets leave as they are", "export LOGFIRE_REDACTION_ENABLED=true")
    )
    yield (
        _on("custom metrics", "what the service records through metrics")
        if settings.custom_metrics_enabled
        else _off("custom metrics", "metrics records nothing", "export LOGFIRE_CUSTOM_METRICS_ENABLED=true")
    )
    yield (
        _on("capture headers", "on server spans; sensitive values are withheld")
        if headers
        else _off("capture headers", "not on spans", "export LOGFIRE_CAPTURE_HEADERS=true")
    )
    yield (
        _on("capture body", "the first 10 kB of textual bodies on server spans")
        if body
        else _off("capture body", "not on spans", "export LOGFIRE_CAPTURE_BODY=true")
    )


def _redaction(settings: ObservabilitySettings) -> str:
    own = len(settings.redaction_patterns)
    return "by name and by shape" + (f", and {own} patterns of your own" if own else "")


def _hosts(destinations: Sequence[Destination]) -> str:
    return ", ".join(
        dict.fromkeys(secrets.host(url) for destination in destinations for url in destination.urls.values())
    )


def _on(part: str, detail: str) -> Part:
    return Part(Status(part, on=True, detail=detail), "")


def _off(part: str, detail: str, type_this: str) -> Part:
    return Part(Status(part, on=False, detail=detail), type_this)
