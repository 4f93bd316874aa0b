"""What the formula finds in videos, and what it leaves alone; on videos that are made here, picture by picture."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest

from highlights.recording import Cutter
from highlights.signals import baseline, measure, same_moment, score

RATE = 12
SOUND_RATE = 8000
THRESHOLD = 0.55
HEIGHT, WIDTH = 90, 160
GREY = np.full((HEIGHT, WIDTH), 100, np.uint8)


def record(path, seconds, picture, sound=None):
    """Encode a video: what `picture` says of each frame's time, and `sound` of each sample's."""
    with av.open(str(path), "w") as output:
        options = {"preset": "ultrafast", "crf": "30", "sc_threshold": "0"}
        video = output.add_stream("libx264", rate=RATE, width=WIDTH, height=HEIGHT, options=options)
        video.pix_fmt = "gray"
        video.gop_size = RATE
        audio = sound and output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for number in range(seconds * RATE):
            frame = av.VideoFrame.from_ndarray(picture(number / RATE), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(frame))
            if audio and number % RATE == 0:
                times = number // RATE + np.arange(SOUND_RATE) / SOUND_RATE
                heard = av.AudioFrame.from_ndarray(sound(times).astype(np.float32)[None], format="fltp", layout="mono")
                heard.rate, heard.pts = SOUND_RATE, number // RATE * SOUND_RATE
                output.mux(audio.encode(heard))
        output.mux(video.encode())
        if audio:
            output.mux(audio.encode())
    return path


def cut(path, seconds=5.0):
    """The segments of a video, as the pipeline cuts them."""
    segments = []
    with av.open(str(path)) as source:
        audio = next(iter(source.streams.audio), None)
        cutter = Cutter(path.parent, seconds, source.streams.video[0], audio, segments.append)
        for packet in source.demux([stream for stream in (source.streams.video[0], audio) if stream]):
            cutter.write(packet)
        cutter.close()
    return segments


def judge(segments):
    """The signals and the score of each segment."""
    measured = list(measure(segments))
    usual = baseline(measured)
    return measured, [score(each, usual) for each in measured]


def still(time):
    return GREY


def random(level):
    generator = np.random.default_rng(7)
    return lambda time: generator.integers(0, level, (HEIGHT, WIDTH), np.uint8)


def moving(pixels_a_second):
    """Stripes that pass by."""
    stripes = (np.sin(np.arange(WIDTH * 4) / 6) * 60 + 120).astype(np.uint8)
    return lambda time: np.tile(np.roll(stripes, int(time * pixels_a_second))[:WIDTH], (HEIGHT, 1))


def street(time):
    """Stripes whose speed and light change a little, as on a street where something always passes."""
    return moving(1)(30 * time + 6 * np.sin(time / 3)) + np.uint8(3 + 3 * np.sin(time))


def hum(loudness):
    return lambda times: np.sin(times * 2 * np.pi * 220) * loudness


def hiss(times):
    return np.random.default_rng(int(times[0])).uniform(-0.5, 0.5, len(times))


def traffic(times):
    return hum(0.1)(times) * (1 + 0.4 * np.sin(times / 2))


def burst(begin, end):
    """A still picture, but for a while in which another one comes every half second."""

    def picture(time):
        return GREY // 2 * (1 + int(time * 2) % 3) if begin <= time < end else GREY

    return picture


def bang(begin, end):
    return lambda times: hum(0.02)(times) + np.where((times >= begin) & (times < end), hiss(times), 0)


@pytest.mark.parametrize(
    ("picture", "sound"),
    [
        (still, None),
        (still, hum(0)),
        (still, hiss),
        (random(255), hiss),
        (random(40), hum(0.3)),
        (moving(40), hum(0.1)),
        (street, traffic),
    ],
    ids=["still", "silence", "still and noise", "snow and noise", "grain and hum", "steady motion", "street"],
)
def test_where_nothing_happens_there_is_no_highlight(tmp_path, picture, sound):
    """A still picture, a steady scene, silence and noise have no highlights, with sound or without."""
    _, scores = judge(cut(record(tmp_path / "film.mp4", 25, picture, sound)))
    assert len(scores) == 5
    assert max(each.value for each in scores) < THRESHOLD - 0.1


def test_a_burst_is_found(tmp_path):
    """A loud moment with cuts stands out of a calm video, where it is and nowhere else, and the reason says by what."""
    measured, scores = judge(cut(record(tmp_path / "film.mp4", 60, burst(31, 34), bang(31, 34))))
    (at,) = [number for number, each in enumerate(scores) if each.value >= THRESHOLD]
    assert at == 6
    assert scores[at].value > 0.9
    assert "louder than usual" in scores[at].reason
    assert "cuts" in scores[at].reason
    assert 31 <= measured[at].peak_seconds <= 34
    assert {each.type for number, each in enumerate(scores) if number != at} == {"calm"}


def test_a_burst_is_found_without_sound(tmp_path):
    """A video without sound is judged by its pictures alone."""
    measured, scores = judge(cut(record(tmp_path / "film.mp4", 40, burst(21, 24))))
    assert {each.loudness_db for each in measured} == {None}
    assert [number for number, each in enumerate(scores) if each.value >= THRESHOLD] == [4]
    assert "dB" not in scores[4].reason


def test_a_burst_is_found_in_a_long_segment(tmp_path):
    """However long segments are, three lively seconds aren't lost in one, and the peak says where they are."""
    measured, scores = judge(cut(record(tmp_path / "film.mp4", 60, burst(47, 50), bang(47, 50)), seconds=20))
    assert [each.value >= THRESHOLD for each in scores] == [False, False, True]
    assert 47 <= measured[2].peak_seconds <= 50


