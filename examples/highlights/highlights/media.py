"""Video as the pipeline needs it: probed, and cut into segments, stills and clips, by FFmpeg's libraries."""

from __future__ import annotations

import shutil
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - pydantic stores segments between two tasks, and looks at their fields
from typing import TYPE_CHECKING

import av
from av.stream import Discard, Disposition

from highlights.clips import cut_clip
from highlights.failures import StreamFailure
from highlights.recording import Cutter, Segment
from highlights.settings import settings
from highlights.sources import SourceEnded, open_source
from tldr_observability import traced_service_method

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from av import AudioStream, VideoFrame, VideoStream
    from av.container import InputContainer

__all__ = [
    "Keyframe",
    "Probe",
    "Segment",
    "create_segments",
    "cut_clip",
    "extract_keyframes",
    "make_hls",
    "probe_stream",
    "thumbnail",
]

_PATIENCE = 10
"""How many times the timeout a source may lag behind: one that drips for ever must not hold a worker."""

_WHOLE = 0.9
"""The part of what a file promises that makes it whole: headers are not exact."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a source is."""

    duration: float | None
    """Seconds; None while it's live."""
    width: int
    height: int
    video_codec: str
    audio_codec: str | None


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A picture of the stream."""

    time: float
    segment: int
    path: Path


@traced_service_method
def probe_stream(url: str) -> Probe:
    """What the URL leads to; StreamFailure `no_video` where there is nothing to see."""
    try:
        with open_source(url, within=_PATIENCE * settings().source_timeout) as container:
            video, audio = _streams(container)
            if video.codec_context.width * video.codec_context.height > settings().most_pixels:
                raise StreamFailure("picture_too_large", "The picture is too large.")
            promised = (container.duration or 0) / av.time_base
            return Probe(
                duration=promised if promised > 0 else None,
                width=video.codec_context.width,
                height=video.codec_context.height,
                video_codec=video.codec_context.codec.canonical_name,
                audio_codec=audio.codec_context.codec.canonical_name if audio else None,
            )
    except SourceEnded as error:
        raise StreamFailure("not_a_video", "The source is too large to be looked at.") from error


@traced_service_method
def create_segments(  # noqa: PLR0913 - limits and hooks, by name
    url: str,
    directory: Path,
    *,
    seconds: float,
    most_seconds: float,
    most_bytes: int,
    growth: float = 0.0,
    go_on: Callable[[], object] = lambda: True,
    on_segment: Callable[[Segment], object] = lambda _: None,
) -> list[Segment]:
    """Read the stream into files that begin with key frames; what was there before is discarded.

    Args:
        url: a recording, or a live stream, which is read while it grows.
        directory: where to; it's made, or made anew.
        seconds: the least length of a segment (but for the last).
        most_seconds: where the reading ends, in the stream's time.
        most_bytes: where the reading ends, in bytes that came.
        growth: the least part that a segment is of what came before it; for live streams, whose end nobody knows.
        go_on: asked about once a second, and at each segment; a false answer ends the reading.
        on_segment: called with each finished segment.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    segments: list[Segment] = []
    asked = float("-inf")
    stopped = False

    def ask(*, now: bool = False) -> None:
        nonlocal asked, stopped
        if not now and time.monotonic() < asked + 1:
            return
        stopped = not go_on()
        asked = time.monotonic()
        if stopped:
            raise SourceEnded

    def finished(segment: Segment) -> None:
        segments.append(segment)
        on_segment(segment)

    within = most_seconds + _PATIENCE * settings().source_timeout
    with suppress(SourceEnded), open_source(url, most_bytes=most_bytes, within=within, on_wait=ask) as container:
        video, audio = _streams(container)
        with closing(Cutter(directory, seconds, video, audio, finished, growth)) as cutter:
            for packet in container.demux([stream for stream in (video, audio) if stream]):
                ask(now=cutter.write(packet))
                if cutter.end >= most_seconds:
                    break
            else:
                if cutter.read < _WHOLE * _promised(container, video, audio):
                    raise StreamFailure("source_interrupted", "The video is shorter than it says: its end is missing.")
    if not segments and not stopped:
        raise StreamFailure("not_a_video", "The source has no picture that can be read.")
    return segments


