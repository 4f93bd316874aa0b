"""What becomes of a stream's video: segments, stills and clips that play, of recordings and of what still grows."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from media_server import MediaServer, media_server
from running import SAMPLE

from highlights.failures import StreamFailure
from highlights.media import create_segments, cut_clip, extract_keyframes, probe_stream, thumbnail
from highlights.settings import settings

if TYPE_CHECKING:
    from highlights.media import Segment


pytestmark = pytest.mark.usefixtures("development")


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory, hls: Path) -> list[Segment]:
    """The film in segments of at least five seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch, media_server() as server:
        monkeypatch.setenv("DATABASE_URL", "sqlite://")
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        monkeypatch.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "true")
        settings.cache_clear()
        server.serve(hls)
        return _read(server.url("/index.m3u8"), tmp_path_factory.mktemp("segments"))


def _read(url: str, directory: Path, **options: Any) -> list[Segment]:
    limits = {"seconds": 5, "most_seconds": 1000, "most_bytes": 10**9, **options}
    return create_segments(url, directory, **limits)


def _fast(codec: str) -> dict[str, str]:
    speed = {"libx26": {"preset": "ultrafast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
    return {"g": "10", **speed.get(codec[:6], {})}


class _Film:
    """A made film: grey levels that tell the time, and a tone."""

    def __init__(
        self, path: Path, *, video: str | None = "libx264", audio: str | None = "aac", seconds: int = 5
    ) -> None:
        with av.open(str(path), "w") as output:
            picture = (
                output.add_stream(video, rate=10, width=160, height=90, pix_fmt="yuv420p", options=_fast(video))
                if video
                else None
            )
            sound = output.add_stream(audio, rate=48000) if audio else None
            for tenth in range(seconds * 10):
                if picture:
                    frame = av.VideoFrame.from_ndarray(np.full((90, 160), 16 + 3 * tenth, np.uint8), "gray")
                    frame = frame.reformat(format="yuv420p")
                    frame.pts = tenth
                    output.mux(picture.encode(frame))
                if sound:
                    tone = np.sin(np.arange(4800) * 440 * 2 * np.pi / 48000).astype(np.float32)
                    samples = av.AudioFrame.from_ndarray(tone[None, :], "fltp", "mono")
                    samples.sample_rate, samples.pts = 48000, tenth * 4800
                    output.mux(sound.encode(samples))
            for stream in filter(None, (picture, sound)):
                output.mux(stream.encode(None))


def _streams(path: Path) -> dict[str, float]:
    with av.open(str(path)) as container:
        return {stream.type: float((stream.duration or 0) * stream.time_base) for stream in container.streams}


def test_segments_follow_each_other_and_begin_with_key_frames(segments: list[Segment]) -> None:
    """Every second of the film is in one segment; each is long enough, and can be decoded from its first picture."""
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(90, abs=0.1)
    for segment, following in pairwise(segments):
        assert segment.end == following.start
        assert segment.end - segment.start >= 5
    frames = 0
    for segment in segments:
        assert segment.keyframes[0] == segment.start
        assert list(segment.keyframes) == sorted(segment.keyframes)
        with av.open(str(segment.path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times[0] == pytest.approx(segment.start, abs=0.002)
        assert times[-1] < segment.end
        frames += len(times)
    assert frames == 2160


def test_segments_keep_sound_and_picture_in_step(segments: list[Segment]) -> None:
    """Picture and sound have the same times in the segments as in the film, to a millisecond or two."""
    with av.open(str(SAMPLE)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        original = [float(packet.pts * packet.time_base) for packet in packets]
    kept = []
    for segment in segments:
        with av.open(str(segment.path)) as container:
            kept += [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    missing = len(original) - len(kept)
    assert 0 <= missing <= 2  # what lies before the first picture
    assert max(abs(a - b) for a, b in zip(original[missing:], sorted(kept), strict=True)) < 0.002


@pytest.mark.parametrize(("first", "last"), [(0, 1), (4, 5), (9, 13), (14, 16)])
def test_clips_play_from_their_first_picture(segments: list[Segment], tmp_path: Path, first: int, last: int) -> None:
    """A clip has picture and sound, is as long as asked for, and decodes without a gap."""
    start, end = segments[first].start, segments[last].end
    clip = tmp_path / "clip.mp4"
    cut_clip(segments, start, end, clip)
    assert clip.read_bytes().index(b"moov") < clip.read_bytes().index(b"mdat")
    with av.open(str(clip)) as container:
        assert container.duration / av.time_base == pytest.approx(end - start, abs=0.2)
        times = [frame.time for frame in container.decode(video=0)]
    assert times[0] == pytest.approx(0, abs=0.01)
    assert max(b - a for a, b in pairwise(times)) < 0.09
    lengths = _streams(clip)
    assert set(lengths) == {"video", "audio"}
    assert lengths["video"] == pytest.approx(lengths["audio"], abs=0.2)


def test_a_clip_shows_the_moment_that_was_asked_for(segments: list[Segment], tmp_path: Path) -> None:
    """The clip's pictures are those of the film at that time; so is the thumbnail."""
    start = segments[11].keyframes[0]
    cut_clip(segments, start, start + 4, tmp_path / "clip.mp4")
    thumbnail(segments, start + 2, tmp_path / "thumbnail.jpg")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        shown = _grey(container, 2)
    with av.open(str(SAMPLE)) as container:
        meant, other = _grey(container, start + 2), _grey(container, start + 3)
    with av.open(str(tmp_path / "thumbnail.jpg")) as container:
        still = _grey(container, 0)
    assert np.abs(shown - meant).mean() < 1
    assert np.abs(still - meant).mean() < 5
    assert np.abs(still - other).mean() > np.abs(still - meant).mean()


def _grey(container: Any, at: float) -> Any:
    if at:
        container.seek(int(at * av.time_base))
    frame = next(frame for frame in container.decode(video=0) if frame.time is None or frame.time >= at - 0.005)
    return frame.reformat(160, 90, "gray").to_ndarray().astype(float)


def test_a_clip_can_begin_between_key_frames(segments: list[Segment], tmp_path: Path) -> None:
    """A start that is no key frame's is kept to: the pictures before it are left out, and the rest is coded anew."""
    start = segments[3].start + 0.5
    cut_clip(segments, start, start + 3, tmp_path / "clip.mp4")
    lengths = _streams(tmp_path / "clip.mp4")
    assert (lengths["video"], lengths["audio"]) == (pytest.approx(3, abs=0.1), pytest.approx(3, abs=0.1))
    with av.open(str(tmp_path / "clip.mp4")) as container, av.open(str(SAMPLE)) as film:
        assert np.abs(_grey(container, 1) - _grey(film, start + 1)).mean() < 3


@pytest.mark.parametrize("start", [1.0, 1.5])
def test_an_upright_film_has_upright_clips(server: MediaServer, tmp_path: Path, start: float) -> None:
    """What a phone noted of its rotation is in the clip, be it copied or coded anew."""
    (tmp_path / "films").mkdir()
    with av.open(str(tmp_path / "films" / "film.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=10, width=160, height=90, options=_fast("libx264"))
        stream.set_display_rotation(90)
        for tenth in range(30):
            frame = av.VideoFrame(160, 90, "yuv420p")
            frame.pts = tenth
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    server.serve(tmp_path / "films")
    cut_clip(_read(server.url("/film.mp4"), tmp_path / "s", seconds=1), start, 2.5, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 90


def test_key_frames_are_pictures_of_a_bounded_number(segments: list[Segment], tmp_path: Path) -> None:
    """Each segment gives a few JPEGs of the asked width, at their times."""
    keyframes = extract_keyframes(segments, tmp_path / "keyframes", width=200, most=2)
    assert {keyframe.segment for keyframe in keyframes} == {segment.index for segment in segments}
    assert len(keyframes) <= 2 * len(segments)
    for keyframe in keyframes:
        segment = segments[keyframe.segment]
        assert keyframe.time in segment.keyframes
        assert keyframe.path.read_bytes()[:3] == b"\xff\xd8\xff"
    with av.open(str(keyframes[0].path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (200, 112)


class _Live:
    """A live playlist: a new segment each `every` seconds, of the last five."""

    def __init__(self, server: MediaServer, hls: Path, *, every: float, last: int = 15, ends: bool = True) -> None:
        server.serve(hls)
        lines = (hls / "index.m3u8").read_text().splitlines()
        self.entries = [f"{a}\n{b}\n" for a, b in pairwise(lines) if a.startswith("#EXTINF")]
        self.began = time.monotonic()
        self.every, self.last, self.ends = every, last, ends
        server.answers["/live.m3u8"] = lambda handler: handler.give(self.playlist().encode(), ranges=False)

    def playlist(self) -> str:
        there = min(self.last, 3 + int((time.monotonic() - self.began) / self.every))
        first = max(0, there - 5)
        head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        return (
            head + "".join(self.entries[first:there]) + ("#EXT-X-ENDLIST\n" if self.ends and there == self.last else "")
        )


def test_a_live_stream_is_read_while_it_grows_until_it_ends(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """A live stream has no duration; its segments come as they are there, and its end is the end."""
    live = _Live(server, hls, every=0.4, last=7)
    assert probe_stream(server.url("/live.m3u8")).duration is None
    live.began = time.monotonic()
    came: list[float] = []
    segments = _read(
        server.url("/live.m3u8"), tmp_path / "s", on_segment=lambda _: came.append(time.monotonic() - live.began)
    )
    assert segments[-1].end == pytest.approx(42, abs=2)
    assert came[0] < 1
    assert came[-1] > 1.5
    assert server.asked.count("/live.m3u8") < 20


def test_a_live_stream_ends_when_its_customer_says_so(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """`go_on` is asked about once a second, also while nothing comes; a no ends the reading, and what came is there."""
    _Live(server, hls, every=1000, ends=False)
    asked: list[float] = []

    def go_on() -> bool:
        asked.append(time.monotonic())
        return len(asked) < 5

    began = time.monotonic()
    segments = _read(server.url("/live.m3u8"), tmp_path / "s", go_on=go_on)
    assert time.monotonic() - began < 6
    assert segments
    assert max(b - a for a, b in pairwise(asked)) < 2
    deadline = time.monotonic() + 1
    while server.connections and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.connections


def test_a_live_stream_that_just_stops_ends_as_well(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """An encoder that is switched off without a word ends the stream after a while."""
    _Live(server, hls, every=1000, ends=False)
    began = time.monotonic()
    assert _read(server.url("/live.m3u8"), tmp_path / "s")[-1].end == pytest.approx(18, abs=1)
    assert 2 < time.monotonic() - began < 8


def test_a_hanging_source_asks_its_customer_too(
    server: MediaServer, tmp_path: Path, development: pytest.MonkeyPatch
) -> None:
    """A stop is heard within two seconds although the source says nothing and its timeout is far."""
    development.setenv("HIGHLIGHTS_SOURCE_TIMEOUT", "20")
    settings.cache_clear()
    server.answers["/film.mp4"] = lambda handler: server.ended.wait(20)
    began = time.monotonic()
    assert _read(server.url("/film.mp4"), tmp_path / "s", go_on=lambda: time.monotonic() - began < 0.5) == []
    assert time.monotonic() - began < 3


def test_reading_stops_at_its_bounds(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """No more is read than the seconds or bytes that were allowed; what came is there, and no connection is left."""
    server.serve(hls)
    assert _read(server.url("/index.m3u8"), tmp_path / "s", most_seconds=20)[-1].end == pytest.approx(20, abs=0.5)
    assert len(server.asked) < 8
    size = sum(path.stat().st_size for path in hls.iterdir())
    few = _read(server.url("/index.m3u8"), tmp_path / "s", most_bytes=size // 3)
    assert sum(segment.path.stat().st_size for segment in few) < size / 3
    assert 10 < few[-1].end < 50
    assert {path.name for path in (tmp_path / "s").iterdir()} == {segment.path.name for segment in few}
    server.answers["/film.mp4"] = SAMPLE.read_bytes()
    assert 10 < _read(server.url("/film.mp4"), tmp_path / "s", most_bytes=size // 3)[-1].end < 50


def test_an_exception_of_a_hook_ends_the_reading_and_is_raised(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """A database that goes away while a stream is read isn't taken for the source's fault."""
    server.serve(hls)

    def broken() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _read(server.url("/index.m3u8"), tmp_path / "s", go_on=broken)


def test_sound_alone_is_no_video(server: MediaServer, tmp_path: Path) -> None:
    """A podcast fails with a reason of its own, as a file, and with a cover picture too."""
    _Film(tmp_path / "sound.mp4", video=None, seconds=1)
    server.serve(tmp_path)
    with pytest.raises(StreamFailure) as failed:
        probe_stream(server.url("/sound.mp4"))
    assert (failed.value.code, failed.value.reason) == ("no_video", "The source has sound but no video.")
    with pytest.raises(StreamFailure):
        _read(server.url("/sound.mp4"), tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "video", "audio", "clip"),
    [
        ("film.mp4", "libx264", "aac", {"h264", "aac"}),
        ("silent.mp4", "libx264", None, {"h264"}),
        ("film.webm", "libvpx-vp9", "libopus", {"vp9", "opus"}),
        ("old.webm", "libvpx", "libopus", {"h264", "opus"}),
        ("film.ts", "mpeg2video", "mp2", {"h264", "aac"}),
        ("film.mkv", "libx264", "flac", {"h264", "flac"}),
        ("film.mov", "libx264", "pcm_s16le", {"h264", "aac"}),
        ("film.avi", "mpeg4", "mp3", {"h264", "mp3"}),
        ("film.flv", "libx264", "aac", {"h264", "aac"}),
        ("phone.mp4", "libx265", "aac", {"hevc", "aac"}),
    ],
)
def test_common_formats_go_through(  # noqa: PLR0913, PLR0917 - a format and what becomes of it
    server: MediaServer, tmp_path: Path, name: str, video: str, audio: str | None, clip: set[str]
) -> None:
    """Other containers and codecs than the sample's give segments, stills, and clips with codecs that browsers know."""
    (tmp_path / "films").mkdir()
    _Film(tmp_path / "films" / name, video=video, audio=audio)
    server.serve(tmp_path / "films")
    probe = probe_stream(server.url(f"/{name}"))
    assert (probe.width, probe.height, probe.audio_codec is None) == (160, 90, audio is None)
    assert probe.duration == pytest.approx(5, abs=0.3)
    segments = _read(server.url(f"/{name}"), tmp_path / "s", seconds=1)
    assert segments[-1].end == pytest.approx(5, abs=0.3)
    assert extract_keyframes(segments, tmp_path / "k")
    cut_clip(segments, segments[1].start, segments[2].end, tmp_path / "clip.mp4")
    lengths = _streams(tmp_path / "clip.mp4")
    assert set(lengths) == ({"video", "audio"} if audio else {"video"})
    assert list(lengths.values()) == pytest.approx([segments[2].end - segments[1].start] * len(lengths), abs=0.3)
    with av.open(str(tmp_path / "clip.mp4")) as container, av.open(str(tmp_path / "films" / name)) as film:
        assert {stream.codec_context.codec.canonical_name for stream in container.streams} == clip
        assert container.streams.video[0].codec_tag in {"avc1", "vp09", "hvc1"}
        at = segments[1].start + film.start_time / av.time_base
        assert np.abs(_grey(container, 1) - _grey(film, at + 1)).mean() < 3


def test_a_duration_below_nothing_is_none(server: MediaServer, sample: Path, tmp_path: Path) -> None:
    """A header that promises less than nothing promises nothing: such a stream is read as a live one is."""
    path = tmp_path / "film.mkv"
    with av.open(str(sample)) as source, av.open(str(path), "w") as film:
        stream = film.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is None or packet.pts * packet.time_base > 5:
                break
            packet.stream = stream
            film.mux(packet)
    data = path.read_bytes()
    duration = data.index(b"\x44\x89\x88") + 3  # Matroska's element of that name, and that it has 8 bytes
    server.answers["/film.mkv"] = data[:duration] + struct.pack(">d", -3.6e9) + data[duration + 8 :]
    assert probe_stream(server.url("/film.mkv")).duration is None


def test_a_picture_that_is_too_large_is_refused(
    server: MediaServer, hls: Path, development: pytest.MonkeyPatch
) -> None:
    """What would take a worker's memory is not looked at."""
    development.setenv("HIGHLIGHTS_MOST_PIXELS", "230399")
    settings.cache_clear()
    server.serve(hls)
    with pytest.raises(StreamFailure) as refused:
        probe_stream(server.url("/index.m3u8"))
    assert refused.value.code == "picture_too_large"


def test_a_codec_that_cannot_be_kept_is_named(server: MediaServer, tmp_path: Path) -> None:
    """What is too old to be stored fails as no video, and the customer learns which codec it is."""
    (tmp_path / "films").mkdir()
    _Film(tmp_path / "films" / "film.avi", video="wmv2", seconds=1)
    server.serve(tmp_path / "films")
    with pytest.raises(StreamFailure, match="Windows Media Video 8") as failed:
        _read(server.url("/film.avi"), tmp_path / "s")
    assert failed.value.code == "not_a_video"


def test_a_stream_whose_clock_jumps_goes_on(server: MediaServer, tmp_path: Path) -> None:
    """Where an advertisement or a restarted encoder begins its clock anew, the stream's time just goes on."""
    (tmp_path / "films").mkdir()
    _Film(tmp_path / "films" / "a.ts")
    _Film(tmp_path / "films" / "b.ts")
    with (
        av.open(str(tmp_path / "films" / "a.ts")) as source,
        av.open(str(tmp_path / "films" / "late.ts"), "w", options={"output_ts_offset": "5000"}) as output,
    ):
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    server.serve(tmp_path / "films")
    entries = "#EXT-X-DISCONTINUITY\n".join(f"#EXTINF:5,\n{name}.ts\n" for name in ("late", "a", "late", "b"))
    server.answers["/index.m3u8"] = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{entries}#EXT-X-ENDLIST\n".encode()
    segments = _read(server.url("/index.m3u8"), tmp_path / "s")
    assert segments[-1].end == pytest.approx(20, abs=1)
    assert all(segment.end - segment.start < 8 for segment in segments)
    cut_clip(segments, segments[0].start, segments[-1].end, tmp_path / "clip.mp4")
    lengths = _streams(tmp_path / "clip.mp4")
    assert lengths["video"] == pytest.approx(20, abs=1)
    assert lengths["audio"] == pytest.approx(20, abs=1)


def test_reading_leaves_nothing_behind(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """After a whole reading, a stopped one and a failed one no thread, connection or file is open."""
    server.serve(hls)
    threads = threading.active_count()
    _read(server.url("/index.m3u8"), tmp_path / "s", most_seconds=10)
    files = _files()
    _read(server.url("/index.m3u8"), tmp_path / "s")
    with pytest.raises(StreamFailure):
        probe_stream(server.url("/none"))
    deadline = time.monotonic() + 2
    while (server.connections or threading.active_count() > threads) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.connections
    assert threading.active_count() <= threads
    assert _files() == files


def _files() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return sorted(name for name in found if name.startswith("/tmp"))


@pytest.mark.parametrize(
    "options",
    [
        {"hls_flags": "single_file"},
        {"hls_segment_type": "fmp4"},
        {"hls_segment_type": "fmp4", "hls_flags": "single_file"},
    ],
    ids=["byte ranges", "fragmented mp4", "both"],
)
def test_hls_of_every_kind_goes_through(
    server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """Playlists whose segments are parts of one file, or fragmented .mp4, give the film and its clips."""
    (tmp_path / "hls").mkdir()
    monkeypatch.chdir(tmp_path / "hls")
    options = {"hls_time": "6", "hls_list_size": "0", **options}
    with av.open(str(SAMPLE)) as source, av.open("index.m3u8", "w", format="hls", options=options) as output:
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None and packet.dts * packet.time_base < 40:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    server.serve(tmp_path / "hls")
    segments = _read(server.url("/index.m3u8"), tmp_path / "s")
    assert segments[-1].end == pytest.approx(40, abs=0.5)
    start, end = segments[2].start, segments[4].end
    cut_clip(segments, start, end, tmp_path / "clip.mp4")
    assert _streams(tmp_path / "clip.mp4")["video"] == pytest.approx(end - start, abs=0.2)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == pytest.approx((end - start) * 24, abs=2)
