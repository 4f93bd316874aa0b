"""A customer's video opened by FFmpeg's libraries, every byte of which comes through the guarded HTTP client."""

from __future__ import annotations

import errno
import io
import tempfile
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import av
import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation

from highlights.addresses import ForbiddenAddress, check_url, guarded_client
from highlights.failures import StreamFailure
from highlights.playlists import rewrite
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.container import InputContainer

__all__ = ["SourceEnded", "open_source"]

_FORMATS = "aac,ac3,asf,avi,flac,flv,hls,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,mpegvideo,nut,ogg,wav"
_OPTIONS = {
    # What FFmpeg may take the bytes for; others could open sockets or files by themselves.
    "format_whitelist": _FORMATS,
    "protocol_whitelist": "http,https,crypto",
    # One resource after the other, each through the callback; when a live one ends is decided here, not by FFmpeg.
    "http_persistent": "0",
    "http_multiple": "0",
    "max_reload": "1000000",
    "m3u8_hold_counters": "1000000",
    # FFmpeg guards itself against playlists that lead elsewhere by the names of files; here the guard is the client.
    "allowed_extensions": "ALL",
    "allowed_segment_extensions": "ALL",
    "extension_picky": "0",
}
_ATTEMPTS = 3
_MOST_PLAYLIST_BYTES = 16 * 1024**2
_READ_THROUGH = 1024**2
_CHUNK = 65536


class SourceEnded(Exception):  # noqa: N818 - no error: the reader wants no more
    """The reading was ended from this side: by `on_wait`, or because `most_bytes` have come."""


