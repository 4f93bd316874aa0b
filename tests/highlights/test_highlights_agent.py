"""The agent: which highlights a stream has, who says so, and what becomes of it where a language model misbehaves."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_ai import models
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import BinaryContent, ModelResponse, ToolCallPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from running import SAMPLE

from highlights.agent import AgentConfig, B2BStreamAgent, Candidate
from highlights.formula_model import FORMULA, SignalFormula
from highlights.media import Keyframe, cut_clip, extract_keyframes
from highlights.recording import Cutter, Segment

SURE = {"confidence": 0.9, "type": "funny", "title": "title-kestrel", "reason": "reason-osprey"}


@pytest.fixture(autouse=True)
def no_real_models(monkeypatch, app_environment):
    """No test asks a provider out there."""
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)


def cut(source, directory, seconds):
    segments = []
    directory.mkdir(exist_ok=True)
    with av.open(str(source)) as container:
        streams = [container.streams.video[0], container.streams.audio[0]]
        cutter = Cutter(directory, seconds, *streams, segments.append)
        for packet in container.demux(streams):
            cutter.write(packet)
        cutter.close()
    return segments


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The sample's segments, of five seconds or a bit more."""
    return cut(SAMPLE, tmp_path_factory.mktemp("film"), 5)


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    """The sample's lively half in small pictures: enough where it doesn't matter what exactly is found."""
    directory = tmp_path_factory.mktemp("lively")
    with av.open(str(SAMPLE)) as source, av.open(str(directory / "film.mkv"), "w") as output:
        options = {"preset": "ultrafast", "g": "48"}
        small = output.add_stream("libx264", 24, options, width=160, height=90)
        sound = output.add_stream_from_template(source.streams.audio[0])
        source.seek(50 * av.time_base)
        for packet in source.demux(video=0, audio=0):
            if packet.stream.type == "audio" and packet.pts is not None:
                packet.stream = sound
                output.mux(packet)
            elif packet.stream.type == "video":
                output.mux([made for frame in packet.decode() for made in small.encode(frame)])
        output.mux(small.encode())
    return cut(directory / "film.mkv", directory, 5)


@pytest.fixture(scope="module")
def scene(film, tmp_path_factory):
    """Three of its segments, with pictures: enough where it doesn't matter what is seen."""
    return film[9:12], extract_keyframes(film[9:12], tmp_path_factory.mktemp("pictures") / "stills")


def agent(segments, keyframes=(), *, publish=None, on_progress=lambda _: None, **config):
    published: list[Candidate] = []
    made = B2BStreamAgent(
        AgentConfig(**config),
        segments,
        keyframes,
        publish=publish or (lambda candidate: not published.append(candidate)),
        on_progress=on_progress,
        organization_id="acme",
        platform="hls",
    )
    return made, published


def answering(*answers):
    """A model that gives these answers in turn, the last one for ever; an exception is raised."""
    calls = []

    def answer(messages, info):
        calls.append(messages)
        said = answers[min(len(calls), len(answers)) - 1]
        if isinstance(said, Exception):
            raise said
        return ModelResponse([ToolCallPart(info.output_tools[0].name, said)])

    return FallbackModel(FunctionModel(answer, model_name="judge"), SignalFormula()), calls


@pytest.mark.parametrize("seconds", [5, 6])
def test_the_sample_has_three_highlights(tmp_path, seconds):
    """Of 90 seconds of film exactly the three lively parts are found, wherever exactly the segments begin."""
    made, published = agent(cut(SAMPLE, tmp_path / "cut", seconds))
    made.run()
    assert len(published) == 3
    assert all(54 <= each.start < each.end <= 90.1 for each in published)
    assert all(0.55 <= each.confidence < 1 for each in published)
    assert {each.method for each in published} == {FORMULA}
    assert all(each.start <= each.peak <= each.end for each in published)
    named = [(56, 61), (71, 76), (80, 87)]
    assert all(each.start < end and begin < each.end for each, (begin, end) in zip(published, named, strict=True))


