"""The stream as files on the disk, cut at key frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path  # noqa: TC003 - pydantic stores segments between two tasks, and looks at their fields
from typing import TYPE_CHECKING

import av

from highlights.failures import StreamFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from av import AudioStream, Packet, VideoStream
    from av.container import OutputContainer
    from av.stream import Stream

__all__ = ["Cutter", "Segment"]

_JUMP = 10
"""Seconds. A larger step in the timestamps of a stream that may have such is no time that passed (as for ffmpeg)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the stream, in a file whose timestamps are the stream's: seconds since its first key frame."""

    index: int
    start: float
    end: float
    path: Path
    keyframes: tuple[float, ...]


class Cutter:
    """Writes a stream's packets, as they are, into one file after the other.

    Args:
        directory: of the files.
        seconds: the least length of each but the last.
        growth: the least part that each is of what came before it, so that there are never many.
        video: the stream whose key frames begin the files.
        audio: a stream to go with it.
        finished: called with each segment.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a cutter consists of
        self,
        directory: Path,
        seconds: float,
        video: VideoStream,
        audio: AudioStream | None,
        finished: Callable[[Segment], None],
        growth: float = 0.0,
    ) -> None:
        self._directory = directory
        self._seconds = seconds
        self._growth = growth
        self._video = video
        self._audio = audio
        self._finished = finished
        self._jumps = video.container.format.name in {"hls", "mpegts", "mpeg"}
        self._shifts: tuple[Fraction, ...] = ()
        self._newest = Fraction(0)
        self._dts: dict[int, int] = {}
        self._output: OutputContainer | None = None
        self._outputs: dict[int, Stream] = {}
        self._index = 0
        self._start = Fraction(0)
        self._end = Fraction(0)
        self._keyframes: list[float] = []
        self._path = directory

    @property
    def end(self) -> float:
        """How far the picture was written, in seconds."""
        return float(self._end)

    @property
    def read(self) -> float:
        """How far picture or sound came, in seconds."""
        return float(max(self._end, self._newest))

    def write(self, packet: Packet[Stream]) -> bool:
        """Add a packet; whether that finished a segment."""
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.pts is None:
            return False
        base, is_video = packet.time_base, packet.stream_index == self._video.index
        if not self._shifts:
            if not (is_video and packet.is_keyframe):
                return False
            self._shifts = (-packet.pts * base,)
        dts = packet.pts if packet.dts is None else packet.dts
        shift = round(self._shift(dts * base) / base)
        if packet.pts + shift < 0:
            return False  # it belongs to what was before the first key frame
        usual = 1 / (self._video.average_rate or Fraction(25)) if is_video else Fraction(0)
        length = packet.duration * base if packet.duration else usual
        self._newest = max(self._newest, (dts + shift) * base + length)
        # Matroska keeps no decoding times, and some sources' are missing or wrong: early ones satisfy the muxer.
        early = dts + shift - round(1 / base)
        packet.dts = self._dts[packet.stream_index] = max(early, self._dts.get(packet.stream_index, early))
        packet.pts = max(packet.pts + shift, packet.dts)

        cut = False
        at = packet.pts * base
        if is_video:
            if packet.is_keyframe:
                cut = self._output is not None and at - self._start >= max(self._seconds, self._start * self._growth)
                if cut:
                    self._end = at
                    self.close()
                if self._output is None:
                    self._begin(at)
                self._keyframes.append(float(at))
            self._end = max(self._end, at + length)
        assert self._output is not None  # noqa: S101 - the first packet that comes here is a key frame
        packet.stream = self._outputs[packet.stream_index]
        self._output.mux(packet)
        return cut

    def close(self) -> None:
        """Finish the segment that is being written."""
        if self._output is None:
            return
        self._output.close()
        self._output = None
        self._finished(Segment(self._index, float(self._start), float(self._end), self._path, tuple(self._keyframes)))
        self._index += 1
        self._keyframes = []

    def _begin(self, at: Fraction) -> None:
        self._start = at
        self._path = self._directory / f"{self._index:05}.mkv"
        # Matroska holds nearly any codec; its timestamps stay the stream's, which keeps picture and sound in step.
        output = av.open(str(self._path), "w", options={"avoid_negative_ts": "disabled"})
        for stream in filter(None, (self._video, self._audio)):
            try:
                self._outputs[stream.index] = output.add_stream_from_template(stream, opaque=True)
            except ValueError as error:
                codec = stream.codec_context.codec.long_name
                raise StreamFailure("not_a_video", f"The source's codec is not supported: {codec}.") from error
        self._output = output

    def _shift(self, dts: Fraction) -> Fraction:
        """What to add to a timestamp: after a jump, so much that the stream goes on where it was."""
        if not self._jumps or not self._outputs:
            return self._shifts[0]
        for shift in self._shifts:
            if abs(dts + shift - self._newest) < _JUMP:
                return shift
        # Packets of the other stream from before the jump may still come.
        self._shifts = (self._newest - dts, self._shifts[0])
        return self._shifts[0]