def test_a_cut_between_two_segments_counts(tmp_path):
    """Segments begin with key frames, which is where cuts often are; these are counted too."""
    measured, _ = judge(cut(record(tmp_path / "film.mp4", 20, lambda time: GREY // 2 if time >= 10 else GREY)))
    assert [each.cuts for each in measured] == [0, 0, 1, 0]


def test_loudness_is_of_full_scale(tmp_path):
    """A full sine is -3 dB, silence -60 dB, whichever sample format the sound has."""
    segments = cut(record(tmp_path / "film.mp4", 10, still, lambda times: np.where(times < 5, hum(1.0)(times), 0)))
    loud, silent = measure(segments)
    assert loud.loudness_db == pytest.approx(-3, abs=0.5)
    assert silent.loudness_db < -40
    path = tmp_path / "pcm.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        wave = (hum(1.0)(np.arange(SOUND_RATE) / SOUND_RATE) * 32767).astype(np.int16)
        for begin in range(0, SOUND_RATE, 1000):
            frame = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1000], format="s16", layout="mono")
            frame.rate, frame.pts = SOUND_RATE, begin
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    (whole,) = measure([type(segments[0])(0, 0.0, 1.0, path, ())])
    assert whole.loudness_db == pytest.approx(-3, abs=0.5)


def test_two_bursts_with_a_lull_are_two_moments(tmp_path):
    """One burst across the border of two segments is one moment; with a lull between them they are two."""

    def moments(*bursts):
        pictures, sounds = [burst(*each) for each in bursts], [bang(*each) for each in bursts]
        path = record(
            tmp_path / "film.mp4",
            30,
            lambda time: next((p(time) for p, (b, e) in zip(pictures, bursts, strict=True) if b <= time < e), GREY),
            lambda times: sum(each(times) for each in sounds),
        )
        measured = list(measure(cut(path)))
        return same_moment(measured[2], measured[3], baseline(measured))

    assert moments((13, 17))
    assert not moments((10, 12), (17, 19))


def test_a_damaged_segment_is_measured_all_the_same(tmp_path):
    """What broke on its way costs its seconds, not the whole stream."""
    segments = cut(record(tmp_path / "film.mp4", 20, moving(40), hum(0.1)))
    data = bytearray(segments[1].path.read_bytes())
    for place in range(len(data) // 3, len(data) * 2 // 3):
        data[place] = place * 37 % 256
    segments[1].path.write_bytes(data)
    measured, scores = judge(segments)
    assert len(measured) == 4
    assert max(each.value for each in scores) < THRESHOLD


def test_a_long_segment_needs_no_more_memory(tmp_path):
    """Forty seconds in one segment take the memory that five take."""
    path = record(tmp_path / "film.mp4", 40, moving(40), hum(0.1))

    def most(seconds):
        segments = cut(path, seconds)
        tracemalloc.start()
        try:
            assert list(measure(segments))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short = most(5)
    assert most(39) < short + 500_000
