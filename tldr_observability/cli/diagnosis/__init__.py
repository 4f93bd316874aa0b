"""How the observability of a process with this environment would stand: everything that `tldr-obs doctor` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tldr_observability.cli.diagnosis import secrets, versions
from tldr_observability.errors import ConfigurationError

if TYPE_CHECKING:
    from tldr_observability.cli.diagnosis import endpoints, origins, parts

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
    try:
        from tldr_observability.cli.diagnosis.examination import examine
    except ValueError as error:  # on import Logfire reads variables of its own, and refuses bad values so
        diagnosis.problems = [secrets.hide(f"Logfire can't be imported with these LOGFIRE_* variables: {error}")]
        diagnosis.problems += map(secrets.hide, _further_problems())
        diagnosis.bad_settings = True
        return diagnosis
    examine(diagnosis)
    return diagnosis


def _further_problems() -> tuple[str, ...]:
    """What else is wrong with the settings. They come without Logfire, once its pydantic plugin has failed to load."""
    try:
        from tldr_observability.settings import load

        load()
    except ConfigurationError as error:
        return error.problems
    except ValueError:
        pass  # Logfire again, which has been reported
    return ()
