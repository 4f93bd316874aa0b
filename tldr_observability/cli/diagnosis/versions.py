"""The versions of what matters here, as installed, and where they contradict each other."""

from __future__ import annotations

import platform
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import tldr_observability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Versions", "find"]

_SHOWN = ("tldr-observability", "logfire", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-contrib")
_SHOWN_HOSTS = ("fastapi", "starlette", "pydantic", "uvicorn")
_CHECKED = ("tldr-observability", "logfire", "opentelemetry-", *_SHOWN_HOSTS)
"""Whose requirements are checked: what starts so. The rest of the environment is `pip check`'s business."""


class Versions(NamedTuple):
    """What is installed."""

    shown: dict[str, str | None]
    """By name; None for what is not installed. `opentelemetry-contrib` is the train of the instrumentation packages."""
    installed: Mapping[str, str]
    """Every distribution by canonical name."""
    conflicts: list[str]
    """One sentence each."""


def find() -> Versions:
    """Read the metadata of the installed distributions; imports none of them."""
    found = _installed()
    installed = {name: distribution.version for name, distribution in found.items()}
    trains = _trains(installed)
    shown: dict[str, str | None] = {"python": platform.python_version()}
    shown |= {name: installed.get(name) for name in (*_SHOWN, *_SHOWN_HOSTS)}
    shown["tldr-observability"] = installed.get("tldr-observability", tldr_observability.__version__)
    shown["opentelemetry-contrib"] = ", ".join(sorted(trains)) or None
    return Versions(shown, installed, [*_mixed(trains), *_unmet(found)])


def _installed() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:  # remains of a broken uninstallation have neither
            found.setdefault(canonicalize_name(name), distribution)
    return found


def _is_contrib(name: str) -> bool:
    return name.startswith("opentelemetry-instrumentation") or name == "opentelemetry-util-http"


def _trains(installed: Mapping[str, str]) -> dict[str, list[str]]:
    trains: dict[str, list[str]] = {}
    for name, version in sorted(installed.items()):
        if _is_contrib(name):
            trains.setdefault(version, []).append(name)
    return trains


def _mixed(trains: Mapping[str, list[str]]) -> Iterator[str]:
    if len(trains) < 2:  # noqa: PLR2004 - one train is the way it should be
        return
    main = next((train for train, names in trains.items() if "opentelemetry-instrumentation" in names), max(trains))
    others = [(name, train) for train, names in trains.items() if train != main for name in names]
    yield (
        f"OpenTelemetry's contrib packages are of different trains: {main}, but "
        f"{', '.join(f'{name} {train}' for name, train in others)}; "
        f"type: pip install {' '.join(f'{name}=={main}' for name, _ in others)}"
    )


def _unmet(found: Mapping[str, Distribution]) -> Iterator[str]:
    for name, distribution in sorted(found.items()):
        if not name.startswith(_CHECKED):
            continue
        for requirement in _requirements(distribution):
            needed = found.get(canonicalize_name(requirement.name))
            if needed is None:
                yield f"{name} {distribution.version} needs {requirement.name}, which is not installed"
            elif not requirement.specifier.contains(needed.version, prereleases=True) and not (
                _is_contrib(name) and _is_contrib(canonicalize_name(requirement.name))  # said by _mixed
            ):
                yield (
                    f"{name} {distribution.version} needs {requirement.name}{requirement.specifier}, "
                    f"found {needed.version}; type: pip install '{requirement.name}{requirement.specifier}'"
                )


def _requirements(distribution: Distribution) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement
