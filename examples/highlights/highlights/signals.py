"""How lively each part of a stream is by its sound and picture, measured, and scored against the stream's own usual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from highlights.recording import Segment

__all__ = ["Baseline", "Score", "Signals", "baseline", "measure", "same_moment", "score"]

_FLOORS: Final = np.array((6.0, 1.0, 1.0))
"""The least spread of loudness (dB), motion and cuts that counts: else all of a quiet stream would stand out."""
_MOST: Final = 3.0
"""Spreads from the median beyond which there is no more to tell."""
_STEEPNESS: Final = 1.3
"""Of the score: one spread above the median in all three makes 0.73, two make 0.93."""
_STRIKING: Final = 0.5
"""Spreads above the median from where on a signal is worth telling."""
_TYPES: Final = ("loud", "action", "montage")
_QUIETEST: Final = 1e-6
"""The power of -60 dB; nobody hears what's below."""
_STEP: Final = 0.5
"""Seconds over which sound and picture are summed up."""
_WINDOW_SECONDS: Final = 5
"""A segment is as lively as its liveliest so many, however long it is."""
_WINDOW: Final = round(_WINDOW_SECONDS / _STEP)
_MOMENT: Final = 5
"""Steps over which liveliness is averaged where a peak or a lull is looked for."""
_FRAME_GAP: Final = 0.08
"""Seconds. Nearer pictures are not compared, so that a higher frame rate isn't less motion."""
_WIDTH, _HEIGHT = 64, 36
_CUT: Final = 20.0
"""Grey levels (of 255) by which the pictures around a cut differ on average, at least..."""
_CUT_RATIO: Final = 2.0
"""... and so many times what the neighbouring ones do: shaking and noise are no cuts."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured of a segment; the first three are of its liveliest seconds."""

    loudness_db: float | None
    """95th percentile, in dB of full scale; None without sound."""
    motion: float
    """Mean difference of successive pictures, in grey levels, without cuts."""
    cuts: int
    peak_seconds: float
    """The liveliest moment, in the stream's time."""
    course: tuple[tuple[float, float, float], ...] = ()
    """Loudness, motion and cuts of each half second."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual in a stream: the medians of loudness, motion and cuts, and how far they spread."""

    median: tuple[float, ...]
    spread: tuple[float, ...]
    liveliness: float
    """Of the median half second."""


@dataclass(frozen=True, slots=True)
class Score:
    """How much a segment stands out, from 0 to 1, and by what."""

    value: float
    reason: str
    type: str


class _Picture(NamedTuple):
    time: float
    grey: npt.NDArray[np.int16]


def measure(segments: Iterable[Segment]) -> Iterator[Signals]:
    """The signals of each of a stream's segments in turn. Memory doesn't grow with their length."""
    last: _Picture | None = None
    smaller = VideoReformatter()
    for segment in segments:
        steps = np.zeros((5, max(1, round((segment.end - segment.start) / _STEP))))
        power, samples, motion, pairs, cuts = steps
        changes: list[tuple[int, float]] = []
        for frame in _frames(segment):
            time = frame.time or 0.0
            step = min(max(int((time - segment.start) / _STEP), 0), steps.shape[1] - 1)
            if isinstance(frame, av.AudioFrame):
                power[step] += _power(frame) * frame.samples
                samples[step] += frame.samples
            elif last is None or not 0 <= time - last.time < _FRAME_GAP:
                small = smaller.reformat(frame, _WIDTH, _HEIGHT, "gray", threads=1)
                picture = _Picture(time, small.to_ndarray().astype(np.int16))
                if last is not None:  # of the segment before, perhaps: many begin with a cut
                    changes.append((step, float(np.abs(picture.grey - last.grey).mean())))
                last = picture
        for (step, change), is_cut in zip(changes, _are_cuts([change for _, change in changes]), strict=True):
            cuts[step] += is_cut
            pairs[step] += not is_cut
            motion[step] += 0 if is_cut else change
        loudness = 10 * np.log10(np.maximum(power / np.maximum(samples, 1), _QUIETEST))
        course = np.array((loudness, motion / np.maximum(pairs, 1), cuts)).T
        yield _signals(segment, course, has_sound=bool(samples.any()))


