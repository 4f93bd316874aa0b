"""`setup()`: where the parts of the runtime are put together, once a process."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import tldr_observability
from tldr_observability import _record
from tldr_observability._setup.observability import Observability, Status
from tldr_observability.errors import ConfigurationError
from tldr_observability.integrations.fastapi import instrument, refuse_unless_app

try:
    from tldr_observability.settings import ObservabilitySettings, load, preset_of
except ValueError as error:
    # Pydantic loads Logfire as its plugin with a program's first model, and Logfire reads its variables then.
    raise ConfigurationError(f"Logfire refuses one of the LOGFIRE_* variables: {error}") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Observability", "Status", "reset", "setup"]

# What the tracing package loads at first use, to be cheap to import: now rather than in the first request.
_LOADED_AT_SETUP = ("tldr_observability.capture", "tldr_observability.tracing.events")

_lock = threading.RLock()
_current: Observability | None = None


def setup(settings: ObservabilitySettings | None = None, *, app: Any = None, **overrides: Any) -> Observability:
    """Turn on observability for this process: tracing, metrics and logs, exported as the `LOGFIRE_*` variables say.

    Calling it again is fine: the same things are a no-op and a new `app` is added.

    Args:
        settings: settings made beforehand; by default they are read from the environment.
        app: a FastAPI or Starlette application to observe.
        overrides: single settings by name, which win over `settings` and the environment: `sample_rate=0.1`.

    Returns:
        The handle to flush, shut down and report.

    Raises:
        ConfigurationError: a bad setting (all of them are listed), or settings other than those in force.
        MissingExtraError: something was asked for whose library is not installed.
    """
    global _current  # noqa: PLW0603 - one set-up a process
    with _lock:
        if app is not None:
            refuse_unless_app(app)
        if _current is None:
            _current = _start(_checked(settings, overrides))
        else:
            _refuse_changes(_current.settings, settings, overrides)
        if app is not None:
            _observe_app(_current, app)
        return _current


def reset() -> None:
    """Undo `setup()`, for tests: shut down without waiting for delivery, and forget everything."""
    global _current  # noqa: PLW0603
    with _lock:
        if _current is not None:
            _current.shutdown(timeout=0.2)
        _current = None
        _record.reset()


def _checked(settings: ObservabilitySettings | None, overrides: Mapping[str, Any]) -> ObservabilitySettings:
    """Put the settings together, and report in one go what is wrong with them and with OpenTelemetry's variables."""
    from tldr_observability.export.destination import Destination, metric_interval

    problems: list[str] = []
    made = None
    try:
        made = _settings(settings, overrides)
    except ConfigurationError as error:
        problems += error.problems
    if made is None or made.enabled:
        for read in (Destination.from_environment, metric_interval):
            try:
                read()
            except ConfigurationError as error:
                problems += error.problems
    if made is None or problems:
        raise ConfigurationError(*problems)
    return made


def _settings(settings: ObservabilitySettings | None, overrides: Mapping[str, Any]) -> ObservabilitySettings:
    if settings is None:
        return load(overrides)
    if not isinstance(settings, ObservabilitySettings):
        hint = "; did you mean setup(app=...)?" if hasattr(settings, "build_middleware_stack") else ""
        raise ConfigurationError(f"settings: expected ObservabilitySettings, got {type(settings).__name__}{hint}")
    if not overrides:
        return settings
    given = settings.model_dump(include=settings.model_fields_set)
    if "environment" in overrides:  # what the other environment's preset gave goes with it
        preset = preset_of(settings.environment)
        given = {name: value for name, value in given.items() if name not in preset or preset[name] != value}
    return load({**given, **overrides})


def _refuse_changes(
    current: ObservabilitySettings, settings: ObservabilitySettings | None, overrides: Mapping[str, Any]
) -> None:
    if settings is None and not overrides:
        return
    wanted = _settings(settings, overrides)
    names = ObservabilitySettings.model_fields if settings is not None else overrides
    problems = [
        f"{name}: setup() ran before with {getattr(current, name)!r}, now it is given {getattr(wanted, name)!r}"
        for name in names
        if getattr(current, name) != getattr(wanted, name)
    ]
    if problems:
        raise ConfigurationError(*problems)


def _start(settings: ObservabilitySettings) -> Observability:
    record = _record.record
    if not settings.enabled:
        record.enabled, record.settings = False, settings
        observability = Observability(settings, None)
        observability.note(Status("everything", on=False, detail="LOGFIRE_ENABLED is false"))
        return observability
    # Not at the top: a disabled service needs nothing of it.
    from tldr_observability._setup.pipeline import Pipeline

    for lazy in _LOADED_AT_SETUP:
        import_module(lazy)
    pipeline = Pipeline(settings, tldr_observability.__version__)
    observability = Observability(settings, pipeline)
    record.enabled, record.settings, record.slow_threshold = True, settings, settings.slow_threshold
    record.flush = lambda timeout: pipeline.exit_flush() if timeout is None else pipeline.flush(timeout)
    return observability


def _observe_app(observability: Observability, app: Any) -> None:
    settings = observability.settings
    if not settings.enabled:
        return
    contrib = settings.fastapi_instrumentation == "contrib"
    instrument(app, contrib=contrib, excluded_paths=settings.excluded_paths)
    who = "opentelemetry-instrumentation-fastapi, joined by our middleware" if contrib else "our middleware"
    observability.note(Status("fastapi", on=True, detail=f"server spans by {who}"))