def test_a_run_is_a_trace_of_its_steps(telemetry, lively):
    """Start, the verdict and decision on each segment, each highlight and stop are spans, and so is the measuring."""
    made, published = agent(lively)
    made.run()
    names = [each.name for each in telemetry.spans]
    steps = ("start", "analyze_content_segment", "should_create_highlight", "create_highlight", "stop")
    assert [names.count(step) for step in steps] == [1, len(lively), len(lively), len(published), 1]
    spans = {each.span_id: each for each in telemetry.spans}
    assert spans[telemetry.span("measure_signals").parent_id].name == "start"
    verdicts = [each for each in spans.values() if each.name == "invoke_agent b2b_stream_agent"]
    assert {spans[each.parent_id].name for each in verdicts} == {"analyze_content_segment"}
    assert [each.event_name for each in telemetry.logs] == ["agent.initialized", "agent.stopped"]
    assert telemetry.total("tldr.highlight.confidence", {"tldr.detection.method": FORMULA}) == len(published)
    assert telemetry.total("tldr.ai.calls") == 0
    assert made.model_cost_usd == 0


def test_progress_is_told_and_may_end_the_run(lively):
    """Each analyzed segment is told; a stopped stream's run ends with nothing more published."""
    told = []
    made, _ = agent(lively[:3], on_progress=told.append)
    made.run()
    assert told == [0, 0, 0, 1, 2, 3]

    class StoppedError(Exception):
        pass

    def stop(analyzed):
        if analyzed == 2:
            raise StoppedError

    made, published = agent(lively, on_progress=stop)
    with pytest.raises(StoppedError):
        made.run()
    assert published == []


def test_what_is_not_published_is_no_highlight(lively):
    """Where publishing says no, the run goes on, and the candidate isn't among its results."""
    asked = []

    def publish(candidate):
        asked.append(candidate)
        return len(asked) > 1

    made, _ = agent(lively, publish=publish, threshold=0.2)
    assert len(made.run()) == len(asked) - 1 >= 1


@pytest.mark.parametrize(
    ("options", "shortest", "longest"),
    [
        ({"min_clip_seconds": 12, "max_clip_seconds": 12}, 12, 12),
        ({"min_clip_seconds": 40}, 36, 40),
        ({"max_clip_seconds": 3}, 3, 3),
    ],
)
def test_clips_are_as_long_as_asked_for(lively, tmp_path, options, shortest, longest):
    """A highlight's clip holds its peak, and is as long as the customer wants, and as the highlight says."""
    made, published = agent(lively, **options)
    made.run()
    assert published
    for each in published:
        assert lively[0].start <= each.start <= each.peak <= each.end <= lively[-1].end
        assert shortest - 0.001 <= each.end - each.start <= longest + 0.001
        cut_clip(lively, each.start, each.end, tmp_path / "clip.mp4")
        with av.open(str(tmp_path / "clip.mp4")) as clip:
            assert clip.duration / av.time_base == pytest.approx(each.end - each.start, abs=0.2)
            assert next(clip.decode(video=0)).time == pytest.approx(0, abs=0.01)


def test_where_everything_is_a_highlight_clips_are_still_bounded(lively):
    """At a threshold of 0 there are no more highlights than segments, and none is longer than is wanted."""
    made, published = agent(lively, threshold=0, max_clip_seconds=20)
    made.run()
    assert 2 <= len(published) <= len(lively)
    assert max(each.end - each.start for each in published) <= 20
    assert {segment.index for segment in lively} >= {each.first_segment for each in published}
    assert len({each.first_segment for each in published}) == len(published)


@st.composite
def streams(draw):
    """Segments with key frames anywhere, and a candidate that is some of them in a row."""
    at = draw(st.floats(0, 100))
    segments = []
    for index in range(draw(st.integers(1, 8))):
        gaps = draw(st.lists(st.floats(0.04, 60), min_size=1, max_size=4))
        times = [at, *(at := at + gap for gap in gaps)]
        segments.append(Segment(index, times[0], times[-1], Path(), tuple(times[:-1])))
    first, last = sorted(draw(st.tuples(*[st.sampled_from(segments)] * 2)), key=lambda each: each.index)
    peak = draw(st.floats(first.start, last.end))
    return segments, Candidate(first.start, last.end, 1, "loud", "", "", "", first.index, peak)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.floats(1, 300), st.floats(1, 300))
