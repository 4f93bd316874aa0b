"""Customers' sources, good and bad: what comes of them, and what nobody can make the service do by a playlist."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from highlights.failures import StreamFailure
from highlights.media import create_segments, probe_stream
from highlights.platforms import detect_platform, media_url, stream_type
from highlights.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from media_server import MediaServer


pytestmark = pytest.mark.usefixtures("development")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever happens: no thread, no file and no connection of the service outlives the reading."""
    threads, files = threading.active_count(), _sockets()
    yield
    deadline = time.monotonic() + 2
    while (threading.active_count() > threads or _sockets() > files) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= threads
    assert _sockets() <= files


def _sockets() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(link.readlink()).startswith(("socket:", "/tmp"))
    return found


def _read(url: str, tmp_path: Path, **options: Any) -> Any:
    limits = {"seconds": 5, "most_seconds": 1000, "most_bytes": 10**9, **options}
    return create_segments(url, tmp_path / "segments", **limits)


def _failure(url: str, tmp_path: Path) -> StreamFailure:
    with pytest.raises(StreamFailure) as failed:  # noqa: PT012 - some show when they are opened, some later
        probe_stream(url)
        _read(url, tmp_path)
    assert failed.value.reason.endswith(".")
    assert "127.0.0.1" not in failed.value.reason
    return failed.value


