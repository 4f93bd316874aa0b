"""`highlights demo`, as a newcomer runs it: what it shows, what it judges, and what it leaves."""

from __future__ import annotations

import functools
import http.server
import json
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
from running import PACKAGES, clean_environment

from highlights.launch import main
from highlights.media import make_hls
from tldr_observability.cli import main as tldr_obs
from tldr_observability.testing import OTLPReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator


def start(directory: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """The command, on any free port of the API, as it is without a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "highlights.launch", "demo", *arguments],
        cwd=directory,
        env={**clean_environment(), "PYTHONPATH": PACKAGES, "HIGHLIGHTS_PORT": "0", **env},
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
    with OTLPReceiver() as logfire:
        demo = start(tmp_path, LOGFIRE_TOKEN="a-token", LOGFIRE_BASE_URL=logfire.url)
        output = demo.communicate(timeout=110)[0]
        assert "start_stream" in {span.name for span in logfire.spans}
        assert f"it is in Logfire as well, {logfire.url}/test." in output
    assert demo.returncode == 0, output
    rows = re.findall(r"^ +\d  +(\d):(\d\d) +(\d):(\d\d) +(0\.\d\d)  (\w+) +(\S.*)$", output, re.MULTILINE)
    assert len(rows) == 3, output
    for begin_minutes, begin_seconds, *_, confidence, _, why in rows:
        assert int(begin_minutes) * 60 + int(begin_seconds) >= 50
        assert float(confidence) >= 0.55
        assert why
    clips = re.findall(r"^ +\d  (var/clips/\S+\.mp4)  ", output, re.MULTILINE)
    assert len(clips) == 3
    for path in clips:
        with av.open(str(tmp_path / path)) as clip:
            assert {stream.type for stream in clip.streams} == {"video", "audio"}
        assert (tmp_path / path).with_suffix(".jpg").read_bytes().startswith(b"\xff\xd8")
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
def test_a_live_stream_is_stopped_by_ctrl_c_and_kept_services_by_another(tmp_path, sample, capsys):
    """The report of a stopped stream names what doesn't hold; what is kept is there for curl and `tldr-obs verify`."""
    (tmp_path / "live").mkdir()
    playlist = make_hls(sample, tmp_path / "live")
    playlist.write_text(playlist.read_text().replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "").replace("#EXT-X-ENDLIST\n", ""))
    with serving(tmp_path / "live") as url, OTLPReceiver() as collector:
        arguments = (f"{url}/{playlist.name}", "--keep", "--data-dir", "other")
        demo = start(tmp_path, *arguments, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        output = read_until(demo, "segments")
        customer = re.search(r"running on (\S+)", (tmp_path / "other" / "log" / "customer.log").read_text())[1]
        assert httpx.post(f"{customer}/hooks", headers={"webhook-id": "forged"}).status_code == 401
        demo.send_signal(signal.SIGINT)
        output += read_until(demo, "curl http")
        key, api = re.search(r"KEY=(\S+)\n  curl (\S+) ", output).groups()
        streams = httpx.get(api, headers={"Authorization": f"Bearer {key}"}, timeout=15)
        assert [each["status"] for each in streams.json()["streams"]] == ["cancelled"], output
        collector.close()
        body = json.dumps({"url": f"{url}/none.mp4", "title": "A film"})
        asked = ("--header", f"Authorization: Bearer {key}", "--request", f"POST /api/v1/streams {body}")
        verified = tldr_obs(["verify", api.partition("/api/")[0], "--listen", collector.url.rpartition("/")[2], *asked])
        demo.send_signal(signal.SIGINT)
        output += demo.communicate(timeout=20)[0]
    checks = capsys.readouterr().out
    assert verified == 0, checks
    assert [line[:4] for line in checks.splitlines()] == ["ok  "] * 4
    assert "run/ingest_stream_with_ffmpeg of highlights-worker for POST /api/v1/streams of highlights-api" in checks
    assert demo.returncode == 1, output
    assert "signature verified  stream.cancelled" in output
    assert "Highlights: 0" in output
    assert "  the signature of webhook forged is wrong" in output.partition("What does not hold")[2]
    assert (tmp_path / "other" / "highlights.db").exists()
    assert not (tmp_path / "var").exists()
    assert left_running(tmp_path) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_loses_patience_is_left_alone_at_once(tmp_path, how):
    """Ctrl-C, or a kill, while the services start: no process stays."""
    demo = start(tmp_path)
    read_until(demo, "Starting")
    deadline = time.monotonic() + 10
    while len(left_running(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    demo.send_signal(how)
    output = demo.communicate(timeout=20)[0]
    assert demo.returncode == 128 + how, output
    assert left_running(tmp_path) == []


_WRONG = [
    ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "The Redis of REDIS_URL can't be used: "),
    ({"DATABASE_URL": "postgres"}, "The database of DATABASE_URL can't be used: "),
    ({"S3_ENDPOINT_URL": "s3"}, "The storage of S3_ENDPOINT_URL can't be used: "),
    ({"HIGHLIGHTS_PORT": "99999"}, "HIGHLIGHTS_PORT: expected the number of a port, got '99999'"),
    ({"HIGHLIGHTS_CONFIDENCE_THRESHOLD": "7"}, "HIGHLIGHTS_CONFIDENCE_THRESHOLD: Input should be less than"),
]


def test_a_wrong_environment_is_named_before_anything_starts(tmp_path):
    """Who has named what isn't there, or isn't so, reads which variable it was, and nothing else."""
    demos = [(start(tmp_path, **env), message) for env, message in _WRONG]
    for demo, message in demos:
        output = demo.communicate(timeout=30)[0]
        assert demo.returncode == 1, output
        assert f"\nhighlights: {message}" in output
        assert "Traceback" not in output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("demo film.mp4", "expected an address with http:// or https://, got 'film.mp4'"),
        ("demo --max-seconds 0", "expected seconds above 0, got '0'"),
        ("up redis", "expected one of valkey, s3, customer, api, worker, got 'redis'"),
    ],
)
def test_a_wrong_argument_is_explained(capsys, command, message):
    """What is expected is said in one line, with what was given."""
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_directory_that_cannot_be_is_named(tmp_path, capsys):
    """Data has to lie somewhere: the path that it can't lie at is in the message."""
    (tmp_path / "var").touch()
    assert main(["demo", "--data-dir", str(tmp_path / "var")]) == 1
    assert f"File exists: '{tmp_path}/var'" in capsys.readouterr().err