def baseline(signals: Sequence[Signals]) -> Baseline:
    """What is usual in the stream that these segments make up, whatever its few lively minutes are like.

    It's taken from all windows of the stream, so that it hardly depends on where the segments begin.
    """
    course = np.array([step for each in signals for step in each.course])
    low, median, high = np.percentile(_windows(course), (16, 50, 84), axis=0)
    return Baseline(
        median=tuple(median.tolist()),
        spread=tuple(np.maximum((high - low) / 2, _FLOORS).tolist()),
        liveliness=float(np.median((course / _FLOORS).sum(axis=1))),
    )


def score(signals: Signals, usual: Baseline) -> Score:
    """The formula: by how many spreads loudness, motion and cuts are above the stream's median, on average.

    Quiet and still seconds weigh against the others. Few cuts don't: a long shot can be as lively as many short ones.
    """
    loudness = np.nan if signals.loudness_db is None else signals.loudness_db
    above = (np.array((loudness, signals.motion, signals.cuts)) - usual.median) / usual.spread
    above = np.clip(above, (-_MOST, -_MOST, 0), _MOST)
    words = (
        f"{loudness - usual.median[0]:.0f} dB louder than usual",
        f"motion of {signals.motion:.1f} where {usual.median[1]:.1f} is usual",
        f"{signals.cuts} cuts within {_WINDOW_SECONDS} seconds",
    )
    striking = [word for word, spreads in zip(words, above, strict=True) if spreads >= _STRIKING]
    return Score(
        value=1 - math.exp(-_STEEPNESS * max(float(np.nanmean(above)), 0)),
        reason="; ".join(striking) or "much like the rest of the stream",
        type=_TYPES[int(np.nanargmax(above))] if striking else "calm",
    )


def same_moment(first: Signals, second: Signals, usual: Baseline) -> bool:
    """Whether there is no lull between the peaks of two successive segments."""
    course = first.course[_peak(first.course) :] + second.course[: _peak(second.course) + 1]
    way = _liveliness(course)
    return bool(way.min() >= (min(way[0], way[-1]) + usual.liveliness) / 2)


def _signals(segment: Segment, course: npt.NDArray[np.float64], *, has_sound: bool) -> Signals:
    windows = _windows(course)
    loudness, motion, cuts = windows[(windows / _FLOORS).sum(axis=1).argmax()]
    return Signals(
        loudness_db=float(loudness) if has_sound else None,
        motion=float(motion),
        cuts=int(cuts),
        peak_seconds=min(segment.start + (_peak(course) + 0.5) * _STEP, segment.end),
        course=tuple(map(tuple, course.tolist())),
    )


def _windows(course: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    windows = sliding_window_view(course, min(_WINDOW, len(course)), axis=0)
    loudness, motion, cuts = windows.transpose(1, 2, 0)
    return np.array((np.percentile(loudness, 95, axis=0), motion.mean(axis=0), cuts.sum(axis=0))).T


def _liveliness(course: Any) -> npt.NDArray[np.float64]:
    padded = np.pad((np.array(course) / _FLOORS).sum(axis=1), _MOMENT // 2, mode="edge")
    return np.asarray(sliding_window_view(padded, _MOMENT).mean(axis=1))


def _peak(course: Any) -> int:
    return int(_liveliness(course).argmax())


def _are_cuts(changes: list[float]) -> list[bool]:
    padded = [0.0, *changes, 0.0]
    return [
        change >= _CUT and change >= _CUT_RATIO * max(before, after)
        for before, change, after in zip(padded, changes, padded[2:], strict=False)
    ]


def _power(frame: av.AudioFrame) -> float:
    samples: npt.NDArray[Any] = frame.to_ndarray()
    full_scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    return float(np.var(samples.astype(np.float32) / full_scale))


def _frames(segment: Segment) -> Iterator[av.VideoFrame | av.AudioFrame]:
    with av.open(str(segment.path)) as container:
        video, audio = container.streams.best("video"), container.streams.best("audio")
        if isinstance(video, av.VideoStream):
            video.codec_context.skip_frame = "NONREF"
        for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # what broke on its way is neither seen nor heard
                continue
            yield from (frame for frame in frames if isinstance(frame, av.VideoFrame | av.AudioFrame))
