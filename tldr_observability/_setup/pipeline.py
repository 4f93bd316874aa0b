"""The way of telemetry through this process: rooms on providers, and the moments at which they are flushed."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tldr_observability._setup import providers
from tldr_observability._setup.observability import Status
from tldr_observability._setup.providers import Host
from tldr_observability._setup.signals import chain_sigterm
from tldr_observability.export import self_metrics
from tldr_observability.export.budget import ExitBudget
from tldr_observability.export.destination import Destination, metric_interval
from tldr_observability.export.otel import RoomLogProcessor, RoomSpanProcessor
from tldr_observability.export.redacted import RedactingLogProcessor, RedactingSpanProcessor
from tldr_observability.export.room import Room
from tldr_observability.export.stamping import ContextLogProcessor, ContextSpanProcessor
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from tldr_observability.export.otel import RoomMetricReader
    from tldr_observability.export.redacted import Redaction
    from tldr_observability.integrations.prometheus import PrometheusEndpoint
    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Pipeline", "destinations"]

_METRIC_SECONDS = 60.0
_METRIC_SECONDS_TO_LOOPBACK = 5.0

_logger = logging.getLogger("tldr_observability")


class Pipeline:
    """Connects the program's telemetry with its destinations.

    Where the program has set up providers of its own before, the pipeline joins them; what can't be joined is said in
    the report and once in the log.
    """

    def __init__(
        self,
        settings: ObservabilitySettings,
        version: str,
        *,
        redaction: Redaction | None = None,
        prometheus: PrometheusEndpoint | None = None,
    ) -> None:
        self._settings = settings
        self._redaction = redaction
        self._prometheus = prometheus
        self._budget = ExitBudget(settings.shutdown_timeout)
        self._ending = False
        self._ended = False
        self._ended_by_sdk = False
        self._host = providers.find_host()
        interval = metric_interval()
        self.rooms = [
            Room(
                destination,
                batch_size=settings.batch_size,
                flush_interval=settings.flush_interval,
                metric_interval=interval or (_METRIC_SECONDS_TO_LOOPBACK if destination.is_local else _METRIC_SECONDS),
                user_agent=f"tldr-observability/{version}",
                redaction=redaction,
            )
            for destination in destinations(settings, self._host)
        ]
        self._readers = self._watched_readers()
        self._missing = self._connect()
        for room in self.rooms:
            room.start()
        self._sigterm_trouble = chain_sigterm(self.exit_flush, self.hurry)
        atexit.register(self._note_exit)  # after logfire's and the SDK's hooks: it runs before them
        _watch_forks(self)

    def _connect(self) -> list[str]:
        spans: list[SpanProcessor] = [ContextSpanProcessor()]
        logs: list[LogRecordProcessor] = [ContextLogProcessor()]
        if self._redaction:
            # A program that has set up Logfire itself may print what begins.
            prints = self._host is not Host.NOBODY or self._settings.console_enabled
            spans.append(RedactingSpanProcessor(self._redaction, at_start=prints))
            logs.append(RedactingLogProcessor(self._redaction))
        spans += [RoomSpanProcessor(room, self._sdk_flush, self._sdk_shutdown) for room in self.rooms]
        logs += map(RoomLogProcessor, self.rooms)
        readers: list[MetricReader] = [*self._readers, *([self._prometheus.reader] if self._prometheus else [])]
        if self._host is Host.NOBODY:
            providers.configure(self._settings, span_processors=spans, log_processors=logs, metric_readers=readers)
            missing = []
        else:
            missing = providers.join(spans, logs, readers)
            _logger.warning("%s", self._joined_message(missing))
        self_metrics.register(lambda: self.rooms)
        return missing

    def _watched_readers(self) -> list[RoomMetricReader]:
        """The readers of the rooms that take metrics; a meter provider that shuts down first lets us read once more."""
        readers = [room.metric_reader for room in self.rooms if "metrics" in room.destination.urls]
        for reader in readers:
            reader.on_shutdown = self.exit_flush
        return readers

    # Flushing

    def flush(self, timeout: float) -> bool:
        """Send everything, to all destinations side by side, within `timeout` seconds."""
        if self._host is Host.LOGFIRE_SENDING:
            return _within(providers.flush_logfire, timeout)
        deadline = time.monotonic() + timeout
        asked = [(room, room.ask()) for room in self.rooms]
        answers = [room.answer(tickets, deadline) for room, tickets in asked]
        return all(answers)

    def shutdown(self, timeout: float) -> bool:
        """Send everything and end, within `timeout` seconds."""
        self._ending = self._ended = True
        atexit.unregister(self._note_exit)
        delivered = self.flush(timeout)
        for room in self.rooms:
            room.close()
        return delivered

    def exit_flush(self) -> bool:
        """Flush because the process is about to end; all such flushes share one deadline."""
        return self._budget.spend(self.flush)

    def hurry(self) -> None:
        """Send what comes at once from now on: a server was told to stop, and nobody tells us when it has."""
        for room in self.rooms:
            room.hurry()

    def _sdk_flush(self, timeout: float) -> bool:
        """Run when the SDK is told to flush: by the program, or by Logfire before `os._exit`."""
        return self.flush(min(timeout, self._settings.shutdown_timeout))

    def _sdk_shutdown(self) -> None:
        """Run when the SDK shuts our span processor down: the process ends, or somebody replaced the providers."""
        if not self._ending:
            self._ended_by_sdk = True
            _logger.warning(
                "OpenTelemetry's providers were shut down or replaced after setup(), so it exports nothing any more. "
                "If it was a call of logfire.configure(), remove it or move it before setup()."
            )
        self._budget.spend(self.shutdown)

    def _note_exit(self) -> None:
        self._ending = True

    @property
    def is_alone(self) -> bool:
        """Whether all telemetry of the program comes by here first, and nobody else's exporters see it before."""
        return self._host is Host.NOBODY

    @property
    def is_over(self) -> bool:
        """Whether everything has been shut down."""
        return self._ended

    def after_fork_in_child(self, *, readable: bool) -> None:
        """Give the child metric readers and counts of its own; its rooms have started afresh by themselves.

        Args:
            readable: no reading of the metrics was under way, whose locks would be locked in the child for ever.
        """
        self._budget = ExitBudget(self._settings.shutdown_timeout)
        inherited, self._readers = self._readers, self._watched_readers()
        if not readable:
            _logger.warning("A reading of the metrics was under way at a fork: the child exports no metrics.")
            return
        for old, new in zip(inherited, self._readers, strict=True):
            providers.renew_reader(old, new)
        if self._prometheus:
            old_reader = self._prometheus.reader
            self._prometheus.renew()
            providers.renew_reader(old_reader, self._prometheus.reader)

    # Reporting

    def report(self) -> list[Status]:
        """Say how export stands."""
        statuses = [
            self._export_status(),
            Status(
                "flush at SIGTERM",
                on=not self._sigterm_trouble,
                detail=self._sigterm_trouble or "before the old handler",
            ),
        ]
        if self._missing:
            detail = self._joined_message(self._missing)
            statuses.append(Status(" and ".join(self._missing), on=False, detail=detail))
        return statuses

    def _export_status(self) -> Status:
        if self._host is Host.LOGFIRE_SENDING:
            return Status("export", on=True, detail=self._joined_message([]))
        troubles = [trouble for room in self.rooms if (trouble := str(room.trouble))]
        if self._ended_by_sdk:
            why = "the providers were shut down or replaced after setup(), perhaps by a call of logfire.configure()"
        elif self._ending:
            why = "it was shut down"
        elif not self.rooms and self._settings.write_tokens and not self._settings.send_to_logfire:
            why = "LOGFIRE_SEND_TO_LOGFIRE is false, as it is by default under pytest"
        elif not self.rooms:
            why = "nothing to send to: set LOGFIRE_TOKEN, or OTEL_EXPORTER_OTLP_ENDPOINT"
        else:
            why = " ".join(troubles)
        where = ", ".join(room.destination.name for room in self.rooms)
        return Status("export", on=not why, detail=why or f"to {where}")

    def _joined_message(self, missing: list[str]) -> str:
        own = " and ".join(("sampling", "the console", *(["batching"] if self._host is Host.LOGFIRE_SENDING else [])))
        lacks = f" It has no provider for {' and '.join(missing)}, so these are not exported." if missing else ""
        how = "call setup() first" if self._host is Host.OPENTELEMETRY else "remove that call, setup() makes it"
        return f"setup() joined {self._host.value}: {own} are its business.{lacks} For setup() to decide all, {how}."


