"""Reading the environment as `setup()` would, and asking the endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability._setup import pipeline
from tldr_observability._setup.providers import Host
from tldr_observability.cli.diagnosis import endpoints, origins, parts, secrets
from tldr_observability.errors import ConfigurationError
from tldr_observability.export.destination import Destination, metric_interval
from tldr_observability.settings import ObservabilitySettings, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from tldr_observability.cli.diagnosis import Diagnosis

    T = TypeVar("T")

__all__ = ["examine"]


def examine(diagnosis: Diagnosis) -> None:
    """Fill in the diagnosis. Sets nothing up."""
    settings = _try(diagnosis, load)
    destinations = _destinations(diagnosis, settings)
    if settings is None or diagnosis.problems:
        diagnosis.bad_settings = True
        return
    diagnosis.settings, diagnosis.preset = origins.trace(settings), origins.preset_name(settings)
    diagnosis.parts = parts.look(settings, destinations, diagnosis.versions.installed)
    diagnosis.endpoints = endpoints.ask(destinations, _token_variable(settings))
    diagnosis.problems = [
        *(
            f"{part.status.part}: {part.status.detail}; type: {part.type_this}"
            for part in diagnosis.parts
            if not part.works
        ),
        *(f"{endpoint.name}: {endpoint.detail}; {endpoint.fix}" for endpoint in diagnosis.endpoints if not endpoint.ok),
        *diagnosis.versions.conflicts,
    ]


def _destinations(diagnosis: Diagnosis, settings: ObservabilitySettings | None) -> list[Destination]:
    """Where `setup()` would send, in a program that has set up nothing itself."""
    if settings is not None and not settings.enabled:
        return []
    _try(diagnosis, metric_interval)
    if settings is None:
        _try(diagnosis, Destination.from_environment)  # so that one run shows its problems too
        return []
    return _try(diagnosis, lambda: pipeline.destinations(settings, Host.NOBODY)) or []


def _try(diagnosis: Diagnosis, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except ConfigurationError as error:
        diagnosis.problems += map(secrets.hide, error.problems)
        return None


def _token_variable(settings: ObservabilitySettings) -> str:
    return "LOGFIRE_TOKEN" if settings.token else "LOGFIRE_API_KEY"