def test_a_recording_of_hls_is_read_whole(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """All of the film arrives, and each of its files was asked for."""
    server.serve(hls)
    probe = probe_stream(server.url("/index.m3u8"))
    assert (probe.width, probe.height, probe.video_codec, probe.audio_codec) == (640, 360, "h264", "aac")
    assert probe.duration == pytest.approx(90, abs=0.1)
    segments = _read(server.url("/index.m3u8"), tmp_path)
    assert segments[-1].end == pytest.approx(90, abs=0.1)
    assert set(server.asked) == {f"/{path.name}" for path in hls.iterdir()}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_with_its_index_at_the_end_is_read(
    server: MediaServer, sample: Path, tmp_path: Path, ranges: bool
) -> None:
    """An .mp4 as cameras write it works, whether its server gives ranges or not."""
    film = tmp_path / "film.mp4"
    with av.open(str(sample)) as source, av.open(str(film), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    assert film.read_bytes().index(b"moov") > film.read_bytes().index(b"mdat")
    server.answers["/film.mp4"] = lambda handler: handler.give(film.read_bytes(), ranges=ranges)
    assert probe_stream(server.url("/film.mp4")).duration == pytest.approx(90, abs=0.1)
    assert _read(server.url("/film.mp4"), tmp_path)[-1].end == pytest.approx(90, abs=0.1)
    assert len(server.asked) < 16


def test_of_several_qualities_one_is_read(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """Of a master playlist the best quality up to 1080 lines is fetched, and not a byte of the others."""
    for quality in ("low", "high", "huge"):
        server.serve(hls, f"/{quality}")
    server.answers["/master.m3u8"] = b"""#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="other",NAME="x",URI="other.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=640x360
low/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=1920x1080,CODECS="avc1.4d401f,mp4a.40.2"
high/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=3840x2160
huge/index.m3u8
"""
    assert _read(server.url("/master.m3u8"), tmp_path)[-1].end == pytest.approx(90, abs=0.1)
    assert {path.split("/")[1] for path in server.asked} == {"master.m3u8", "high"}


def test_sound_of_its_own_playlist_is_joined(server: MediaServer, sample: Path, tmp_path: Path) -> None:
    """Where a master playlist keeps sound apart, picture and sound are read together."""
    for kind in ("video", "audio"):
        (tmp_path / kind).mkdir()
        film = tmp_path / f"{kind}.mp4"
        with av.open(str(sample)) as source, av.open(str(film), "w") as output:
            stream = output.add_stream_from_template(getattr(source.streams, kind)[0])
            for packet in source.demux(getattr(source.streams, kind)[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        with av.open(str(film)) as source:
            options = {"hls_time": "6", "hls_list_size": "0", "hls_segment_filename": f"{tmp_path}/{kind}/%03d.ts"}
            with av.open(f"{tmp_path}/{kind}/index.m3u8", "w", format="hls", options=options) as output:
                stream = output.add_stream_from_template(source.streams[0])
                for packet in source.demux():
                    if packet.dts is not None:
                        packet.stream = stream
                        output.mux(packet)
        server.serve(tmp_path / kind, f"/{kind}")
    server.answers["/master.m3u8"] = b"""#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Spanish",DEFAULT=NO,URI="spanish/index.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=640x360,AUDIO="a"
video/index.m3u8
"""
    segments = _read(server.url("/master.m3u8"), tmp_path)
    assert segments[-1].end == pytest.approx(90, abs=0.1)
    with av.open(str(segments[3].path)) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
    assert not any("spanish" in path for path in server.asked)


def test_a_missing_source_is_said_to_be_missing(server: MediaServer, tmp_path: Path) -> None:
    """A 404 is the customer's wrong URL, and asked for once."""
    assert _failure(server.url("/nothing.m3u8"), tmp_path).code == "source_not_found"
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_source_that_answers_with_an_error_is_unreachable(server: MediaServer, tmp_path: Path, status: int) -> None:
    """The customer learns the status."""
    server.answers["/film.mp4"] = lambda handler: handler.give(b"", status=status)
    failure = _failure(server.url("/film.mp4"), tmp_path)
    assert (failure.code, str(status) in failure.reason) == ("source_unreachable", True)


def test_a_refused_port_and_an_unknown_name_are_unreachable(tmp_path: Path) -> None:
    """Nobody there: the customer learns that nothing could be connected to."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert _failure(f"http://127.0.0.1:{port}/a.mp4", tmp_path).code == "source_unreachable"
    assert _failure("http://nowhere.invalid/a.mp4", tmp_path).code == "source_unreachable"


def test_a_server_that_says_nothing_is_given_up(server: MediaServer, tmp_path: Path) -> None:
    """A source that takes the connection and hangs is given up after the settings' timeout."""
    server.answers["/film.mp4"] = lambda handler: server.ended.wait(20)
    began = time.monotonic()
    assert _failure(server.url("/film.mp4"), tmp_path).code == "source_unreachable"
    assert time.monotonic() - began < 4


def test_a_source_that_hangs_in_the_middle_is_interrupted(server: MediaServer, sample: Path, tmp_path: Path) -> None:
    """Half of a film and then silence is an interrupted source, after the timeout."""
    film = sample.read_bytes()

    def hang(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(film)))
        handler.end_headers()
        handler.wfile.write(film[: len(film) // 2])
        server.ended.wait(20)

    server.answers["/film.mp4"] = hang
    began = time.monotonic()
    assert _failure(server.url("/film.mp4"), tmp_path).code == "source_interrupted"
    assert time.monotonic() - began < 5


def test_a_segment_that_stays_missing_interrupts(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """A playlist that promises what isn't there fails the stream, after a few tries for this segment."""
    server.serve(hls)
    del server.answers["/00007.ts"]
    assert _failure(server.url("/index.m3u8"), tmp_path).code == "source_interrupted"
    assert server.asked.count("/00007.ts") == 3


def test_a_segment_that_is_missing_for_a_moment_is_fetched_again(
    server: MediaServer, hls: Path, tmp_path: Path
) -> None:
    """One bad answer doesn't lose a stream."""
    server.serve(hls)
    good = server.answers["/00007.ts"]
    bad = [503]
    server.answers["/00007.ts"] = lambda handler: handler.give(b"", status=bad.pop()) if bad else handler.give(good)
    assert _read(server.url("/index.m3u8"), tmp_path)[-1].end == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_breaks_once_is_read_on(server: MediaServer, sample: Path, tmp_path: Path, ranges: bool) -> None:
    """A connection that breaks half-way is taken up where it broke."""
    film = sample.read_bytes()
    cuts = [len(film) // 2]
    server.answers["/once.mp4"] = lambda handler: handler.give(film, ranges=ranges, cut=cuts.pop() if cuts else None)
    assert _read(server.url("/once.mp4"), tmp_path)[-1].end == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("tenths", [(5, 5, 5), (5, 4, 3)], ids=["at the same place", "ever earlier"])
def test_a_body_that_always_breaks_is_interrupted(
    server: MediaServer, sample: Path, tmp_path: Path, tenths: tuple[int, ...]
) -> None:
    """A source that can't do better is interrupted, and the service survives that."""
    film, cuts = sample.read_bytes(), iter(tenths)
    server.answers["/always.mp4"] = lambda handler: handler.give(
        film, ranges=False, cut=len(film) * next(cuts, tenths[-1]) // 10
    )
    with pytest.raises(StreamFailure) as failed:
        _read(server.url("/always.mp4"), tmp_path)
    assert failed.value.code == "source_interrupted"


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_file_without_its_end_is_interrupted(
    server: MediaServer, sample: Path, tmp_path: Path, name: str, ranges: bool
) -> None:
    """An upload that broke half-way is no shorter film, whatever its server thinks; one that lacks a second is."""
    with (
        av.open(str(sample)) as source,
        av.open(str(tmp_path / name), "w", options={"movflags": "faststart"}) as output,
    ):
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    film = (tmp_path / name).read_bytes()
    server.answers["/half"] = lambda handler: handler.give(film[: len(film) // 2], ranges=ranges)
    assert _failure(server.url("/half"), tmp_path).code == "source_interrupted"
    assert _read(server.url("/half"), tmp_path, most_seconds=20)[-1].end == pytest.approx(20, abs=1)
    server.answers["/most"] = lambda handler: handler.give(film[: len(film) * 98 // 100], ranges=ranges)
    assert _read(server.url("/most"), tmp_path)[-1].end == pytest.approx(88, abs=2)


def test_sound_that_is_longer_than_its_picture_is_no_interruption(server: MediaServer, tmp_path: Path) -> None:
    """A film that ends with music over nothing is whole."""
    with av.open(str(tmp_path / "film.mp4"), "w") as output:
        picture = output.add_stream("libx264", rate=10, width=160, height=90)
        sound = output.add_stream("aac", rate=48000)
        for tenth in range(60):
            if tenth < 30:
                frame = av.VideoFrame(160, 90, "yuv420p")
                frame.pts = tenth
                output.mux(picture.encode(frame))
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), "fltp", "stereo")
            silence.sample_rate, silence.pts = 48000, tenth * 4800
            output.mux(sound.encode(silence))
        output.mux([*picture.encode(), *sound.encode()])
    server.answers["/film.mp4"] = (tmp_path / "film.mp4").read_bytes()
    assert _read(server.url("/film.mp4"), tmp_path)[-1].end == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<!doctype html><title>Sign in</title>" * 100, "not_a_video"),
        (os.urandom(200_000), "not_a_video"),
        (b"", "not_a_video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "not_a_video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_a_video"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n", "not_a_video"),
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n', "not_a_video"),
        (b"#EXTM3U\n", "not_a_video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-ENDLIST\n", "not_a_video"),
    ],
    ids=["html", "noise", "empty", "picture", "ffconcat", "sdp", "encrypted", "bare playlist", "empty playlist"],
)
def test_what_is_no_video_is_said_to_be_none(server: MediaServer, tmp_path: Path, body: bytes, code: str) -> None:
    """A page, noise, nothing, or a format that would make FFmpeg go elsewhere is refused as no video."""
    server.answers["/film.mp4"] = body
    assert _failure(server.url("/film.mp4"), tmp_path).code == code


@pytest.mark.parametrize(
    "entry",
    [
        "file:///etc/passwd",
        "concat:http://1.1.1.1/a|/etc/passwd",
        "data:video/mp2t;base64,AAAA",
        "crypto+file:///etc/passwd",
        "ftp://1.1.1.1/a.ts",
        "tcp://127.0.0.1:22",
        "gopher://127.0.0.1:22/x",
    ],
)
@pytest.mark.parametrize("way", ["segment", "key", "map", "nested"])
def test_a_playlist_leads_nowhere_but_to_http(
    server: MediaServer, hls: Path, tmp_path: Path, entry: str, way: str
) -> None:
    """No entry, key, map or nested playlist makes the service read files or speak another protocol."""
    server.serve(hls)
    head = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
    server.answers["/bad.m3u8"] = {
        "segment": head + f"#EXTINF:6,\n00000.ts\n#EXTINF:6,\n{entry}\n#EXT-X-ENDLIST\n".encode(),
        "key": head + f'#EXT-X-KEY:METHOD=AES-128,URI="{entry}"\n#EXTINF:6,\n00000.ts\n#EXT-X-ENDLIST\n'.encode(),
        "map": head + f'#EXT-X-MAP:URI="{entry}"\n#EXTINF:6,\n00000.ts\n#EXT-X-ENDLIST\n'.encode(),
        "nested": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{entry}\n".encode(),
    }[way]
    assert _failure(server.url("/bad.m3u8"), tmp_path).code == "source_forbidden"


@pytest.fixture
def outside(server: MediaServer, development: pytest.MonkeyPatch) -> MediaServer:
    """The server seems to be at public addresses (names under `public.example`); real private ones are forbidden."""
    from highlights import addresses

    real_resolve, real_connect = socket.getaddrinfo, socket.create_connection

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real_resolve("1.1.1.1" if str(host).endswith("public.example") else host, *args, **kwargs)

    def create_connection(address: Any, *args: Any, **kwargs: Any) -> Any:
        return real_connect(("127.0.0.1", address[1]) if address[0] == "1.1.1.1" else address, *args, **kwargs)

    development.setattr(socket, "getaddrinfo", getaddrinfo)
    development.setattr(socket, "create_connection", create_connection)
    development.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "false")
    addresses.settings.cache_clear()
    return server


def test_a_public_playlist_does_not_lead_to_private_segments(outside: MediaServer, hls: Path, tmp_path: Path) -> None:
    """Segments, nested playlists and redirects into the service's own network are refused, each for itself."""
    port = outside.server_port
    outside.serve(hls)
    inner, public = f"http://127.0.0.1:{port}", f"http://www.public.example:{port}"
    assert probe_stream(f"{public}/index.m3u8").width == 640
    outside.asked.clear()

    def redirect(handler: Any) -> None:
        handler.give(b"", status=302, Location=f"{inner}/00000.ts")

    outside.answers["/redirect.ts"] = outside.answers["/redirect.m3u8"] = redirect
    head = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n"
    outside.answers["/segment.m3u8"] = head + f"{inner}/secret.ts\n#EXT-X-ENDLIST\n".encode()
    outside.answers["/moved.m3u8"] = head + b"redirect.ts\n#EXT-X-ENDLIST\n"
    outside.answers["/nested.m3u8"] = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{inner}/secret.m3u8\n".encode()
    for path in ("segment", "moved", "nested", "redirect"):
        assert _failure(f"{public}/{path}.m3u8", tmp_path).code == "source_forbidden"
    assert set(outside.asked) == {"/segment.m3u8", "/moved.m3u8", "/nested.m3u8", "/redirect.m3u8", "/redirect.ts"}
    assert _failure(f"{inner}/index.m3u8", tmp_path).code == "source_forbidden"


def test_redirects_are_followed_but_not_for_ever(server: MediaServer, hls: Path, tmp_path: Path) -> None:
    """A playlist that moved is read from where it is now, its segments too; a circle is an unreachable source."""
    server.serve(hls, "/new/place")
    server.answers["/old.m3u8"] = lambda handler: handler.give(b"", status=301, Location="/new/place/index.m3u8")
    assert _read(server.url("/old.m3u8"), tmp_path)[-1].end == pytest.approx(90, abs=0.1)
    server.answers["/circle"] = lambda handler: handler.give(b"", status=302, Location="/circle")
    assert _failure(server.url("/circle"), tmp_path).code == "source_unreachable"


def test_a_source_that_drips_does_not_hold_a_worker(server: MediaServer, sample: Path) -> None:
    """A server that sends a byte now and then, for ever, is given up as too slow."""

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for byte in sample.read_bytes():
            if server.ended.wait(0.1):
                return
            handler.wfile.write(bytes([byte]))

    server.answers["/film.mp4"] = drip
    began = time.monotonic()
    with pytest.raises(StreamFailure, match="too slow"), open_source(server.url("/film.mp4"), within=1.5):
        pass
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("url", "platform", "kind"),
    [
        ("https://twitch.tv/test", "twitch", "live"),
        ("https://www.twitch.tv/videos/123", "twitch", "recording"),
        ("https://clips.twitch.tv/abc", "twitch", "recording"),
        ("https://www.youtube.com/watch?v=abcdefghijk", "youtube", "recording"),
        ("https://youtu.be/abcdefghijk", "youtube", "recording"),
        ("https://www.youtube.com/@someone/live", "youtube", "live"),
        ("https://cdn.example/a/index.m3u8?token=1", "hls", "live"),
        ("https://cdn.example/film.mp4", "custom", "recording"),
        ("https://evil.example/twitch.tv", "custom", "recording"),
        ("https://nottwitch.tv/x", "custom", "recording"),
    ],
)
def test_platforms_are_told_by_the_url_alone(url: str, platform: str, kind: str) -> None:
    """Neither Streamlink nor a network is needed to say where a stream is from."""
    assert detect_platform(url) == platform
    assert stream_type(url, platform) == kind


def test_streamlink_leaves_the_logging_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level names stay in capitals, and log records are nobody else's, once a stream of a platform was asked for."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(StreamFailure):
        media_url("https://www.youtube.com/", "youtube")
    assert "streamlink" in sys.modules
    assert logging.getLevelName(logging.WARNING) == "WARNING"
    assert logging.getLogRecordFactory() is logging.LogRecord
    assert logging.getLoggerClass() is logging.Logger


def test_a_platform_that_cant_be_reached_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Streamlink, or without a network, a Twitch stream fails with a reason that a person understands."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(StreamFailure) as failed:
        media_url("https://www.youtube.com/", "youtube")
    assert failed.value.code == "platform_unavailable"
    monkeypatch.setitem(sys.modules, "streamlink.session.session", None)
    with pytest.raises(StreamFailure, match="without Streamlink"):
        media_url("https://twitch.tv/test", "twitch")
    assert media_url("https://cdn.example/a.mp4", "custom") == "https://cdn.example/a.mp4"
