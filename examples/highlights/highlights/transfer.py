"""What a reading of a source fetches over HTTP: guarded, within its limits, and with its first failure remembered."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation

from highlights.addresses import ForbiddenAddress, guarded_client
from highlights.failures import StreamFailure
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ATTEMPTS", "SourceEnded", "Transfer"]

ATTEMPTS = 3


class SourceEnded(Exception):  # noqa: N818 - no error: the reader wants no more
    """The reading was ended from this side: by `on_wait`, or because `most_bytes` have come."""


class Transfer:
    """The requests of one reading.

    Args:
        most_bytes: after so many SourceEnded is raised.
        within: seconds of wall time after which the source counts as too slow.
        on_wait: called about once a second while bytes are waited for; what it raises ends the reading.
    """

    def __init__(self, most_bytes: int, within: float | None, on_wait: Callable[[], None] | None) -> None:
        self.failure: Exception | None = None
        """What went wrong first; nothing is read after it."""
        self._left = most_bytes
        self._deadline = None if within is None else time.monotonic() + within
        self._on_wait = on_wait
        self._client = guarded_client(timeout=settings().source_timeout, follow_redirects=True, on_wait=self._wait)
        self._answered = False

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Remember what is raised, as a StreamFailure where it's the source's fault."""
        try:
            with suppress_instrumentation():
                yield
        except ForbiddenAddress as error:
            self.failure = StreamFailure("source_forbidden", error.reason)
            raise self.failure from error
        except Exception as error:
            self.failure = error
            raise

    def request(self, url: str, range_: str) -> httpx.Response:
        """The answer to a GET, its body still to come; tried again where that may help."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._request(url, range_)
            except (httpx.TransportError, _BadStatus) as error:
                gone = isinstance(error, _BadStatus) and error.status in {404, 410}
                if not self._answered and gone:
                    raise StreamFailure("source_not_found", "The source does not exist.") from error
                if attempt == ATTEMPTS or not self._answered or isinstance(error, httpx.TimeoutException):
                    raise self.broken(error) from error
                self.pause(attempt / 2)
            except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.DecodingError) as error:
                raise self.broken(error) from error
        raise AssertionError  # pragma: no cover - the last attempt has raised

    def count(self, size: int) -> None:
        """So many bytes have come."""
        self._answered = True
        self._left -= size
        if self._left < 0:
            raise SourceEnded

    def pause(self, seconds: float) -> None:
        """Wait, but not for longer than the reader wants to."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wait()
            time.sleep(min(0.25, left))

    def broken(self, error: Exception) -> StreamFailure:
        """The source's fault, by how far it was read."""
        return StreamFailure("source_interrupted" if self._answered else "source_unreachable", _reason(error))

    def _request(self, url: str, range_: str) -> httpx.Response:
        headers = {"Range": range_, "Accept-Encoding": "identity", "User-Agent": "highlights/1"}
        response = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        if response.status_code not in {200, 206, 416}:
            response.close()
            raise _BadStatus(response.status_code)
        return response

    def _wait(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise self.broken(TimeoutError())
        if self._on_wait is not None:
            self._on_wait()


class _BadStatus(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _reason(error: Exception) -> str:
    match error:
        case _BadStatus():
            return f"The source answered with status {error.status}."
        case TimeoutError():
            return "The source is too slow."
        case httpx.TimeoutException():
            return "The source does not answer in time."
        case httpx.ConnectError():
            return "The source can't be connected to."
        case httpx.TransportError():
            return "The source broke the connection."
        case _:
            return "The source redirects in circles or to nowhere."
