"""`setup()`: where the parts of the runtime are put together, once a process."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import tldr_observability
from tldr_observability import _record, instruments
from tldr_observability._setup.observability import Observability, Status
from tldr_observability.errors import ConfigurationError
from tldr_observability.redaction import Redactor

try:
    from tldr_observability.settings import ObservabilitySettings, load, preset_of
except ValueError as error:
    # Pydantic loads Logfire as its plugin with a program's first model, and Logfire reads its variables then.
    raise ConfigurationError(f"Logfire refuses one of the LOGFIRE_* variables: {error}") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tldr_observability._setup.wiring import Wiring
    from tldr_observability.export.redacted import Redaction
    from tldr_observability.integrations.prometheus import PrometheusEndpoint
    from tldr_observability.redaction import RedactionMatch

__all__ = ["Observability", "Status", "reset", "setup"]

# What the tracing package loads at first use, to be cheap to import: now rather than in the first request.
_LOADED_AT_SETUP = ("tldr_observability.capture", "tldr_observability.tracing.events")

_lock = threading.RLock()
_current: Observability | None = None
_wiring: Wiring | None = None


def setup(  # noqa: PLR0913 - what can be observed, each for itself
    settings: ObservabilitySettings | None = None,
    *,
    app: Any = None,
    engine: Any = None,
    engines: Iterable[Any] = (),
    redis: Any = None,
    celery: Any = None,
    redaction_callback: Callable[[RedactionMatch], str | None] | None = None,
    **overrides: Any,
) -> Observability:
    """Turn on observability for this process: tracing, metrics and logs, exported as the `LOGFIRE_*` variables say.

    Calling it again is fine: the same things are a no-op and new things are added. httpx, botocore (S3), pydantic-ai,
    threads and the system's metrics need no argument: they are observed where they are installed.

    Args:
        settings: settings made beforehand; by default they are read from the environment.
        app: a FastAPI or Starlette application to observe.
        engine: a SQLAlchemy engine to observe, sync or async.
        engines: several of them.
        redis: a redis-py client to observe, sync or async, or several in a list.
        celery: a Celery application whose tasks to observe, where they are sent and where they run.
        redaction_callback: is asked about each secret that is found, and returns what to leave in its place, or None.
        overrides: single settings by name, which win over `settings` and the environment: `sample_rate=0.1`.

    Returns:
        The handle to flush, shut down and report.

    Raises:
        ConfigurationError: a bad setting or argument (all of them are listed), or settings other than those in force.
        MissingExtraError: something was asked for whose library is not installed.
    """
    global _current, _wiring  # noqa: PLW0603 - one set-up a process
    # Not at the top: loading them costs a disabled service nothing.
    from tldr_observability._setup.wiring import Things, Wiring, refuse_missing

    things = Things(app, tuple(each for each in (engine, *engines) if each is not None), _several(redis), celery)
    with _lock:
        problems = list(things.problems())
        if _current is None:
            checked = _checked(settings, overrides, problems)
            if checked.enabled:
                refuse_missing(checked, things)
            _current = _start(checked, redaction_callback)
            _wiring = Wiring(_current)
            if checked.enabled:
                _wiring.begin()
        else:
            if problems:
                raise ConfigurationError(*problems)
            _refuse_changes(_current.settings, settings, overrides)
            if _current.settings.enabled:
                refuse_missing(_current.settings, things)
        if _current.settings.enabled and _wiring is not None:
            _wiring.observe(things)
        return _current


def reset() -> None:
    """Undo `setup()`, for tests: shut down without waiting for delivery, and forget everything."""
    global _current, _wiring  # noqa: PLW0603
    with _lock:
        if _wiring is not None:
            _wiring.end()
        if _current is not None:
            _current.shutdown(timeout=0.2)
        _current = _wiring = None
        instruments.reset()
        _record.reset()


def _several(things: Any) -> tuple[Any, ...]:
    if things is None:
        return ()
    return tuple(things) if isinstance(things, (list, tuple, set, frozenset)) else (things,)


def _checked(
    settings: ObservabilitySettings | None, overrides: Mapping[str, Any], problems: list[str]
) -> ObservabilitySettings:
    """Put the settings together, and report in one go what is wrong with them and with OpenTelemetry's variables."""
    from tldr_observability.export.destination import Destination, metric_interval

    made = None
    try:
        made = _settings(settings, overrides)
    except ConfigurationError as error:
        problems += error.problems
    if made is None or made.enabled:
        for read in (Destination.from_environment, metric_interval, lambda: made and _rules(made, None)):
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


def _rules(settings: ObservabilitySettings, callback: Callable[[RedactionMatch], str | None] | None) -> Redactor | None:
    return Redactor(patterns=settings.redaction_patterns, callback=callback) if settings.redaction_enabled else None


def _start(
    settings: ObservabilitySettings, redaction_callback: Callable[[RedactionMatch], str | None] | None
) -> Observability:
    record = _record.record
    if not settings.enabled:
        record.enabled, record.settings = False, settings
        observability = Observability(settings, None)
        observability.note(Status("everything", on=False, detail="LOGFIRE_ENABLED is false"))
        return observability
    # Not at the top: a disabled service needs nothing of it.
    from tldr_observability._setup.pipeline import Pipeline
    from tldr_observability._setup.wiring import prefer_stable_names
    from tldr_observability.export.redacted import Redaction

    for lazy in _LOADED_AT_SETUP:
        import_module(lazy)
    prefer_stable_names()
    rules = _rules(settings, redaction_callback)
    redaction = Redaction(rules) if rules else None
    endpoint = _prometheus_endpoint(redaction) if settings.prometheus_enabled else None
    pipeline = Pipeline(settings, tldr_observability.__version__, redaction=redaction, prometheus=endpoint)
    observability = Observability(settings, pipeline, endpoint)
    record.enabled, record.settings, record.slow_threshold = True, settings, settings.slow_threshold
    record.redacts = pipeline.is_alone
    record.flush = lambda timeout: pipeline.exit_flush() if timeout is None else pipeline.flush(timeout)
    return observability


def _prometheus_endpoint(redaction: Redaction | None) -> PrometheusEndpoint:
    from tldr_observability.integrations.prometheus import PrometheusEndpoint

    return PrometheusEndpoint(redact=redaction.metrics) if redaction else PrometheusEndpoint()
