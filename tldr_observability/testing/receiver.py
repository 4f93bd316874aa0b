"""An OTLP backend inside the test process: what a program exported, and how it fares when the backend fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from tldr_observability import semconv
from tldr_observability.testing.behaviour import Behaviour, Script
from tldr_observability.testing.handler import Exchange
from tldr_observability.testing.server import Server
from tldr_observability.testing.telemetry import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from tldr_observability.testing.decode import Batch
    from tldr_observability.testing.telemetry import Log, Metric, Span

__all__ = ["Exchange", "OTLPReceiver"]

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 0.05
_MOST_NAMES = 20


class OTLPReceiver:
    """A backend on loopback that keeps what it accepts: OTLP over HTTP, protobuf or JSON, gzip or not, chunked or not.

        with OTLPReceiver() as receiver:
            setup(base_url=receiver.url, token="test").flush()
            receiver.wait_for(lambda r: r.spans)

    It listens from construction to `close`. What it answers with a failure, or not at all, it doesn't keep.

    Args:
        port: a fixed port, so that another receiver can take its place; 0 for any free one.

    Attributes:
        url: where it listens, without a trailing slash.
        port: the same, the number alone.
    """

    def __init__(self, port: int = 0) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        self._spans: list[Span] = []
        self._pending: list[Span] = []
        self._logs: list[Log] = []
        self._metrics: list[Metric] = []
        self._requests: list[Exchange] = []
        self._script = Script()
        self._server: Server | None = Server(port, self._script, self._note, self._accept)
        self.url = self._server.url
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        """The receiver, which is listening already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop listening."""
        self.close()

    @property
    def spans(self) -> list[Span]:
        """The finished spans, in the order of their arrival."""
        with self._changed:
            return list(self._spans)

    @property
    def pending_spans(self) -> list[Span]:
        """The placeholders that announce open spans to Logfire's live view."""
        with self._changed:
            return list(self._pending)

    @property
    def logs(self) -> list[Log]:
        """The log records, in the order of their arrival."""
        with self._changed:
            return list(self._logs)

    @property
    def metrics(self) -> list[Metric]:
        """Every metric of every export; `total` adds them up."""
        with self._changed:
            return list(self._metrics)

    @property
    def requests(self) -> list[Exchange]:
        """Every complete request, whatever became of it, in the order of arrival."""
        with self._changed:
            return list(self._requests)

    def total(self, name: str, /, attributes: Mapping[str, object] | None = None, **more: object) -> float:
        """The sum of a metric over exports, processes and series with these attributes. See `testing.total`."""
        return total(self.metrics, name, {**(attributes or {}), **more})

    def wait_for(self, predicate: Callable[[OTLPReceiver], T], timeout: float = 5.0) -> T:
        """What `predicate` says as soon as that is true; an AssertionError tells what was received instead."""
        deadline = time.monotonic() + timeout
        while True:
            seen = self._changes
            result = predicate(self)
            if result:
                return result
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not so within {timeout} s; {self._summary()}")
            with self._changed:
                # The predicate may look at more than the receiver, so it is asked again now and then.
                self._changed.wait_for(lambda seen=seen: self._changes != seen, min(left, _LOOK_AGAIN_SECONDS))  # type: ignore[misc]

    def clear(self) -> None:
        """Forget what was received; how requests are answered stays."""
        with self._changed:
            for kept in (self._spans, self._pending, self._logs, self._metrics, self._requests):
                kept.clear()

    def respond(  # noqa: PLR0913 - each is one independent property of an answer
        self,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        delay: float = 0.0,
        times: int | None = None,
        path: str | None = None,
    ) -> None:
        """Answer so. Behaviours with `times` are taken in the order in which they were asked for, before any other.

        Args:
            status: anything but 2xx means that the request's content is not kept.
            headers: beside the usual ones.
            body: None for the usual one, which is an empty message.
            delay: seconds before the answer; a client that has gone by then is as good as not heard.
            times: for so many requests; None for all, until changed.
            path: for requests to this path (`/v1/traces`) alone; None for every path, `/v1/info` too.
        """
        self._script.add(Behaviour("answer", status, dict(headers or {}), body, delay), times, path)

    def hang(self, *, times: int | None = None, path: str | None = None) -> None:
        """Read requests and leave them without an answer until `recover`, or until the receiver is closed."""
        self._script.add(Behaviour("hang"), times, path)

    def reset_connections(self, *, times: int | None = None, path: str | None = None) -> None:
        """Read requests and reset their connection (TCP's RST) instead of an answer."""
        self._script.add(Behaviour("reset"), times, path)

    def drip(self, *, interval: float = 0.05, times: int | None = None, path: str | None = None) -> None:
        """Accept, then answer 200 with a body that goes on for ever, a byte every `interval` seconds."""
        self._script.add(Behaviour("drip", delay=interval), times, path)

    def recover(self) -> None:
        """Be a healthy backend again. Requests left hanging are answered, if their client is still there."""
        self._script.recover()

    def close(self) -> None:
        """Stop listening and drop every connection, also those left hanging; what was received stays readable."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _note(self, exchange: Exchange) -> None:
        self._keep(self._requests, [exchange])

    def _accept(self, batch: Batch) -> None:
        pending = [span for span in batch.spans if span.attributes.get(semconv.LOGFIRE_SPAN_TYPE) == "pending_span"]
        finished = [span for span in batch.spans if span.attributes.get(semconv.LOGFIRE_SPAN_TYPE) != "pending_span"]
        with self._changed:
            self._keep(self._pending, pending)
            self._keep(self._spans, finished)
            self._keep(self._logs, batch.logs)
            self._keep(self._metrics, batch.metrics)

    def _keep(self, kept: list[T], new: list[T]) -> None:
        with self._changed:
            kept += new
            self._changes += 1
            self._changed.notify_all()

    def _summary(self) -> str:
        answers = Counter(f"{exchange.method} {exchange.path} {exchange.status}" for exchange in self.requests)
        return "received " + "; ".join(
            (
                f"requests: {_names(f'{what} ({count} times)' for what, count in answers.items())}",
                f"spans: {_names(span.name for span in self.spans)}",
                f"pending spans: {_names(span.name for span in self.pending_spans)}",
                f"logs: {_names(log.event_name or repr(log.body) for log in self.logs)}",
                f"metrics: {_names(sorted({metric.name for metric in self.metrics}))}",
            )
        )


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return (", ".join(listed[:_MOST_NAMES]) or "none") + more
