"""One real run of the sample through the whole app: what the customer gets, and what the operator sees of it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import httpx
import pytest
from running import App, running

from tldr_observability.testing import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tldr_observability.testing import Span

pytestmark = pytest.mark.timeout(120)

SIGNAL_MATRIX = {
    service: {"traces", "metrics", "logs"} for service in ("highlights-api", "highlights-worker", "customer")
}
SERVICE_EDGES = {("highlights-api", "highlights-worker"), ("highlights-worker", "customer")}
PARENTS = {
    "start_stream": "POST /api/v1/streams",
    "validate_user": "start_stream",
    "check_quota": "start_stream",
    "start_stream_processing": "start_stream",
    "detect_platform": "start_stream_processing",
    "save_stream": "start_stream_processing",
    "get_agent_config": "start_stream_processing",
    "trigger_async_processing": "start_stream_processing",
    "apply_async/ingest_stream_with_ffmpeg": "trigger_async_processing",
    "run/ingest_stream_with_ffmpeg": "apply_async/ingest_stream_with_ffmpeg",
    "probe_stream": "run/ingest_stream_with_ffmpeg",
    "create_segments": "run/ingest_stream_with_ffmpeg",
    "extract_keyframes": "run/ingest_stream_with_ffmpeg",
    "apply_async/detect_highlights_with_ai": "run/ingest_stream_with_ffmpeg",
    "run/detect_highlights_with_ai": "apply_async/detect_highlights_with_ai",
    "start": "run/detect_highlights_with_ai",
    "stop": "run/detect_highlights_with_ai",
}
MANY = {
    "analyze_content_segment": "run/detect_highlights_with_ai",
    "should_create_highlight": "run/detect_highlights_with_ai",
    "create_highlight": "run/detect_highlights_with_ai",
}


@dataclass
class Run:
    """What is left of the run when its processes have ended."""

    app: App
    stream: dict[str, Any]
    highlights: list[dict[str, Any]]
    files: dict[str, bytes]
    events: list[dict[str, Any]]
    trace: list[Span]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.trace if span.name == name]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The sample, processed; the processes have ended and sent what they had."""
    with running(tmp_path_factory.mktemp("highlights")) as app:
        started = app.start(reference="film-1")
        stream = app.wait(started["id"])
        assert stream["status"] == "completed", stream
        highlights = app.highlights(stream["id"])
        links = [highlight[link] for highlight in highlights for link in ("clip_url", "thumbnail_url")]
        files = {link: httpx.get(link).content for link in links}
        events = app.events(until=2 + len(highlights))
        app.stack.stop(timeout=20)
        post = next(span for span in app.receiver.spans if span.name == "POST /api/v1/streams")
        trace = [span for span in app.receiver.spans if span.trace_id == post.trace_id]
        yield Run(app, stream, highlights, files, events, trace)


def test_the_highlights_are_where_people_see_them(run):
    """Three highlights at the default threshold, all in the last third, none in the calm beginning."""
    assert len(run.highlights) == 3
    assert all(55 <= found["start_seconds"] < found["end_seconds"] <= 91 for found in run.highlights)
    assert all(0.55 <= found["confidence"] <= 1 for found in run.highlights)
    assert all(found["method"] == "signal-formula" for found in run.highlights)
    assert all(found["reason"] and found["type"] for found in run.highlights)


def test_clips_play_and_thumbnails_open(run):
    """Each clip has video and sound and the length that its highlight says; each thumbnail is a JPEG."""
    for found in run.highlights:
        with av.open(io.BytesIO(run.files[found["clip_url"]])) as clip:
            assert len(clip.streams.video) == len(clip.streams.audio) == 1
            assert clip.duration / 1e6 == pytest.approx(found["end_seconds"] - found["start_seconds"], abs=1)
            assert sum(1 for _ in clip.decode(video=0)) > 20
        with av.open(io.BytesIO(run.files[found["thumbnail_url"]])) as picture:
            assert picture.streams.video[0].codec_context.name == "mjpeg"
            assert next(picture.decode(video=0)).width >= 160


def test_one_trace_without_orphans(run):
    """From the request to the customer's server everything is in one trace, and each span's parent is there too."""
    known = {span.span_id for span in run.trace}
    orphans = [span.name for span in run.trace if span.parent_id is not None and span.parent_id not in known]
    assert not orphans, tree(run.trace)
    assert [span.name for span in run.trace if span.parent_id is None] == ["POST /api/v1/streams"]


def test_the_trace_crosses_the_services(run):
    """The edges of the service map are those of the architecture: API to worker, worker to customer."""
    by_id = {span.span_id: span for span in run.trace}
    edges = {
        (by_id[span.parent_id].resource["service.name"], span.resource["service.name"])
        for span in run.trace
        if span.parent_id
    }
    assert {edge for edge in edges if edge[0] != edge[1]} == SERVICE_EDGES
    hooks = run.named("POST /hooks")
    assert len(hooks) == len(run.events)


@pytest.mark.parametrize(("name", "parent"), PARENTS.items())
def test_the_trace_reads_like_the_code(run, name, parent):
    """Every step of the pipeline is in the trace once, below the step that it's part of."""
    by_id = {span.span_id: span for span in run.trace}
    (span,) = run.named(name)
    assert by_id[span.parent_id].name == parent


