"""Where an app's telemetry can be read: for now, a receiver of our own that the app exports to."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from tldr_observability.cli.verification.evidence import Received
from tldr_observability.cli.verification.trouble import CannotRunError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from tldr_observability.testing import OTLPReceiver

__all__ = ["ReceiverSource", "Source"]

_LOOPBACK = {"", "127.0.0.1", "localhost"}
_MOST_PORT = 65_535


class Source(Protocol):
    """What the checks read."""

    @property
    def endpoint(self) -> str:
        """Where the app must export to."""

    def received(self) -> Received:
        """Everything that has arrived so far."""


class ReceiverSource:
    """An OTLP receiver in this process, listening from construction to the end of the `with` block.

    Args:
        listen: `HOST:PORT` or `PORT`, on loopback.

    Raises:
        CannotRunError: that is no such address, or it is taken.
    """

    def __init__(self, listen: str) -> None:
        self._receiver = _receiver(_port(listen))
        self.endpoint = self._receiver.url

    def __enter__(self) -> Self:
        """The source, which is listening already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop listening."""
        self._receiver.close()

    def received(self) -> Received:
        """Everything that has arrived so far."""
        return Received(self._receiver.spans, self._receiver.logs, self._receiver.metrics)


def _port(listen: str) -> int:
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _MOST_PORT):
        raise CannotRunError(f"--listen: expected HOST:PORT such as 127.0.0.1:4318, got {listen!r}")
    if host not in _LOOPBACK:
        raise CannotRunError(
            f"--listen: expected 127.0.0.1, for what it takes in is not authenticated, got {host!r}; "
            "run this where the app runs, or forward the port"
        )
    return int(port)


def _receiver(port: int) -> OTLPReceiver:
    from tldr_observability.testing import OTLPReceiver

    try:
        return OTLPReceiver(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CannotRunError(
                f"can't listen on 127.0.0.1:{port}: {error.strerror}; choose another --listen"
            ) from error
        other = port + 1 if port < _MOST_PORT else port - 1
        raise CannotRunError(
            f"127.0.0.1:{port} is taken, by a collector perhaps: stop that, or type --listen 127.0.0.1:{other} and "
            f"start the app with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{other}"
        ) from error
