"""The way of telemetry through this process: rooms on providers, and the moments at which they are flushed."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from tldr_observability._setup import providers
from tldr_observability._setup.observability import Status
from tldr_observability._setup.providers import Host
from tldr_observability._setup.signals import chain_sigterm
from tldr_observability.errors import ConfigurationError
from tldr_observability.export import self_metrics
from tldr_observability.export.budget import ExitBudget
from tldr_observability.export.destination import Destination
from tldr_observability.export.otel import (
    ContextLogProcessor,
    ContextSpanProcessor,
    RoomLogProcessor,
    RoomMetricReader,
    RoomSpanProcessor,
)
from tldr_observability.export.room import Room
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Pipeline", "destinations", "metric_interval"]

_METRIC_SECONDS = 60.0
_METRIC_SECONDS_TO_LOOPBACK = 5.0

_logger = logging.getLogger("tldr_observability")


class Pipeline:
    """Connects the program's telemetry with its destinations.

    Where the program has set up providers of its own before, the pipeline joins them; what can't be joined is said in
    the report and once in the log.
    """

    def __init__(self, settings: ObservabilitySettings, version: str) -> None:
        self._settings = settings
        self._budget = ExitBudget(settings.shutdown_timeout)
        self._ending = False
        self._taken_over = False
        self._host = providers.find_host()
        interval = metric_interval()
        self.rooms = [
            Room(
                destination,
                batch_size=settings.batch_size,
                flush_interval=settings.flush_interval,
                metric_interval=interval or (_METRIC_SECONDS_TO_LOOPBACK if destination.is_local else _METRIC_SECONDS),
                user_agent=f"tldr-observability/{version}",
            )
            for destination in destinations(settings, self._host)
        ]
        self._reading = self._readers()
        self._missing = self._connect()
        for room in self.rooms:
            room.start()
        self._sigterm_trouble = chain_sigterm(self.exit_flush, self.wake)
        atexit.register(self._note_exit)  # after logfire's and the SDK's hooks: it runs before them
        _after_fork(self)

    def _connect(self) -> list[str]:
        spans = [
            ContextSpanProcessor(),
            *(RoomSpanProcessor(r, self._sdk_flush, self._sdk_shutdown) for r in self.rooms),
        ]
        logs = [ContextLogProcessor(), *map(RoomLogProcessor, self.rooms)]
        readers = self._readers()
        if self._host is Host.NOBODY:
            providers.configure(self._settings, span_processors=spans, log_processors=logs, metric_readers=readers)
            missing = []
        else:
            missing = providers.join(spans, logs, readers)
            _logger.warning("%s", self._joined_message(missing))
        self_metrics.register(lambda: self.rooms)
        return missing

    def _readers(self) -> list[RoomMetricReader]:
        for room in self.rooms:
            room.metric_reader.on_shutdown = self.exit_flush
        return [room.metric_reader for room in self.rooms]

    def _joined_message(self, missing: list[str]) -> str:
        own = " and ".join(("sampling", "the console", *(["batching"] if self._host is Host.LOGFIRE_SENDING else [])))
        lacks = f" It has no provider for {' and '.join(missing)}, so these are not exported." if missing else ""
        how = "call setup() first" if self._host is Host.OPENTELEMETRY else "remove that call, setup() makes it"
        return f"setup() joined {self._host.value}: {own} are its business.{lacks} For setup() to decide all, {how}."

    # Flushing

    def flush(self, timeout: float) -> bool:
        """Send everything, at once for all destinations, within `timeout` seconds."""
        if self._host is Host.LOGFIRE_SENDING:
            return _within(providers.flush_logfire, timeout)
        return _all(self.rooms, Room.flush, timeout)

    def shutdown(self, timeout: float) -> bool:
        """Send everything and end, within `timeout` seconds."""
        self._ending = True
        atexit.unregister(self._note_exit)
        if self._host is Host.LOGFIRE_SENDING:
            return _within(providers.flush_logfire, timeout)
        return _all(self.rooms, Room.shutdown, timeout)

    def exit_flush(self) -> bool:
        """Flush because the process is about to end; all such flushes share one deadline."""
        return self._budget.spend(self.flush)

    def wake(self) -> None:
        """Have what waits delivered soon."""
        for room in self.rooms:
            room.wake()

    def _sdk_flush(self, timeout: float) -> bool:
        return self._budget.spend(self.flush, at_most=timeout)

    def _sdk_shutdown(self) -> None:
        """Run when the SDK shuts our span processor down: the process ends, or somebody replaced the providers."""
        if not self._ending:
            self._taken_over = True
            _logger.warning(
                "logfire.configure() was called after setup() and has replaced its pipeline: setup() exports nothing "
                "any more. Remove that call, or call it before setup()."
            )
        self._budget.spend(self.shutdown)

    def _note_exit(self) -> None:
        self._ending = True

    def after_fork_in_child(self) -> None:
        """Give the child metric readers and counts of its own; its rooms have started afresh by themselves."""
        self._budget = ExitBudget(self._settings.shutdown_timeout)
        for old, new in zip(self._reading, self._readers(), strict=True):
            providers.renew_reader(old, new)
        self._reading = self._readers()

    # Reporting

    def report(self) -> list[Status]:
        """Say how export stands."""
        return [self._export_status(), *self._further_statuses()]

    def _export_status(self) -> Status:
        if self._taken_over:
            return Status(
                "export", on=False, detail="logfire.configure() replaced our pipeline after setup(); remove that call"
            )
        if self._host is Host.LOGFIRE_SENDING:
            return Status("export", on=True, detail=self._joined_message([]))
        if not self.rooms and self._settings.write_tokens and not self._settings.send_to_logfire:
            why = "LOGFIRE_SEND_TO_LOGFIRE is false, as it is by default under pytest"
            return Status("export", on=False, detail=why)
        if not self.rooms:
            return Status(
                "export", on=False, detail="nothing to send to: set LOGFIRE_TOKEN, or OTEL_EXPORTER_OTLP_ENDPOINT"
            )
        troubles = [trouble for room in self.rooms if (trouble := str(room.trouble))]
        where = ", ".join(room.destination.name for room in self.rooms)
        return Status("export", on=not troubles, detail=" ".join(troubles) or f"to {where}")

    def _further_statuses(self) -> list[Status]:
        statuses = [
            Status(
                "flush at SIGTERM",
                on=not self._sigterm_trouble,
                detail=self._sigterm_trouble or "before the old handler",
            )
        ]
        if self._missing:
            detail = self._joined_message(self._missing)
            statuses.append(Status(" and ".join(self._missing), on=False, detail=detail))
        return statuses


def destinations(settings: ObservabilitySettings, host: Host) -> list[Destination]:
    """Where to send; nowhere that a pipeline which the program has set up itself sends to already."""
    if host is Host.LOGFIRE_SENDING:
        return []
    tokens = settings.write_tokens if settings.send_to_logfire else ()
    found = [Destination.logfire(settings.base_url or providers.logfire_url(token), token) for token in tokens]
    own = Destination.from_environment() if host is Host.NOBODY else None
    return [*found, own] if own else found


def metric_interval() -> float | None:
    """Read OpenTelemetry's variable, in milliseconds; None when it is not set."""
    value = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if not value:
        return None
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise ConfigurationError(f"OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds above 0, got {value!r}")
    return milliseconds / 1000


def _within(work: Callable[[float], bool], timeout: float) -> bool:
    """Run `work` in a thread of its own and stop waiting for it after `timeout` seconds."""
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(work(timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answer and answer[0])


def _all(rooms: list[Room], act: Callable[[Room, float], bool], timeout: float) -> bool:
    """Run `act` on every room with one deadline for all: they have been woken together and work side by side."""
    deadline = time.monotonic() + timeout
    for room in rooms:
        room.wake()
    answers = [act(room, max(deadline - time.monotonic(), 0.0)) for room in rooms]
    return all(answers)


def _after_fork(pipeline: Pipeline) -> None:
    reference = weakref.ref(pipeline)

    def in_child() -> None:
        alive = reference()
        if alive is not None:
            with guarded("starting afresh after a fork"):
                alive.after_fork_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