@traced_service_method
def extract_keyframes(
    segments: Sequence[Segment], directory: Path, *, width: int = 320, most: int = 4
) -> list[Keyframe]:
    """Save pictures of the segments as JPEGs, `most` of each at even distances."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    keyframes = []
    for segment in segments:
        step = -(-len(segment.keyframes) // most)
        with av.open(str(segment.path)) as container:
            for number, at in enumerate(segment.keyframes[:: step or 1]):
                frame = _frame(container, at)
                if frame is not None:
                    path = directory / f"{segment.index:05}-{number}.jpg"
                    _save(frame, path, width)
                    keyframes.append(Keyframe(at, segment.index, path))
    return keyframes


def thumbnail(segments: Sequence[Segment], at: float, path: Path, *, width: int = 640) -> None:
    """Save the picture at that time as a JPEG."""
    segment = next((segment for segment in reversed(segments) if segment.start <= at), segments[0])
    with av.open(str(segment.path)) as container:
        frame = _frame(container, at, exact=True)
    if frame is None:
        raise StreamFailure("not_a_video", "The video has a part that can't be decoded.")
    _save(frame, path, width)


def make_hls(source: Path, directory: Path, seconds: float = 6) -> Path:
    """Make a recording of HLS from a file, without coding it anew; its playlist."""
    directory.mkdir(parents=True, exist_ok=True)
    playlist = directory / "index.m3u8"
    options = {
        "hls_time": str(seconds),
        "hls_list_size": "0",
        "hls_playlist_type": "vod",
        "hls_segment_filename": str(directory / "%05d.ts"),
    }
    with av.open(str(source)) as container, av.open(str(playlist), "w", format="hls", options=options) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in _streams(container) if stream}
        for packet in container.demux(list(streams)):
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    return playlist


def _streams(container: InputContainer) -> tuple[VideoStream, AudioStream | None]:
    """What to look at and what to listen to; the rest isn't even read."""
    pictures = [
        stream
        for stream in container.streams.video
        if stream.codec_context and not stream.disposition & Disposition.attached_pic
    ]
    audio = next((stream for stream in container.streams.audio if stream.codec_context), None)
    if not pictures:
        raise StreamFailure("no_video", "The source has sound but no video." if audio else "The source has no video.")
    video = max(pictures, key=lambda stream: stream.width)
    for stream in container.streams:
        if stream not in (video, audio):
            stream.discard = Discard.all
    return video, audio


def _promised(container: InputContainer, *streams: VideoStream | AudioStream | None) -> float:
    """How long the file says it is, in seconds; 0 where the format doesn't say, and FFmpeg guesses."""
    if container.format.name.partition(",")[0] not in {"mov", "matroska"}:
        return 0.0
    durations = [
        stream.duration * stream.time_base for stream in streams if stream and stream.duration and stream.time_base
    ]
    return float(max(durations)) if durations else (container.duration or 0) / av.time_base


def _frame(container: InputContainer, at: float, *, exact: bool = False) -> VideoFrame | None:
    """The picture at that time, or of the key frame before it."""
    container.seek(round((at + 0.001) * av.time_base))
    last = None
    with suppress(av.InvalidDataError):
        for frame in container.decode(container.streams.video[0]):
            last = frame
            if not exact or (frame.time is not None and frame.time >= at):
                break
    return last


def _save(frame: VideoFrame, path: Path, width: int) -> None:
    width = min(width, frame.width) // 2 * 2
    height = max(round(frame.height * width / frame.width / 2) * 2, 2)
    frame.reformat(width, height).save(path)
