"""What a customer gets: clips that play and thumbnails that open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import httpx

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ClipError", "download"]

_TOLERANCE_SECONDS = 1.0
_DOWNLOAD_SECONDS = 60.0


class ClipError(Exception):
    """A clip or thumbnail isn't what it is said to be."""


def download(highlight: dict[str, Any], kind: str, path: Path, *, with_sound: bool) -> str:
    """Get a highlight's `clip` or `thumbnail` by its link, and say what it is; raises ClipError.

    Args:
        highlight: the API's answer.
        kind: which of both.
        path: where to keep it.
        with_sound: whether a clip without it is a fault.
    """
    try:
        answer = httpx.get(highlight[f"{kind}_url"], timeout=_DOWNLOAD_SECONDS, trust_env=False).raise_for_status()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer.content)
        if kind == "thumbnail":
            return _look(path)
        return _play(path, highlight["end_seconds"] - highlight["start_seconds"], with_sound=with_sound)
    except (httpx.HTTPError, av.FFmpegError) as error:
        raise ClipError(str(error)) from error


def _play(path: Path, length: float, *, with_sound: bool) -> str:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ClipError("it has no picture")
        if with_sound and not container.streams.audio:
            raise ClipError("it has no sound")
        seconds = (container.duration or 0) / av.time_base
        if abs(seconds - length) > _TOLERANCE_SECONDS:
            raise ClipError(f"it is {seconds:.1f} s long and should be {length:.1f} s")
        codecs = [stream.codec_context.name for stream in container.streams if stream.type in {"video", "audio"}]
        frames = sum(1 for _ in container.decode(video=0))
    return f"{seconds:.1f} s, {frames} frames, {' + '.join(codecs)}"


def _look(path: Path) -> str:
    with av.open(str(path)) as container:
        if container.streams.video[0].codec_context.name != "mjpeg":
            raise ClipError("it is no JPEG")
        frame = next(container.decode(video=0))
    return f"JPEG, {frame.width}x{frame.height}"
