"""Which integrations run in this process: those that a service names, and those whose library it imports."""

from __future__ import annotations

import logging as std_logging
import os
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

import wrapt

from tldr_observability import _record
from tldr_observability._setup.observability import Status
from tldr_observability.errors import ConfigurationError, MissingExtraError
from tldr_observability.guard import guarded
from tldr_observability.integrations import (
    botocore,
    celery,
    fastapi,
    httpx,
    logging,
    pydantic_ai,
    redis,
    sqlalchemy,
    system,
    threading,
)
from tldr_observability.integrations.table import INTEGRATIONS, Integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability._setup.observability import Observability
    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Things", "Wiring"]

_logger = std_logging.getLogger("tldr_observability")


class Things(NamedTuple):
    """What a service asks `setup()` to observe."""

    app: Any = None
    engines: tuple[Any, ...] = ()
    redis: tuple[Any, ...] = ()
    celery: Any = None

    def problems(self) -> Iterator[str]:
        """What of it can't be observed, a sentence each."""
        for refuse, thing in (
            *(((fastapi.refuse_unless_app, self.app),) if self.app is not None else ()),
            *((sqlalchemy.refuse_unless_engine, engine) for engine in self.engines),
            *((redis.refuse_unless_client, client) for client in self.redis),
            *(((celery.refuse_unless_app, self.celery),) if self.celery is not None else ()),
        ):
            try:
                refuse(thing)
            except ConfigurationError as error:
                yield from error.problems

    def named(self, integration: Integration) -> bool:
        """Whether the service gave something for this integration."""
        return bool({"sqlalchemy": self.engines, "redis": self.redis, "celery": self.celery}.get(integration.part))


class Wiring:
    """The integrations of one set-up.

    Args:
        observability: whose report tells of them.
    """

    def __init__(self, observability: Observability) -> None:
        self._observability = observability
        self._settings = observability.settings
        self._over = False

    def begin(self) -> None:
        """Start the integrations that need nothing of the service, each as soon as its library is imported."""
        for each in INTEGRATIONS:
            if not each.is_on(self._settings):
                self._note(each, on=False, detail=f"{each.variable} is false")
            elif lack := each.lack(_is_installed):
                self._note(each, on=False, detail=f"{lack}: {each.remedy}")
            elif each.by_hand:
                self._note(each, on=False, detail=f"nothing to observe: setup({each.by_hand})")
            elif not each.imported or any(module in sys.modules for module in each.imported):
                self._start(each)
            else:
                self._note(each, on=True, detail=f"from the import of {each.imported[0].partition('.')[0]} on")
                for module in each.imported:
                    wrapt.register_post_import_hook(partial(self._imported, each), module)

    def observe(self, things: Things) -> None:
        """Observe what the service names; again, too."""
        settings = self._settings
        if things.app is not None:
            self._observe_app(things.app)
        for part, on, work in (
            ("sqlalchemy", settings.sql_enabled, [(sqlalchemy.instrument, engine) for engine in things.engines]),
            ("redis", settings.redis_enabled, [(redis.instrument, client) for client in things.redis]),
            ("celery", settings.celery_enabled, [(_celery, things.celery)] if things.celery is not None else []),
        ):
            if on:
                for instrument, thing in work:
                    self._observability.note(Status(part, on=True, detail=instrument(thing)))

    def end(self) -> None:
        """Undo everything, for tests; libraries imported from now on are left alone."""
        self._over = True
        for each in (botocore, celery, httpx, logging, pydantic_ai, redis, sqlalchemy, system, threading):
            with guarded("undoing an integration"):
                each.uninstrument()

    def _observe_app(self, app: Any) -> None:
        settings = self._settings
        if not settings.fastapi_enabled:
            fastapi.silence_native_telemetry(app)
            self._observability.note(Status("fastapi", on=False, detail="LOGFIRE_FASTAPI_ENABLED is false"))
            return
        contrib = settings.fastapi_instrumentation == "contrib"
        fastapi.instrument(app, contrib=contrib, excluded_paths=settings.excluded_paths)
        who = "opentelemetry-instrumentation-fastapi, joined by our middleware" if contrib else "our middleware"
        self._observability.note(Status("fastapi", on=True, detail=f"server spans by {who}"))

    def _imported(self, each: Integration, _: Any) -> None:
        if not self._over:
            with guarded(f"observing {each.part}"):
                self._start(each)

    def _start(self, each: Integration) -> None:
        try:
            detail = _BY_THEMSELVES[each.part](self._settings)
        except Exception as error:
            self._note(each, on=False, detail=str(error))
            if each.is_asked_for(self._settings) and isinstance(error, (ConfigurationError, MissingExtraError)):
                raise
            _logger.warning("%s is not observed: %s", each.part, error)
        else:
            self._note(each, on=True, detail=detail)

    def _note(self, each: Integration, *, on: bool, detail: str) -> None:
        self._observability.note(Status(each.part, on=on, detail=detail))


def refuse_missing(settings: ObservabilitySettings, things: Things) -> None:
    """Refuse, before anything is changed, what is asked for by name and lacks its packages.

    Raises:
        MissingExtraError: with the extra to install.
    """
    for each in INTEGRATIONS:
        if not each.is_on(settings) or not each.lack(_is_installed):
            continue
        if things.named(each):
            raise MissingExtraError(f"setup({each.by_hand})", each.extra)
        if each.is_asked_for(settings):
            raise MissingExtraError(f"{each.variable}=true", each.extra)


def prefer_stable_names() -> None:
    """Have OpenTelemetry's instrumentors write the stable names; they read the variable when the first one starts."""
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")


def _is_installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


def _celery(app: Any) -> str:
    return celery.instrument(app, flush=_flush)


def _flush(timeout: float | None) -> bool:
    flush = _record.record.flush
    return flush(timeout) if flush is not None else True


_BY_THEMSELVES: dict[str, Callable[[ObservabilitySettings], str]] = {
    "s3": lambda _: botocore.instrument(),
    "httpx": lambda settings: httpx.instrument(propagate_to=settings.propagate_context_to),
    "threading": lambda _: threading.instrument(),
    "pydantic-ai": lambda settings: pydantic_ai.instrument(content=settings.pydantic_ai_content),
    "logging": lambda settings: logging.instrument(level=settings.log_level),
    "system metrics": lambda _: system.instrument(),
    "prometheus": lambda _: "by Observability.prometheus_app()",
}