def test_every_clip_holds_its_peak_and_keeps_its_length(stream, least, most):
    """Wherever key frames are: a clip lies in the stream, holds its peak, and is too long or too short for nobody."""
    segments, candidate = stream
    config = AgentConfig(min_clip_seconds=least, max_clip_seconds=most)
    made, published = agent(segments, **config.model_dump(exclude={"model"}))
    made.create_highlight(candidate)
    (clip,) = published
    total = segments[-1].end - segments[0].start
    assert segments[0].start <= clip.start <= clip.peak <= clip.end + 1e-6
    assert clip.end <= segments[-1].end
    assert min(config.min_clip_seconds, total) - 1e-6 <= clip.end - clip.start <= config.max_clip_seconds + 1e-6
    whole = candidate.end - candidate.start
    if config.min_clip_seconds <= whole <= config.max_clip_seconds:
        assert (clip.start, clip.end) == (candidate.start, candidate.end)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({"min_clip_seconds": 40}, 40, 40),
        ({"max_clip_seconds": 3}, 3, 3),
        ({"min_clip_seconds": 8}, 8, 30),
        ({"max_clip_seconds": 60}, 5, 60),
    ],
)
def test_a_default_gives_way_to_what_the_customer_wants(given, least, most):
    """Whoever wants clips of at least 40 seconds isn't stopped by the usual 30."""
    config = AgentConfig(**given)
    assert (config.min_clip_seconds, config.max_clip_seconds) == (least, most)
    assert AgentConfig.model_validate_json(config.model_dump_json()) == config


def test_a_long_segment_is_trimmed_around_its_peak(tmp_path):
    """A segment of 45 seconds makes a clip of 10 around its liveliest moment."""
    _, half = cut(SAMPLE, tmp_path / "cut", 45)
    made, published = agent([half], max_clip_seconds=10)
    made.run()
    (clip,) = published
    assert clip.end - clip.start <= 10
    assert clip.start <= clip.peak <= clip.end
    assert clip.start > 60


def test_a_model_is_shown_numbers_and_pictures(scene):
    """A language model gets what was measured and at most three key frames, and its words are the highlight's."""
    model, calls = answering(SURE)
    made, published = agent(*scene, model="test")
    made.judge.model = model
    made.run()
    assert len(calls) == 3
    for messages in calls:
        numbers, *pictures = messages[0].parts[-1].content
        assert set(json.loads(numbers)) == {"start", "end", "signals", "usual"}
        assert 1 <= len(pictures) <= 3
        assert all(isinstance(each, BinaryContent) and each.data[:2] == b"\xff\xd8" for each in pictures)
    assert {(each.method, each.title, each.type) for each in published} == {("judge", "title-kestrel", "funny")}


def test_an_invalid_answer_is_asked_for_again(telemetry, scene):
    """A confidence of 7 isn't taken; the model is told so and answers again."""
    model, calls = answering({**SURE, "confidence": 7}, SURE)
    made, published = agent(*scene, model="test")
    made.judge.model = model
    made.run()
    assert len(calls) == 4
    assert {each.confidence for each in published} == {0.9}
    assert telemetry.total("tldr.ai.calls", {"tldr.outcome": "success"}) == 4


def test_answers_that_stay_invalid_are_replaced_by_the_formula(telemetry, scene):
    """A model that never answers rightly is an agent error; the formula judges, and the method says so."""
    model, calls = answering({**SURE, "confidence": 7})
    made, published = agent(*scene, model="test", threshold=0)
    made.judge.model = model
    made.run()
    assert len(calls) == 9
    assert {each.method for each in published} == {FORMULA}
    assert telemetry.total("tldr.agent.errors", {"error.type": "UnexpectedModelBehavior"}) == 3


def test_a_provider_that_is_down_is_replaced_by_the_formula(telemetry, scene):
    """A 503 of the provider ends nothing: the formula judges, the failed calls are counted."""
    model, _ = answering(ModelHTTPError(503, "judge"), SURE)
    made, published = agent(*scene, model="test", threshold=0)
    made.judge.model = model
    made.run()
    assert {each.method for each in published} == {FORMULA, "judge"}
    assert telemetry.total("tldr.ai.calls", {"tldr.outcome": "failed"}) == 1
    assert telemetry.total("tldr.ai.calls", {"tldr.outcome": "success"}) == 2


