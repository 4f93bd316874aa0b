"""What importing the package loads; `tests/benchmarks/import_cost.py` prints what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

SPINE = "from tldr_observability import traced_service_method, metrics, span"
HEAVY = ("asyncio", "fastapi", "http.client", "logfire", "opentelemetry.sdk", "pydantic", "requests")
HEAVY += ("starlette", "urllib3", "wrapt")


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.fixture(scope="module")
def api() -> set[str]:
    """What OpenTelemetry's API loads by itself."""
    return loaded_by("import opentelemetry.trace")


@pytest.fixture(scope="module")
def spine() -> set[str]:
    return loaded_by(SPINE)


@pytest.mark.parametrize("module", HEAVY)
def test_decorating_a_function_loads_no_heavy_library(module: str, api: set[str], spine: set[str]) -> None:
    """A module full of decorated functions can be imported anywhere at about the price of OpenTelemetry's API."""
    assert module not in spine - api


def test_no_library_is_loaded_beyond_the_api(api: set[str], spine: set[str]) -> None:
    """Whatever else is installed stays unloaded: of what isn't ours, only OpenTelemetry's API is there."""
    packages = {name.partition(".")[0] for name in spine - api} - set(sys.stdlib_module_names)

    assert packages <= {"tldr_observability", "opentelemetry"}


def test_importing_the_package_itself_loads_no_library() -> None:
    """`import tldr_observability` costs nothing until a name is asked for."""
    packages = {name.partition(".")[0] for name in loaded_by("import tldr_observability")}

    assert "opentelemetry" not in packages
    assert "logfire" not in packages


@pytest.mark.parametrize("name", ["ObservabilityMiddleware", "set_correlation_id", "ConfigurationError", "metrics"])
def test_the_middleware_and_the_context_need_no_sdk(name: str) -> None:
    """What speaks OpenTelemetry's API works in a program that has another SDK, or none."""
    loaded = loaded_by(f"from tldr_observability import {name}")

    assert loaded.isdisjoint({"logfire", "pydantic", "opentelemetry.sdk", "fastapi", "starlette"})
