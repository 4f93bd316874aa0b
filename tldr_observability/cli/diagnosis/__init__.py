"""How the observability of a process with this environment would stand: everything that `tldr-obs doctor` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tldr_observability._setup import pipeline
from tldr_observability._setup.providers import Host
from tldr_observability.cli.diagnosis import endpoints, origins, parts, secrets, versions
from tldr_observability.errors import ConfigurationError
from tldr_observability.export.destination import Destination
from tldr_observability.settings import ObservabilitySettings, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Diagnosis", "diagnose"]

_BROKEN = 1
_BAD_SETTINGS = 2


@dataclass
class Diagnosis:
    """What was found."""

    versions: versions.Versions
    settings: list[origins.Setting] = field(default_factory=list)
    preset: str = ""
    parts: list[parts.Part] = field(default_factory=list)
    endpoints: list[endpoints.Endpoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One sentence each; empty when all that is configured works."""
    bad_settings: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 when something does not work, 2 for bad settings."""
        if self.bad_settings:
            return _BAD_SETTINGS
        return _BROKEN if self.problems else 0

    def document(self) -> dict[str, Any]:
        """The findings as JSON has them; the keys are always the same."""
        return {
            "settings": [setting._asdict() for setting in self.settings],
            "parts": [{**part.status._asdict(), "turn_on": part.type_this} for part in self.parts],
            "versions": self.versions.shown,
            "endpoints": [endpoint._asdict() for endpoint in self.endpoints],
            "problems": self.problems,
            "ok": not self.problems,
        }


def diagnose() -> Diagnosis:
    """Read the environment as `setup()` would, and ask the endpoints. Sets nothing up."""
    diagnosis = Diagnosis(versions.find())
    settings = _try(diagnosis, load)
    destinations = _destinations(diagnosis, settings)
    if settings is None or diagnosis.problems:
        diagnosis.bad_settings = True
        return diagnosis
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
    return diagnosis


def _destinations(diagnosis: Diagnosis, settings: ObservabilitySettings | None) -> list[Destination]:
    """Where `setup()` would send, in a program that has set up nothing itself."""
    if settings is not None and not settings.enabled:
        return []
    _try(diagnosis, pipeline.metric_interval)
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
