"""`highlights demo`, as a newcomer runs it: what it shows, what it judges, and what it leaves."""

from __future__ import annotations

import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av
import httpx
import pytest

from tldr_observability.testing import OTLPReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES = str(Path(__file__).parents[2] / "examples" / "highlights")
_NOT_OURS = ("LOGFIRE_", "OTEL_", "HIGHLIGHTS_", "PYTEST", "DATABASE_URL", "REDIS_URL", "S3_", "AWS_")
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def start(directory: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """The command, on any free port of the API, as it is without a terminal."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return subprocess.Popen(
        [sys.executable, "-m", "highlights.launch", "demo", *arguments],
        cwd=directory,
        env={**clean, "PYTHONPATH": _PACKAGES, "HIGHLIGHTS_PORT": "0", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """Its output up to a line that holds the text."""
    output = ""
    for line in demo.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"{text!r} never came:\n{output}")


def left_running(directory: Path) -> list[int]:
    """The processes that work in this directory, as all that a demo starts do."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            at = (each / "cwd").resolve()
        except OSError:
            continue
        if at.is_relative_to(directory) and each.name != str(os.getpid()):
            found.append(int(each.name))
    return found


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A directory over HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.timeout(120)
def test_one_command_shows_the_whole_story(tmp_path):
    """Three highlights with clips that are there, verified webhooks, the trace and its metrics; nothing is left."""
    demo = start(tmp_path)
    output = demo.communicate(timeout=110)[0]
    assert demo.returncode == 0, output
    rows = re.findall(r"^ +\d  +(\d):(\d\d) +(\d):(\d\d) +(0\.\d\d)  (\w+) +(\S.*)$", output, re.MULTILINE)
    assert len(rows) == 3, output
    for begin_minutes, begin_seconds, *_, confidence, _, why in rows:
        assert int(begin_minutes) * 60 + int(begin_seconds) >= 50
        assert float(confidence) >= 0.55
        assert why
    directory = tmp_path / re.search(rf"are in (var/s3/highlights/{_UUID})/", output)[1]
    names = re.findall(rf"^ +\d  ({_UUID})\.mp4 \.jpg ", output, re.MULTILINE)
    assert len(names) == 3
    for name in names:
        with av.open(str(directory / f"{name}.mp4")) as clip:
            assert {stream.type for stream in clip.streams} == {"video", "audio"}
        assert (directory / f"{name}.jpg").read_bytes().startswith(b"\xff\xd8")
    for event, times in (("stream.started", 1), ("highlight.detected", 3), ("stream.completed", 1)):
        assert output.count(f"signature verified  {event}") == times
    for span in ("POST /api/v1/streams", "start_stream", "run/ingest_stream_with_ffmpeg", "analyze_content_segment x"):
        assert span in output
    assert re.search(r"^ +[\d.]+ s +[\d.]+ ms  customer +POST /hooks", output, re.MULTILINE), output
    assert re.search(r"^  tldr\.highlight\.detected +3 +highlight +3  ", output, re.MULTILINE), output
    assert max(map(len, output.splitlines())) <= 110
    assert "python -m highlights.launch demo --keep" in output
    assert left_running(tmp_path) == []


@pytest.mark.timeout(120)
def test_a_live_stream_is_stopped_by_ctrl_c_and_kept_services_by_another(tmp_path, sample):
    """Ctrl-C ends a live stream and the report still comes; the API then answers its own advice until Ctrl-C again."""
    from highlights.media import make_hls

    (tmp_path / "live").mkdir()
    playlist = make_hls(sample, tmp_path / "live")
    playlist.write_text(playlist.read_text().replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "").replace("#EXT-X-ENDLIST\n", ""))
    with serving(tmp_path / "live") as url:
        demo = start(tmp_path, f"{url}/{playlist.name}", "--keep", "--data-dir", "other")
        output = read_until(demo, "segments")
        demo.send_signal(signal.SIGINT)
        output += read_until(demo, "curl http")
        api, key = re.search(r"curl (http\S+) -H 'Authorization: Bearer (\S+)'", output).groups()
        streams = httpx.get(api, headers={"Authorization": f"Bearer {key}"}, timeout=15)
        assert streams.is_success, output
        demo.send_signal(signal.SIGINT)
        output += demo.communicate(timeout=20)[0]
    assert demo.returncode == 0, output
    assert "signature verified  stream.cancelled" in output
    assert "Highlights: 0 in " in output
    assert (tmp_path / "other" / "highlights.db").exists()
    assert not (tmp_path / "var").exists()
    assert left_running(tmp_path) == []


@pytest.mark.timeout(120)
def test_what_does_not_hold_is_named(tmp_path):
    """A page that is no video ends in status 1, with the state and the reason; Logfire has the trace, and is linked."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<h1>No video</h1>")
    with serving(tmp_path / "page") as url, OTLPReceiver() as logfire:
        demo = start(tmp_path, f"{url}/index.html", LOGFIRE_TOKEN="a-token", LOGFIRE_BASE_URL=logfire.url)
        output = demo.communicate(timeout=110)[0]
        assert "start_stream" in {span.name for span in logfire.spans}
        assert f"it is in Logfire as well, {logfire.url}/test." in output
    assert demo.returncode == 1, output
    conclusion = output.partition("What does not hold")[2]
    assert "the stream ended failed: " in conclusion
    assert "not_a_video" in output
    assert "signature verified  stream.failed" in output
    assert left_running(tmp_path) == []


@pytest.mark.timeout(60)
def test_ctrl_c_ends_everything_within_seconds(tmp_path):
    """Who loses patience is left alone at once: no process stays."""
    demo = start(tmp_path)
    read_until(demo, "POST /api/v1/streams")
    began = time.monotonic()
    demo.send_signal(signal.SIGINT)
    output = demo.communicate(timeout=20)[0]
    assert demo.returncode == 130, output
    assert time.monotonic() - began < 12
    assert left_running(tmp_path) == []
