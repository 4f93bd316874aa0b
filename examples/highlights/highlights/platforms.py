"""Where a stream comes from, and how to get at its video there."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.instrumentation.utils import suppress_instrumentation

from highlights.failures import StreamFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["detect_platform", "media_url", "stream_type"]

_HOSTS = {"twitch.tv": "twitch", "youtube.com": "youtube", "youtu.be": "youtube", "youtube-nocookie.com": "youtube"}
_RECORDINGS = ("/videos/", "/video/", "/clip/", "/v/", "/watch", "/shorts/", "/embed/")


def detect_platform(url: str) -> str:
    """`twitch`, `youtube`, `hls` or `custom`, by the URL alone."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    for domain, platform in _HOSTS.items():
        if host == domain or host.endswith(f".{domain}"):
            return platform
    return "hls" if parts.path.lower().endswith((".m3u8", ".m3u")) else "custom"


def stream_type(url: str, platform: str) -> str:
    """`live` or `recording`: a guess by the URL, until the stream is opened."""
    parts = urlsplit(url)
    if platform == "twitch":
        recorded = parts.hostname == "clips.twitch.tv" or any(part in f"{parts.path}/" for part in _RECORDINGS)
        return "recording" if recorded else "live"
    if platform == "youtube":
        return "live" if "/live" in parts.path else "recording"
    return "live" if platform == "hls" else "recording"


def media_url(url: str, platform: str) -> str:
    """Where FFmpeg finds the video: what Streamlink says for Twitch and YouTube, the URL itself for the rest.

    Raises:
        StreamFailure: `platform_unavailable`.
    """
    if platform not in {"twitch", "youtube"}:
        return url
    name = {"twitch": "Twitch", "youtube": "YouTube"}[platform]
    try:
        with _logging_kept():
            from streamlink.exceptions import StreamlinkError
            from streamlink.session.session import Streamlink
    except ImportError as error:
        reason = f"Streams from {name} can't be read here: the service runs without Streamlink."
        raise StreamFailure("platform_unavailable", reason) from error
    session = Streamlink({"http-timeout": 10.0, "http-trust-env": False})
    try:
        with suppress_instrumentation():
            # Not `session.streams`, which goes wherever the URL redirects to, and takes other plugins for it.
            plugin, opens, address = session.resolve_url(url, follow_redirect=False)
            streams: dict[str, Any] = dict(opens(session, address).streams()) if plugin == platform else {}
    except StreamlinkError as error:
        raise StreamFailure("platform_unavailable", f"{name} can't be reached, or has no such stream.") from error
    finally:
        session.http.close()
    for stream in filter(None, [streams.get("best"), *reversed(streams.values())]):
        with suppress(TypeError):  # sound and picture apart have no URL of their own
            return str(stream.to_url())
    raise StreamFailure("platform_unavailable", f"{name} has no such stream, or it is offline.")


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what importing Streamlink does to all logging: names of levels, and the classes of loggers and records."""
    names = {level: logging.getLevelName(level) for level in logging.getLevelNamesMapping().values()}
    factory, logger_class = logging.getLogRecordFactory(), logging.getLoggerClass()
    try:
        yield
    finally:
        for level, name in names.items():
            logging.addLevelName(level, name)
        logging.setLogRecordFactory(factory)
        logging.setLoggerClass(logger_class)