@pytest.mark.parametrize(("name", "parent"), MANY.items())
def test_steps_of_segments_are_in_the_trace_for_each(run, name, parent):
    """Each segment's analysis and decision, and each highlight's making, has a span below the agent's task."""
    by_id = {span.span_id: span for span in run.trace}
    segments = run.stream["progress"]["segments"]
    expected = len(run.highlights) if name == "create_highlight" else segments
    spans = run.named(name)
    assert len(spans) == expected
    assert {by_id[span.parent_id].name for span in spans} == {parent}


def test_objects_are_stored_below_the_highlight_that_they_belong_to(run):
    """The uploads to S3 are part of the making of their highlight, with the bucket and key."""
    by_id = {span.span_id: span for span in run.trace}
    puts = [span for span in run.trace if span.attributes.get("aws.s3.key")]
    assert len(puts) == 2 * len(run.highlights)
    for span in puts:
        while span.name != "create_highlight":
            span = by_id[span.parent_id]  # noqa: PLW2901 - upwards until it is found


def test_every_span_knows_whom_it_is_for(run):
    """The organization and the stream are on all spans of the workers, though only the request knew the key."""
    workers = [span for span in run.trace if span.resource["service.name"] == "highlights-worker"]
    without = [span.name for span in workers if span.attributes.get("tldr.organization.id") != run.app.organization_id]
    assert not without
    steps = [span for span in workers if span.name in MANY]
    assert {span.attributes.get("tldr.stream.id") for span in steps} == {run.stream["id"]}
    assert {span.attributes.get("tldr.platform") for span in steps} == {"hls"}


def test_the_signal_matrix(run):
    """Every service exports traces, metrics and logs."""
    receiver = run.app.receiver
    signals = {"traces": receiver.spans, "metrics": receiver.metrics, "logs": receiver.logs}
    for service, expected in SIGNAL_MATRIX.items():
        got = {name for name, items in signals.items() if any(i.resource["service.name"] == service for i in items)}
        assert got == expected, service


def test_counters_equal_the_database(run):
    """What the metrics count is what the database holds."""
    total, rows = run.app.receiver.total, run.app.rows
    organization = {"tldr.organization.id": run.app.organization_id}
    ((streams,),) = rows("SELECT count(*) FROM streams")
    ((highlights,),) = rows("SELECT count(*) FROM highlights")
    ((attempts, delivered),) = rows("SELECT sum(attempts), sum(status = 'delivered') FROM deliveries")
    assert total("tldr.stream.started", organization) == streams == 1
    assert total("tldr.stream.completed", organization, **{"tldr.outcome": "success"}) == 1
    assert total("tldr.highlight.detected", organization) == highlights == 3
    assert total("tldr.highlight.confidence") == highlights
    assert total("tldr.webhook.sent", organization) == attempts == delivered == len(run.events)
    ((seconds, cost),) = rows("SELECT billed_seconds, cost_usd FROM streams")
    assert total("tldr.stream.processed", organization) == pytest.approx(seconds / 60)
    assert total("tldr.stream.cost", organization) == pytest.approx(cost)
    assert seconds == pytest.approx(90, abs=1)
    assert cost > 0


def test_the_broker_makes_no_noise(run):
    """Every trace begins with a request, or with a process: nothing of Celery's own traffic with Redis is traced."""
    roots = {span.name for span in run.app.receiver.spans if span.parent_id is None and span.kind != "server"}
    assert roots <= {"create_tables", "apply_async/resume_deliveries"}
    commands = {span.attributes.get("db.operation.name") for span in run.app.receiver.spans}
    assert not commands & {"BRPOP", "LPUSH", "PUBLISH", "EVALSHA", "ZADD"}


def test_a_stream_has_a_bounded_number_of_spans(run):
    """Ninety seconds of film make some hundred spans, most of them of segments, whose number is bounded."""
    assert len(run.trace) < 400


def test_webhooks_are_signed_and_told_once(run):
    """The customer gets start, each highlight and completion, each with a valid signature and an id of its own."""
    assert [event["verified"] for event in run.events] == [True] * len(run.events)
    assert len({event["id"] for event in run.events}) == len(run.events)
    types = [event["type"] for event in run.events]
    assert types.count("highlight.detected") == len(run.highlights)
    assert types.count("stream.started") == types.count("stream.completed") == 1
    assert {event["data"]["stream_id"] for event in run.events} == {run.stream["id"]}


def test_no_secret_leaves_by_telemetry(run):
    """The key, the webhook's secret, signatures of links, and pictures are in nothing that was exported."""
    exported = b"".join(request.body for request in run.app.receiver.requests)
    for secret in (run.app.key, run.app.secret, run.app.secret.removeprefix("whsec_")):
        assert secret.encode() not in exported
    assert b"X-Amz-Signature=" not in exported
    assert b"\xff\xd8\xff\xe0" not in exported
    assert b"/9j/4AAQ" not in exported


def test_nothing_is_left_on_the_workers_disk(run):
    """Segments and key frames are gone when the stream has ended."""
    work = run.app.stack.data_dir / "work"
    assert not work.exists() or not list(work.iterdir())
