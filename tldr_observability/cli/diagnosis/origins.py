"""Every setting with its value and where that came from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import AliasChoices, SecretStr

from tldr_observability.cli.diagnosis import secrets
from tldr_observability.settings import PRESETS, ObservabilitySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Setting", "preset_name", "trace"]


class Setting(NamedTuple):
    """A setting in force. Secrets show only that they are set."""

    name: str
    value: Any
    """As JSON has it."""
    source: str
    """`environment`, `preset` or `default`."""
    variable: str
    """The variable that it was read from, else the one to set."""

    def origin(self, preset: str) -> str:
        """Where the value came from, for people."""
        return {"environment": self.variable, "preset": f"preset {preset}"}.get(self.source, self.source)


def trace(settings: ObservabilitySettings) -> list[Setting]:
    """Trace each of `settings`, made from the environment, back to where it came from."""
    present = {name.upper() for name, value in os.environ.items() if value}
    return list(_rows(settings, present))


def preset_name(settings: ObservabilitySettings) -> str:
    """The preset in force."""
    return settings.environment if settings.environment in PRESETS else "production"


def _rows(settings: ObservabilitySettings, present: set[str]) -> Iterator[Setting]:
    preset = PRESETS[preset_name(settings)]
    for name, field in ObservabilitySettings.model_fields.items():
        alias = field.validation_alias
        variables = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
        read = next((variable for variable in variables if variable in present), None)
        source = "environment" if read else "preset" if name in preset else "default"
        yield Setting(name, _shown(getattr(settings, name)), source, read or variables[0])


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return secrets.describe(value.get_secret_value())
    if isinstance(value, str):
        return secrets.hide(value)
    return list(value) if isinstance(value, tuple) else value