def test_any_model_of_pydantic_ai_fits(scene):
    """Whatever a model says in the verdict's form is a verdict."""
    made, published = agent(*scene, model="test", threshold=0)
    made.judge.model = TestModel(custom_output_args=SURE)
    made.run()
    assert {each.method for each in published} == {"test"}


@pytest.mark.parametrize("name", ["openai:gpt-4o", "nowhere:model", "model"])
def test_a_model_that_cannot_be_had_is_said(telemetry, scene, monkeypatch, name):
    """Without its key, or with a name that nobody knows, the operator is told, and the formula judges."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made, published = agent(*scene, model=name, threshold=0)
    made.run()
    assert {each.method for each in published} == {FORMULA}
    assert "agent.model_unavailable" in [each.event_name for each in telemetry.logs]
    assert telemetry.total("tldr.agent.errors") == 1


@contextmanager
def provider(status=200):
    """A server that speaks OpenAI's chat completions; yields its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], request))
            call = {
                "id": "call-1",
                "type": "function",
                "function": {"name": request["tools"][0]["function"]["name"], "arguments": json.dumps(SURE)},
            }
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            body = json.dumps(
                {
                    "id": "answer-1",
                    "object": "chat.completion",
                    "created": 1_700_000_000,
                    "model": "gpt-4o-mini",
                    "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
                }
            ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-should-retry", "false")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def openai(monkeypatch, app_environment):
    """Make the app ask a server of the test; returns what begins it."""
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)  # the only address it knows is loopback

    def use(url):
        app_environment.setenv("HIGHLIGHTS_MODEL_BASE_URL", url)
        app_environment.setenv("OPENAI_API_KEY", "sk-merlin-secret")
        from running import forget

        forget()

    return use


def test_an_openai_compatible_server_judges(telemetry, scene, openai):
    """Over real HTTP the model gets the pictures and its verdict counts; none of what was said is exported."""
    with provider() as (url, asked):
        openai(url)
        made, published = agent(*scene, model="openai:gpt-4o-mini")
        made.run()
    assert {path for path, _, _ in asked} == {"/v1/chat/completions"}
    assert {key for _, key, _ in asked} == {"Bearer sk-merlin-secret"}
    parts = asked[0][2]["messages"][-1]["content"]
    assert [part["type"] for part in parts][:2] == ["text", "image_url"]
    assert {(each.method, each.title) for each in published} == {("gpt-4o-mini", "title-kestrel")}
    assert telemetry.total("tldr.ai.calls", {"gen_ai.request.model": "gpt-4o-mini"}) == 3
    assert telemetry.total("gen_ai.client.token.usage") > 0
    picture = parts[1]["image_url"]["url"].partition(",")[2]
    exported = b"".join(request.body for request in telemetry.receiver.requests)
    assert b"analyze_content_segment" in exported
    secrets = [b"sk-merlin-secret", b"title-kestrel", b"reason-osprey", b"people would share", b"liveliness"]
    assert [each for each in [*secrets, picture[200:260].encode()] if each in exported] == []
    assert made.model_cost_usd == pytest.approx(3 * (1000 * 0.15 + 100 * 0.60) / 1e6)


def test_an_openai_compatible_server_that_fails_is_replaced(telemetry, scene, openai):
    """Where the server answers 503, each segment is judged by the formula."""
    with provider(503) as (url, asked):
        openai(url)
        made, published = agent(*scene, model="openai:gpt-4o-mini", threshold=0)
        made.run()
    assert asked
    assert {each.method for each in published} == {FORMULA}
    assert telemetry.total("tldr.ai.calls", {"tldr.outcome": "failed"}) == 3
    assert made.model_cost_usd == 0


def test_a_model_can_be_without_pictures(film):
    """Segments of which there are no key frames are judged by their numbers."""
    model, calls = answering(SURE)
    made, _ = agent(film[9:10], [Keyframe(0.0, 5, Path("elsewhere.jpg"))], model="test")
    made.judge.model = model
    made.run()
    assert len(calls[0][0].parts[-1].content) == 1


def test_no_segments_no_highlights():
    """A stream that was stopped before its first segment has none, and that is no error."""
    segments: list[Segment] = []
    made, published = agent(segments)
    assert made.run() == published == []
