"""What becomes of a stream when something is wrong with it, or with what the service stands on."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import av
import psutil
import pytest
from running import running
from servers import free_port, has_semaphores

from highlights.media import make_hls
from tldr_observability.testing import tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running import App

pytestmark = pytest.mark.timeout(180)

DEAD = "https://twitch.tv/test"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("highlights")) as started:
        yield started


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A directory and the address at which its files are served."""
    directory = tmp_path_factory.mktemp("sources")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield directory, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def remux(source: Path, path: Path, kinds: set[str], seconds: float = 30) -> None:
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        streams = {each.index: made.add_stream_from_template(each) for each in given.streams if each.type in kinds}
        for packet in given.demux():
            if packet.dts is not None and packet.stream.index in streams and packet.pts * packet.time_base < seconds:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


def assert_failed(app: App, stream: dict, code: str) -> None:
    """It ended with a reason, its span has the error, the customer was told, and the API answers on."""
    ended = app.wait(stream["id"])
    assert ended["status"] == "failed", ended
    assert ended["failure"]["code"] == code, ended
    assert len(ended["failure"]["reason"]) > 15
    told = app.receiver.wait_for(
        lambda _: [
            event
            for event in app.events()
            if event["type"] == "stream.failed" and event["data"]["stream_id"] == stream["id"]
        ],
        timeout=20,
    )
    assert told[0]["data"]["failure"]["code"] == code
    assert told[0]["verified"]
    spans = app.receiver.wait_for(
        lambda receiver: [
            span
            for span in receiver.spans
            if span.name.startswith("run/")
            and span.status == "error"
            and span.attributes.get("tldr.stream.id") == stream["id"]
        ],
        timeout=20,
    )
    raised = next(event for event in spans[-1].events if event.name == "exception")
    assert raised.attributes["exception.stacktrace"]
    assert app.api.get("/api/v1/usage").status_code == 200


def test_what_is_no_video(app, sources):
    """A page instead of a video fails with a reason for people."""
    directory, url = sources
    (directory / "page.mp4").write_text("<html><body>Please log in</body></html>" * 50)
    assert_failed(app, app.start(f"{url}/page.mp4"), "not_a_video")


def test_a_source_that_is_not_there(app, sources):
    """404 is a source that isn't there."""
    assert_failed(app, app.start(f"{sources[1]}/nothing.mp4"), "source_not_found")


def test_sound_without_a_picture(app, sources, sample):
    """A recording of sound alone has no video to cut clips from."""
    directory, url = sources
    remux(sample, directory / "sound.mp4", {"audio"})
    assert_failed(app, app.start(f"{url}/sound.mp4"), "no_video")


def test_a_picture_without_sound(app, sources, sample):
    """A silent film is processed by what there is to see."""
    directory, url = sources
    remux(sample, directory / "silent.mp4", {"video"})
    stream = app.wait(app.start(f"{url}/silent.mp4")["id"])
    assert stream["status"] == "completed", stream


def test_a_source_that_dies_half_way(app, sources, sample):
    """A playlist whose last segments are gone fails the stream instead of passing half of it off as the whole."""
    directory, url = sources
    make_hls(sample, directory / "dying")
    for segment in sorted((directory / "dying").glob("*.ts"))[7:]:
        segment.unlink()
    (playlist,) = (directory / "dying").glob("*.m3u8")
    assert_failed(app, app.start(f"{url}/dying/{playlist.name}"), "source_interrupted")


def test_a_platform_that_can_not_be_reached(app):
    """A stream of Twitch is known as such at once, and fails with a reason where Twitch can't be asked."""
    stream = app.start(DEAD)
    assert stream["platform"] == "twitch"
    assert_failed(app, stream, "platform_unavailable")


def test_the_object_store_is_away(app):
    """Without S3 a stream is tried again, and then fails; the next one is fine once S3 is back."""
    app.stack.kill("s3")
    try:
        assert app.api.get("/ready").status_code == 503
        assert_failed(app, app.start(), "storage_unavailable")
    finally:
        app.stack.restart("s3")
    assert app.wait(app.start()["id"])["status"] == "completed"


def test_the_customers_receiver_is_away(app):
    """A stream completes while its customer's server is down; the webhooks come when it's back, under their ids."""
    secret = app.secret
    app.stack.kill("customer")
    hls = app.stack.data_dir / "customer" / "sample"
    handler = partial(SimpleHTTPRequestHandler, directory=hls)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stream = app.start(f"http://127.0.0.1:{server.server_port}/index.m3u8", max_seconds=20)
        assert app.wait(stream["id"])["status"] == "completed"
    finally:
        server.shutdown()
        server.server_close()
        app.stack.environment["CUSTOMER_SECRETS"] = secret
        app.stack.restart("customer")
    events = app.receiver.wait_for(
        lambda _: [event for event in app.events() if event["data"].get("stream_id") == stream["id"]], timeout=30
    )
    assert all(event["verified"] for event in events)


