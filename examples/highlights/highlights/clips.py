"""Clips of what was recorded, as .mp4 files that browsers play."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from heapq import merge
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar

import av
from av import AudioFrame, AudioStream, VideoFrame, VideoStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from av import Packet
    from av.container import OutputContainer
    from av.stream import Stream

    from highlights.recording import Segment

    Packets = Iterator[tuple[Fraction, Packet[Stream]]]
    """Each with the time when it's decoded."""

__all__ = ["cut_clip"]

_Frame = TypeVar("_Frame", VideoFrame, AudioFrame)
_MILLISECOND: Final = Fraction(1, 1000)
"""What Matroska counts in, and so all times of what was recorded."""
_PLAYED: Final = {"h264", "hevc", "vp9", "av1", "aac", "mp3", "opus", "flac"}
"""What browsers play in an .mp4; all else is coded anew."""


def cut_clip(segments: Sequence[Segment], start: float, end: float, path: Path) -> None:
    """Make an .mp4 of what was recorded between `start` and `end`; playing can begin before all of it is there.

    Picture and sound are copied. What browsers can't play is coded anew, and so are pictures that don't begin with a
    key frame.
    """
    begin, stop = round(start * 1000), round(end * 1000)
    # Sound may be a little ahead of its picture or behind it: the neighbours have the rest of it.
    covering = [segment for segment in segments if start - 1 < segment.end and segment.start < end + 1]
    keyframes = {round(time * 1000) for segment in covering for time in segment.keyframes}
    with (
        av.open(str(covering[0].path)) as first,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output,
    ):
        tracks = []
        for stream in (*first.streams.video, *first.streams.audio):
            copied = stream.codec_context.codec.canonical_name in _PLAYED
            if isinstance(stream, VideoStream) and not (copied and begin in keyframes):
                tracks.append(_coded_pictures(output, stream, covering, begin, stop))
            elif isinstance(stream, AudioStream) and not copied:
                tracks.append(_coded_sound(output, stream, covering, begin, stop))
            else:
                tracks.append(_copied(output, stream, covering, begin, stop))
        for _, packet in merge(*tracks, key=itemgetter(0)):
            output.mux(packet)


def _copied(output: OutputContainer, stream: Stream, segments: Sequence[Segment], begin: int, stop: int) -> Packets:
    copy = output.add_stream_from_template(stream, opaque=True)
    if stream.codec_context.name == "hevc":
        copy.codec_tag = "hvc1"  # the one that Apple's players know
    shown = [pts for pts, _ in _packets(segments, stream) if pts >= begin - 1]
    while shown and shown[-1] >= stop - 1:
        shown.pop()
    # When to decode as many as are needed for what is shown before the end; bad sources show two at a time.
    times = list(accumulate(sorted(shown), lambda before, time: max(before + 1, time)))
    delay = max((time - pts for time, pts in zip(times, shown, strict=True)), default=0)
    needed = ((pts, packet) for pts, packet in _packets(segments, stream) if pts >= begin - 1)
    for time, (pts, packet) in zip(times, needed, strict=False):
        packet.pts, packet.dts = pts - begin, time - delay - begin
        packet.stream = copy
        yield packet.dts * _MILLISECOND, packet


def _coded_pictures(
    output: OutputContainer, stream: VideoStream, segments: Sequence[Segment], begin: int, stop: int
) -> Packets:
    coded = output.add_stream("libx264", stream.average_rate, {"preset": "veryfast"}, time_base=_MILLISECOND)
    coded.width, coded.height = stream.width // 2 * 2, stream.height // 2 * 2
    coded.sample_aspect_ratio = stream.sample_aspect_ratio or Fraction(1)
    coded.color_range, coded.colorspace = stream.color_range, stream.colorspace
    coded.color_primaries, coded.color_trc = stream.color_primaries, stream.color_trc
    for frame in _frames(stream.decode, _packets(segments, stream), begin, stop):
        if not coded.codec_context.is_open:
            coded.set_display_rotation(frame.rotation)  # phones film upright by a note that says so
        yield from _timed(coded.encode(frame))
    yield from _timed(coded.encode())


def _coded_sound(
    output: OutputContainer, stream: AudioStream, segments: Sequence[Segment], begin: int, stop: int
) -> Packets:
    coded = output.add_stream("aac", 48000)
    for frame in _frames(stream.decode, _packets(segments, stream), begin, stop):
        yield from _timed(coded.encode(frame))
    yield from _timed(coded.encode())


def _timed(packets: Sequence[Packet[Stream]]) -> Packets:
    return (((packet.dts or 0) * packet.time_base, packet) for packet in packets)


def _frames(
    decode: Callable[[Packet[Stream] | None], list[_Frame]],
    packets: Iterator[tuple[int, Packet[Stream]]],
    begin: int,
    stop: int,
) -> Iterator[_Frame]:
    for packet in chain((packet for _, packet in packets), [None]):
        with suppress(av.InvalidDataError):  # what broke on its way is left out
            for frame in decode(packet):
                if frame.pts is not None and begin <= frame.pts < stop:
                    frame.pts -= begin
                    yield frame


def _packets(segments: Sequence[Segment], stream: Stream) -> Iterator[tuple[int, Packet[Stream]]]:
    """What was recorded of a stream in the order of decoding, each with the time when it's shown."""
    for segment in segments:
        with av.open(str(segment.path)) as container:
            for packet in container.demux(container.streams[stream.index]):
                if packet.pts is not None:
                    yield packet.pts, packet
