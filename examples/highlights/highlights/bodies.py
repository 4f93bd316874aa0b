"""An answer's body as the file that FFmpeg reads: it can be sought in, and is resumed where it breaks."""

from __future__ import annotations

import errno
import io
import tempfile
from typing import TYPE_CHECKING

import httpx

from highlights.transfer import ATTEMPTS

if TYPE_CHECKING:
    from highlights.transfer import Transfer

__all__ = ["CHUNK", "Body", "Spooled"]

CHUNK = 65536
_READ_THROUGH = 1024**2
"""Bytes ahead that are read through rather than asked for anew."""


class Body:
    """An answer's body as a file: with seeks where the server gives ranges, and resumed where it breaks."""

    def __init__(self, transfer: Transfer, url: str, start: int, end: int | None) -> None:
        self._transfer = transfer
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
        self._response = self._transfer.request(self._asked, f"bytes={self._at}-{last}")
        self._chunks = self._response.iter_bytes()
        self._buffer = b""
        self._skip = 0
        if self._response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._chunks = iter(())
        elif self._response.status_code == httpx.codes.OK:
            self._skip = self._at

    def peek(self, size: int) -> bytes:
        """Its first bytes, which stay to be read."""
        with self._transfer.remembered():
            while len(self._buffer) < size and (chunk := self._next()):
                self._buffer += chunk
        return self._buffer[:size]

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end, or where the reading has failed."""
        if self._transfer.failure or not self._settled():
            return b""
        if self._end is not None:
            size = min(size, self._end - self._at)
        if not self._buffer and size > 0:
            with self._transfer.remembered():
                self._buffer = self._next()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._at += len(data)
        self._target = self._at
        return data

    def _settled(self) -> bool:
        """Go to where the last seek led; FFmpeg seeks more often than it reads."""
        if self._at == self._target:
            return True
        with self._transfer.remembered():
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
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._chunk()
            except httpx.HTTPError as error:
                self._response.close()
                resumable = self._ranges or self.size is not None
                if attempt == ATTEMPTS or not resumable or isinstance(error, httpx.TimeoutException):
                    raise self._transfer.broken(error) from error
                self._transfer.pause(attempt / 2)
                self._connect()
        raise AssertionError  # pragma: no cover - the last attempt has raised

    def _chunk(self) -> bytes:
        """What comes next, without what a server that gives no ranges has sent before."""
        while chunk := next(self._chunks, b""):
            self._transfer.count(len(chunk))
            if len(chunk) > self._skip:
                chunk, self._skip = chunk[self._skip :], 0
                return chunk
            self._skip -= len(chunk)
        return b""

    def seekable(self) -> bool:
        """Whether the server gives ranges."""
        return self._ranges

    def tell(self) -> int:
        """Where the next read begins."""
        return self._target

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Begin the next read elsewhere; nothing is fetched yet."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._target, io.SEEK_END: self.size or 0}[whence]
        if target < 0:
            raise OSError(errno.EINVAL, "before the start")
        self._target = target
        return target

    def close(self) -> None:
        """Close the answer."""
        self.closed = True
        self._response.close()


class Spooled:
    """A body that FFmpeg must seek in though its server gives no ranges: as far as it has come it's on the disk."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever closes this
        self._at = 0

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._body.closed

    def read(self, size: int) -> bytes:
        """Up to so many bytes, fetched as far as they haven't been."""
        end = self._file.seek(0, io.SEEK_END)
        while end < self._at + size and (chunk := self._body.read(CHUNK)):
            end += self._file.write(chunk)
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Begin the next read elsewhere."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._body.size or 0}[whence]
        return self._at

    def close(self) -> None:
        """Close the answer, and forget what it was."""
        self._body.close()
        self._file.close()
