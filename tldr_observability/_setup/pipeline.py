"""The way of telemetry through this process: rooms on providers, and the moments at which they are flushed."""

from __future__ import annotations

import atexit
import logging
import os
import threading
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
    RoomSpanProcessor,
)
from tldr_observability.export.room import Room
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Pipeline"]

_METRIC_SECONDS = 60.0
_METRIC_SECONDS_TO_LOOPBACK = 5.0

_logger = logging.getLogger("tldr_observability")


class Pipeline:
    """Connects the program's telemetry with its destinations.

    Where the program has set up providers of its own before, the pipeline joins them; what can't be joined is said in the
    report and once in the log.
    """

    def __init__(self, settings: ObservabilitySettings, version: str) -> None:
        self._settings = settings
        self._budget = ExitBudget(settings.shutdown_timeout)
        self._ending = False
        self._taken_over = False
        self._host = providers.find_host()
        interval = _metric_interval()
        self.rooms = [
            Room(
                destination,
                batch_size=settings.batch_size,
                flush_interval=settings.flush_interval,
                metric_interval=interval
                or (_METRIC_SECONDS_TO_LOOPBACK if destination.is_local else _METRIC_SECONDS),
                user_agent=f"tldr-observability/{version}",
            )
            for destination in _destinations(settings, self._host)
        ]
        self._unjoined = self._connect()
        for room in self.rooms:
            room.start()
        self._sigterm_trouble = chain_sigterm(self.exit_flush, self.wake)
        atexit.register(self._note_exit)  # after logfire's and the SDK's hooks: it runs before them
        _after_fork(self)

    def _connect(self) -> list[str]:
        spans = [ContextSpanProcessor(), *(RoomSpanProcessor(r, self._sdk_flush, self._sdk_shutdown) for r in self.rooms)]
        logs = [ContextLogProcessor(), *map(RoomLogProcessor, self.rooms)]
        if self._host is Host.NOBODY:
            self._register_readers()
            readers = [room.metric_reader for room in self.rooms]
            providers.configure(self._settings, span_processors=spans, log_processors=logs, metric_readers=readers)
            self_metrics.register(lambda: self.rooms)
            return []
        unjoined = providers.join(spans, logs)
        message = self._joined_message(unjoined)
        _logger.warning("%s", message)
        return unjoined

    def _register_readers(self) -> None:
        for room in self.rooms:
            room.metric_reader.on_shutdown = self.exit_flush

    def _joined_message(self, unjoined: list[str]) -> str:
        how = "remove that call: setup() makes it" if self._host is not Host.OPENTELEMETRY else "call setup() first"
        if self._host is Host.LOGFIRE_SENDING:
            return (
                f"Telemetry goes out through {self._host.value} and ran before setup(); sampling, batching and the "
                f"console are its business. For setup() to decide them, {how}."
            )
        return (
            f"setup() joined {self._host.value}: {' and '.join(unjoined)} can't be joined and are not exported by us; "
            f"sampling and the console are its business. For setup() to do all of it, {how}."
        )

    # Flushing

    def flush(self, timeout: float) -> bool:
        """Send everything, at once for all destinations, within `timeout` seconds."""
        if self._host is Host.LOGFIRE_SENDING:
            return _within(providers.flush_logfire, timeout)
        return _all(self.rooms, lambda room: room.flush(timeout))

    def shutdown(self, timeout: float) -> bool:
        """Send everything and end, within `timeout` seconds."""
        self._ending = True
        if self._host is Host.LOGFIRE_SENDING:
            return _within(providers.flush_logfire, timeout)
        return _all(self.rooms, lambda room: room.shutdown(timeout))

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
        if self._host is Host.NOBODY and not self._ending and not self._taken_over:
            self._register_readers()
            providers.renew_metrics([room.metric_reader for room in self.rooms])

    # Reporting

    def report(self) -> list[Status]:
        """Say how export stands."""
        return [self._export_status(), *self._further_statuses()]

    def _export_status(self) -> Status:
        if self._taken_over:
            return Status("export", False, "logfire.configure() replaced our pipeline after setup(); remove that call")
        if self._host is Host.LOGFIRE_SENDING:
            return Status("export", True, self._joined_message([]))
        if not self.rooms:
            return Status("export", False, "nothing to send to: set LOGFIRE_TOKEN, or OTEL_EXPORTER_OTLP_ENDPOINT")
        troubles = [trouble for room in self.rooms if (trouble := str(room.trouble))]
        where = ", ".join(room.destination.name for room in self.rooms)
        return Status("export", not troubles, " ".join(troubles) or f"to {where}")

    def _further_statuses(self) -> list[Status]:
        statuses = [
            Status("flush at SIGTERM", not self._sigterm_trouble, self._sigterm_trouble or "chained before the old handler")
        ]
        if self._unjoined:
            statuses.append(Status(" and ".join(self._unjoined), False, self._joined_message(self._unjoined)))
        return statuses


def _destinations(settings: ObservabilitySettings, host: Host) -> list[Destination]:
    """Where to send; nowhere that a pipeline which the program has set up itself sends to already."""
    if host is Host.LOGFIRE_SENDING:
        return []
    tokens = settings.write_tokens if settings.send_to_logfire else ()
    found = [Destination.logfire(settings.base_url or providers.logfire_url(token), token) for token in tokens]
    own = Destination.from_environment() if host is Host.NOBODY else None
    return [*found, own] if own else found


def _metric_interval() -> float | None:
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


def _all(rooms: list[Room], act: Callable[[Room], bool]) -> bool:
    """Run `act` on all rooms side by side, so that a deadline holds for all of them together."""
    if len(rooms) <= 1:
        return all(act(room) for room in rooms)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda room=room: answers.append(act(room)), daemon=True) for room in rooms]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(answers) == len(rooms) and all(answers)


def _after_fork(pipeline: Pipeline) -> None:
    reference = weakref.ref(pipeline)

    def in_child() -> None:
        alive = reference()
        if alive is not None:
            with guarded("starting afresh after a fork"):
                alive.after_fork_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