def destinations(settings: ObservabilitySettings, host: Host) -> list[Destination]:
    """Where to send; nowhere that a pipeline which the program has set up itself sends to already."""
    if host is Host.LOGFIRE_SENDING:
        return []
    tokens = settings.write_tokens if settings.send_to_logfire else ()
    found = [Destination.logfire(settings.base_url or providers.logfire_url(token), token) for token in tokens]
    own = Destination.from_environment() if host is Host.NOBODY else None
    return _told_apart([*found, own] if own else found)


def _told_apart(found: list[Destination]) -> list[Destination]:
    """Give projects at one host names of their own, for messages and for the metrics of their queues."""
    seen: Counter[str] = Counter()
    named = []
    for each in found:
        seen[each.name] += 1
        number = seen[each.name]
        named.append(each if number == 1 else replace(each, name=f"{each.name} ({number})"))
    return named


def _within(work: Callable[[float], bool], timeout: float) -> bool:
    """Run `work` in a thread of its own and stop waiting for it after `timeout` seconds."""
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(work(timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answer and answer[0])


def _watch_forks(pipeline: Pipeline) -> None:
    reference = weakref.ref(pipeline)
    here = threading.local()  # two threads may fork at once

    def before() -> None:
        here.held = False
        alive = reference()
        if alive is not None and not alive.is_over:
            with guarded("forking"):
                here.held = providers.pause_readings()

    def after_in_parent() -> None:
        if here.held:
            providers.resume_readings()

    def after_in_child() -> None:
        if here.held:
            providers.resume_readings()
        alive = reference()
        if alive is not None and not alive.is_over:
            with guarded("starting afresh after a fork"):
                alive.after_fork_in_child(readable=here.held)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)
