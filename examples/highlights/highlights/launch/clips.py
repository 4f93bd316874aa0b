"""What a customer gets: clips that play and thumbnails that open."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Clip", "fetch"]

_TOLERANCE_SECONDS = 1.0
_DOWNLOAD_SECONDS = 60.0


@dataclass(frozen=True)
class Clip:
    """One highlight's files, as they were downloaded."""

    clip: Path
    thumbnail: Path
    description: str
    problems: list[str]


def fetch(highlight: dict[str, Any], bucket: Path, downloads: Path, *, with_sound: bool) -> Clip:
    """Get a highlight's files by their links, and play them.

    Args:
        highlight: the API's answer.
        bucket: where the objects lie, if the S3 server is an embedded one.
        downloads: where to keep them otherwise.
        with_sound: whether a clip without it is a fault.
    """
    problems: list[str] = []
    told: list[str] = []
    length = highlight["end_seconds"] - highlight["start_seconds"]

    def get(kind: str, look: Callable[[bytes], str]) -> Path:
        path: Path = bucket / highlight[f"{kind}_key"]
        try:
            answer = httpx.get(highlight[f"{kind}_url"], timeout=_DOWNLOAD_SECONDS, trust_env=False).raise_for_status()
            if not path.exists():
                path = downloads / highlight[f"{kind}_key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(answer.content)
            told.append(look(answer.content))
        except (httpx.HTTPError, av.FFmpegError, ValueError) as error:
            problems.append(f"the {kind} at {clock(highlight['start_seconds'])}: {error}")
        return path

    clip = get("clip", lambda content: _play(content, length, with_sound))
    thumbnail = get("thumbnail", _open)
    return Clip(clip, thumbnail, "  ".join(told), problems)


def clock(seconds: float) -> str:
    """A time in a video: `1:05`, `1:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _play(content: bytes, length: float, with_sound: bool) -> str:
    with av.open(io.BytesIO(content), "r") as container:
        if not container.streams.video:
            raise ValueError("it has no picture")
        if with_sound and not container.streams.audio:
            raise ValueError("it has no sound")
        seconds = (container.duration or 0) / av.time_base
        if abs(seconds - length) > _TOLERANCE_SECONDS:
            raise ValueError(f"it is {seconds:.1f} s long and should be {length:.1f} s")
        codecs = [stream.codec_context.name for stream in container.streams if stream.type in {"video", "audio"}]
        frames = len([None for _ in container.decode(video=0)])
    return f"{seconds:4.1f} s, {frames} frames, {' + '.join(codecs)}"


def _open(content: bytes) -> str:
    with av.open(io.BytesIO(content), "r") as container:
        if container.streams.video[0].codec_context.name != "mjpeg":
            raise ValueError("it is no JPEG")
        frame = next(container.decode(video=0))
    return f"JPEG {frame.width}x{frame.height}"