@contextmanager
def open_source(
    url: str,
    *,
    most_bytes: int | None = None,
    within: float | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[InputContainer]:
    """Open what the URL leads to; what goes wrong, now or while it's read, is a StreamFailure at the latest at exit.

    Args:
        url: http or https, a file or a playlist.
        most_bytes: after so many SourceEnded is raised; None: the settings'.
        within: seconds of wall time after which the source counts as too slow.
        on_wait: called about once a second while bytes are waited for; it may raise SourceEnded.
    """
    try:
        check_url(url)
    except ForbiddenAddress as error:
        raise StreamFailure("source_forbidden", error.reason) from error
    source = _Source(most_bytes or settings().max_stream_bytes, within, on_wait)
    try:
        with source.failures(), av.open(url, io_open=source.open, options=_OPTIONS) as container:
            source.opened = True
            yield container
    finally:
        source.close()


class _File(Protocol):
    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class _Source:
    """What FFmpeg reads from: it remembers the first failure, for FFmpeg forgets some, and gives nothing after it."""

    def __init__(self, most_bytes: int, within: float | None, on_wait: Callable[[], None] | None) -> None:
        self.opened = False
        self._left = most_bytes
        self._deadline = None if within is None else time.monotonic() + within
        self._on_wait = on_wait
        self._client = guarded_client(timeout=settings().source_timeout, follow_redirects=True, on_wait=self._wait)
        self._answered = False
        self._failure: Exception | None = None
        self._open: list[_File] = []
        self._looks: dict[str, _Look] = {}

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what went wrong first."""
        try:
            yield
        except av.FFmpegError as error:
            if self._failure is not None:
                raise self._failure from error
            if not self.opened:
                raise StreamFailure("not_a_video", "The source is not a video that can be read.") from error
            if isinstance(error, av.InvalidDataError):
                raise StreamFailure("source_interrupted", "The video is damaged from some point on.") from error
            raise
        if self._failure is not None:
            raise self._failure

    @property
    def silent(self) -> bool:
        """Whether nothing more comes."""
        return self._failure is not None

    def close(self) -> None:
        """Close every connection."""
        for file in self._open:
            file.close()
        self._client.close()

    def open(self, url: str, _flags: int, options: dict[str, str]) -> _File:
        """One resource, for FFmpeg: a playlist as text, everything else as it comes."""
        with self.remembered():
            if self._failure is None:
                file = self._resource(url, options)
                self._open = [*(file for file in self._open if not getattr(file, "closed", False)), file]
                return file
        return io.BytesIO()

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Remember what is raised, as a StreamFailure where it's the source's fault."""
        try:
            with suppress_instrumentation():
                yield
        except ForbiddenAddress as error:
            self._failure = StreamFailure("source_forbidden", error.reason)
            raise self._failure from error
        except Exception as error:
            self._failure = error
            raise

    def _wait(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise self.failure("The source is too slow.")
        if self._on_wait is not None:
            self._on_wait()

    def failure(self, reason: str) -> StreamFailure:
        """The source's fault, by how far it was read."""
        return StreamFailure("source_interrupted" if self._answered else "source_unreachable", reason)

    def count(self, size: int) -> None:
        """So many bytes have come."""
        self._answered = True
        self._left -= size
        if self._left < 0:
            raise SourceEnded

    def request(self, url: str, range_: str) -> httpx.Response:
        """The answer to a GET, its body still to come; tried again where that may help."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._request(url, range_)
            except (httpx.TransportError, _BadStatus) as error:
                gone = isinstance(error, _BadStatus) and error.status in {404, 410}
                if not self._answered and gone:
                    raise StreamFailure("source_not_found", "The source does not exist.") from error
                if attempt == _ATTEMPTS or not self._answered or isinstance(error, httpx.TimeoutException):
                    raise self.failure(_reason(error)) from error
                self.pause(attempt / 2)
            except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.DecodingError) as error:
                raise self.failure("The source redirects in circles or to nowhere.") from error
        raise AssertionError  # pragma: no cover - the last attempt has raised

    def _request(self, url: str, range_: str) -> httpx.Response:
        headers = {"Range": range_, "Accept-Encoding": "identity", "User-Agent": "highlights/1"}
        response = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        if response.status_code not in {200, 206, 416}:
            response.close()
            raise _BadStatus(response.status_code)
        return response

    def pause(self, seconds: float) -> None:
        """Wait, but not for longer than the reader wants to."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wait()
            time.sleep(min(0.25, left))

    def _resource(self, url: str, options: dict[str, str]) -> _File:
        look = self._looks.get(url)
        if look is not None:
            self.pause(look.at + look.every - time.monotonic())
        body = _Body(self, url, int(options.get("offset", 0)), int(options.get("end_offset", 0)) or None)
        if body.peek(7) != b"#EXTM3U":
            if body.peek(8)[4:] == b"ftyp" and not body.seekable() and body.size is not None:
                return _Spooled(body)
            return body
        with closing(body):
            return io.BytesIO(self._playlist(url, body, look).encode())

    def _playlist(self, url: str, body: _Body, before: _Look | None) -> str:
        text = b""
        while chunk := body.read(_CHUNK):
            text += chunk
            if len(text) > _MOST_PLAYLIST_BYTES:
                raise StreamFailure("not_a_video", "The playlist is too long.")
        playlist = rewrite(text.decode("utf-8", "replace"), body.url)
        if playlist.look_every is None:
            return playlist.text
        now = time.monotonic()
        grew = now if before is None or before.text != playlist.text else before.grew
        self._looks[url] = _Look(playlist.text, playlist.look_every, now, grew)
        if now - grew > max(settings().source_timeout, 6 * playlist.look_every):
            return playlist.text + "#EXT-X-ENDLIST\n"  # whoever stops without saying so has stopped as well
        return playlist.text


class _Look(NamedTuple):
    """At a live playlist."""

    text: str
    every: float
    at: float
    grew: float


class _BadStatus(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _reason(error: Exception) -> str:
    if isinstance(error, _BadStatus):
        return f"The source answered with status {error.status}."
    if isinstance(error, httpx.TimeoutException):
        return "The source does not answer in time."
    if isinstance(error, httpx.ConnectError):
        return "The source can't be connected to."
    return "The source broke the connection."


class _Body:
    """An answer's body as a file: with seeks where the server gives ranges, and resumed where it breaks."""

    def __init__(self, source: _Source, url: str, start: int, end: int | None) -> None:
        self._source = source
        self._asked = url
        self._end = end
        self._at = self._target = start
        self._buffer = b""
        self.closed = False
        self._connect()
        self.url = str(self._response.url)
        whole = self._response.headers.get("Content-Range", "").rpartition("/")[2]
        length = self._response.headers.get("Content-Length", "")
        self._ranges = self._response.status_code == httpx.codes.PARTIAL_CONTENT and whole.isdigit()
        self.size = int(whole) if self._ranges else int(length) if length.isdigit() else None

    def _connect(self) -> None:
        last = "" if self._end is None else self._end - 1
        self._response = self._source.request(self._asked, f"bytes={self._at}-{last}")
        self._chunks = self._response.iter_bytes()
        self._buffer = b""
        if self._response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._chunks = iter(())
        elif self._response.status_code == httpx.codes.OK:
            skip = self._at
            while skip > 0 and (chunk := next(self._chunks, b"")):
                self._source.count(len(chunk))
                self._buffer = chunk[skip:]
                skip -= len(chunk)

    def peek(self, size: int) -> bytes:
        with self._source.remembered():
            while len(self._buffer) < size and (chunk := self._next()):
                self._buffer += chunk
        return self._buffer[:size]

    def read(self, size: int) -> bytes:
        if self._source.silent or not self._settled():
            return b""
        if self._end is not None:
            size = min(size, self._end - self._at)
        if not self._buffer and size > 0:
            with self._source.remembered():
                self._buffer = self._next()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._at += len(data)
        self._target = self._at
        return data

    def _settled(self) -> bool:
        """Go to where the last seek led; FFmpeg seeks more often than it reads."""
        if self._at == self._target:
            return True
        with self._source.remembered():
            while self._at < self._target <= self._at + _READ_THROUGH:
                chunk = self._buffer or self._next()
                if not chunk:
                    return False
                self._buffer = chunk[self._target - self._at :]
                self._at += len(chunk) - len(self._buffer)
            if self._at != self._target:
                self._at = self._target
                self._response.close()
                self._connect()
        return True

    def _next(self) -> bytes:
        """More of the body, from a new answer where the old one broke off."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                chunk = next(self._chunks, b"")
            except httpx.HTTPError as error:
                self._response.close()
                resumable = self._ranges or self.size is not None
                if attempt == _ATTEMPTS or not resumable or isinstance(error, httpx.TimeoutException):
                    raise self._source.failure(_reason(error)) from error
                self._source.pause(attempt / 2)
                self._connect()
                if self._buffer:
                    return self._buffer
            else:
                self._source.count(len(chunk))
                return chunk
        return b""

    def seekable(self) -> bool:
        return self._ranges

    def tell(self) -> int:
        return self._target

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._target, io.SEEK_END: self.size or 0}[whence]
        if target < 0:
            raise OSError(errno.EINVAL, "before the start")
        self._target = target
        return target

    def close(self) -> None:
        self.closed = True
        self._response.close()


class _Spooled:
    """A body that FFmpeg must seek in though its server gives no ranges: as far as it has come it's on the disk."""

    def __init__(self, body: _Body) -> None:
        self._body = body
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever closes this
        self._at = 0

    @property
    def closed(self) -> bool:
        return self._body.closed

    def read(self, size: int) -> bytes:
        end = self._file.seek(0, io.SEEK_END)
        while end < self._at + size and (chunk := self._body.read(_CHUNK)):
            end += self._file.write(chunk)
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._body.size or 0}[whence]
        return self._at

    def close(self) -> None:
        self._body.close()
        self._file.close()