def test_a_stopped_live_stream(app, sources, sample):
    """A live stream ends by the stop endpoint, as cancelled, and nothing is found in it afterwards."""
    directory, url = sources
    make_hls(sample, directory / "live")
    (playlist,) = (directory / "live").glob("*.m3u8")
    lines = playlist.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("#EXTINF"))
    head = [line for line in lines[:first] if "PLAYLIST-TYPE" not in line]
    ended = threading.Event()

    def grow() -> None:
        for shown in range(3, len(lines)):
            partly = [*head, *lines[first : first + 2 * shown]]
            part = playlist.with_suffix(".part")
            part.write_text("\n".join(line for line in partly if line != "#EXT-X-ENDLIST") + "\n")
            part.replace(playlist)
            if ended.wait(1.5):
                return

    threading.Thread(target=grow, daemon=True).start()
    try:
        time.sleep(0.2)
        stream = app.start(f"{url}/live/{playlist.name}", type="live")
        app.wait(stream["id"], lambda now: now["progress"]["segments"] >= 2)
        stopped = app.api.post(f"/api/v1/streams/{stream['id']}/stop")
        assert stopped.status_code == 200
        assert stopped.json()["status"] == "cancelled"
        again = app.api.post(f"/api/v1/streams/{stream['id']}/stop")
        assert again.status_code == 409
        app.receiver.wait_for(
            lambda receiver: [
                span
                for span in receiver.spans
                if span.name == "run/ingest_stream_with_ffmpeg"
                and span.attributes.get("tldr.stream.id") == stream["id"]
                and span.status != "error"
            ],
            timeout=20,
        )
        assert not app.highlights(stream["id"])
        assert app.wait(stream["id"])["status"] == "cancelled"
        assert not (app.stack.data_dir / "work" / stream["id"]).exists()
    finally:
        ended.set()


@pytest.mark.skipif(not has_semaphores(), reason="the worker has no processes to kill without POSIX semaphores")
def test_a_worker_killed_while_it_detects(app):
    """Another process takes the task over: the same highlights, none twice, in the same trace."""
    stream = app.start()
    app.wait(stream["id"], lambda now: now["progress"]["analyzed"] >= 2)
    busy = max(psutil.Process(app.stack.pid("worker")).children(recursive=True), key=lambda each: each.cpu_times().user)
    busy.send_signal(signal.SIGKILL)
    ended = app.wait(stream["id"])
    assert ended["status"] == "completed"
    found = app.highlights(stream["id"])
    assert len(found) == 3
    spans = app.receiver.wait_for(
        lambda receiver: [
            span
            for span in receiver.spans
            if span.name == "run/detect_highlights_with_ai" and span.attributes.get("tldr.stream.id") == stream["id"]
        ],
        timeout=20,
    )
    post = {
        span.trace_id
        for span in app.receiver.spans
        if span.name == "start_stream_processing" and span.trace_id == spans[0].trace_id
    }
    assert post == {spans[0].trace_id}, tree(app.receiver.spans)
    events = app.events(until=1)
    ids = [event["id"] for event in events if event["data"].get("stream_id") == stream["id"]]
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(not has_semaphores(), reason="the worker has no processes to replace without POSIX semaphores")
def test_processes_that_end_after_each_task_lose_nothing(tmp_path):
    """A pool that replaces its processes after every task leaves the same trace, complete."""
    with running(tmp_path, {"HIGHLIGHTS_TASKS_PER_CHILD": "1"}) as app:
        stream = app.wait(app.start(max_seconds=30)["id"])
        assert stream["status"] == "completed"
        app.events(until=2 + len(app.highlights(stream["id"])))
        app.stack.stop(timeout=20)
        (post,) = [span for span in app.receiver.spans if span.name == "POST /api/v1/streams"]
        trace = [span for span in app.receiver.spans if span.trace_id == post.trace_id]
        known = {span.span_id for span in trace}
        assert [span.name for span in trace if span.parent_id not in known] == [post.name], tree(trace)
        names = [span.name for span in trace]
        assert names.count("run/ingest_stream_with_ffmpeg") == names.count("run/detect_highlights_with_ai") == 1
        assert names.count("analyze_content_segment") == stream["progress"]["segments"]
        processes = {span.resource["process.pid"] for span in trace if span.name.startswith("run/")}
        assert len(processes) == sum(name.startswith("run/") for name in names)


def test_a_worker_killed_as_a_whole(tmp_path):
    """When all of the worker is gone, the next one gets its task from the broker after the visibility timeout."""
    with running(tmp_path, {"HIGHLIGHTS_VISIBILITY_SECONDS": "1"}) as app:
        stream = app.start()
        app.wait(stream["id"], lambda now: now["progress"]["analyzed"] >= 1)
        app.stack.kill("worker")
        time.sleep(2)  # the timeout has passed when the new worker looks; it looks again every 100 s only
        app.stack.restart("worker")
        assert app.wait(stream["id"])["status"] == "completed"
        assert len(app.highlights(stream["id"])) == 3


@pytest.mark.parametrize("backend", ["refuses", "hangs", "rejects the token"])
def test_the_telemetry_backend_is_away(tmp_path, backend):
    """The pipeline doesn't notice, and everything still ends within seconds."""
    env = {"LOGFIRE_SHUTDOWN_TIMEOUT": "2"}
    if backend == "refuses":
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    with running(tmp_path, env) as app:
        if backend == "hangs":
            app.receiver.hang()
        elif backend == "rejects the token":
            app.receiver.respond(401)
        stream = app.wait(app.start(max_seconds=30)["id"])
        assert stream["status"] == "completed"
        began = time.monotonic()
        app.stack.stop(timeout=20)
        assert time.monotonic() - began < 10
