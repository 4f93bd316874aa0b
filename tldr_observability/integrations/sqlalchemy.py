"""SQLAlchemy engines, sync and async: spans and durations of their statements, and the use of their pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tldr_observability import instruments
from tldr_observability.catalogue import stores
from tldr_observability.errors import ConfigurationError, MissingExtraError
from tldr_observability.integrations import pools

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tldr_observability.integrations.engines import EngineObserver

__all__ = ["instrument", "refuse_unless_engine", "uninstrument"]

_observers: list[EngineObserver] = []
_stop_readings: list[Callable[[], None]] = []


def instrument(engine: Any) -> str:
    """Observe the statements and the pool of an engine from now on; a second call for the same one does nothing.

    Args:
        engine: an `Engine` or `AsyncEngine`. It is held weakly.

    Returns:
        What is observed, in a few words.

    Raises:
        ConfigurationError: `engine` is something else.
        MissingExtraError: SQLAlchemy or its OpenTelemetry instrumentation is not installed.
    """
    refuse_unless_engine(engine)
    try:
        from tldr_observability.integrations.engines import EngineObserver
    except ImportError:
        raise MissingExtraError("setup(engine=...)", "sqlalchemy") from None
    sync = getattr(engine, "sync_engine", engine)
    alive = [each for each in _observers if each.engine() is not None]
    if not any(each.engine() is sync for each in alive):
        alive.append(EngineObserver(sync, instruments.automatic(stores.OPERATION_DURATION)))
    _observers[:] = alive
    if not _stop_readings:
        _stop_readings.append(instruments.observe(stores.CONNECTION_COUNT, lambda: pools.used_and_idle(_engines())))
        _stop_readings.append(instruments.observe(stores.CONNECTION_MAX, lambda: pools.limits(_engines())))
    return f"statements and pool of {len(alive)} engine{'s' if len(alive) > 1 else ''}, without parameters"


def refuse_unless_engine(engine: Any) -> None:
    """Refuse what `instrument` can't observe.

    Raises:
        ConfigurationError: `engine` is no engine of SQLAlchemy's.
        MissingExtraError: SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy import Engine
    except ImportError:
        raise MissingExtraError("setup(engine=...)", "sqlalchemy") from None
    if not isinstance(getattr(engine, "sync_engine", engine), Engine):
        raise ConfigurationError(
            f"engine: expected a SQLAlchemy Engine or AsyncEngine, got {type(engine).__name__}; "
            "give what create_engine() or create_async_engine() returned"
        )


def uninstrument() -> None:
    """Leave every engine as it was; for tests."""
    while _stop_readings:
        _stop_readings.pop()()
    for observer in _observers:
        observer.stop()
    _observers.clear()


def _engines() -> list[Engine]:
    return [engine for each in _observers if (engine := each.engine()) is not None]
