"""A customer's video opened by FFmpeg's libraries, every byte of which comes through the guarded HTTP client."""

from __future__ import annotations

import io
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import av

from highlights.addresses import ForbiddenAddress, check_url
from highlights.bodies import CHUNK, Body, Spooled
from highlights.failures import StreamFailure
from highlights.playlists import rewrite
from highlights.settings import settings
from highlights.transfer import SourceEnded, Transfer

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
_MOST_PLAYLIST_BYTES = 16 * 1024**2


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
    source = _Source(Transfer(most_bytes or settings().max_stream_bytes, within, on_wait))
    try:
        with source.failures(), av.open(url, io_open=source.open, options=_OPTIONS) as container:
            source.opened = True
            yield container
    finally:
        source.close()


class _Source:
    """What FFmpeg reads from: where something has failed it gets nothing more, for it goes on after some failures."""

    def __init__(self, transfer: Transfer) -> None:
        self.opened = False
        self._transfer = transfer
        self._files: list[_File] = []
        self._looks: dict[str, _Look] = {}

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what went wrong first."""
        try:
            yield
        except (av.FFmpegError, StreamFailure) as error:
            if self._transfer.failure not in {None, error}:
                raise self._transfer.failure from error
            if isinstance(error, StreamFailure):
                raise
            if not self.opened:
                raise StreamFailure("not_a_video", "The source is not a video that can be read.") from error
            if isinstance(error, av.InvalidDataError):
                raise StreamFailure("source_interrupted", "The video is damaged from some point on.") from error
            raise
        if self._transfer.failure is not None:
            raise self._transfer.failure

    def close(self) -> None:
        """Close every file and connection."""
        for file in self._files:
            file.close()
        self._transfer.close()

    def open(self, url: str, _flags: int, options: dict[str, str]) -> _File:
        """One resource, for FFmpeg: a playlist as text, everything else as it comes."""
        if self._transfer.failure is not None:
            return io.BytesIO()
        with self._transfer.remembered():
            file = self._resource(url, options)
            self._files = [*(file for file in self._files if not file.closed), file]
            return file

    def _resource(self, url: str, options: dict[str, str]) -> _File:
        look = self._looks.get(url)
        if look is not None:
            self._transfer.pause(look.at + look.every - time.monotonic())
        body = Body(self._transfer, url, int(options.get("offset", 0)), int(options.get("end_offset", 0)) or None)
        if body.peek(7) != b"#EXTM3U":
            if body.peek(8)[4:] == b"ftyp" and not body.seekable() and body.size is not None:
                return Spooled(body)
            return body
        with closing(body):
            return io.BytesIO(self._playlist(url, body, look).encode())

    def _playlist(self, url: str, body: Body, before: _Look | None) -> str:
        text = b""
        while chunk := body.read(CHUNK):
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


class _File(Protocol):
    @property
    def closed(self) -> bool: ...
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Look(NamedTuple):
    """At a live playlist."""

    text: str
    every: float
    at: float
    grew: float
