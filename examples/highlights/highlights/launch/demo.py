"""One run of everything, as a newcomer sees it: a video goes in, highlights come out, and the telemetry tells how."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from highlights.launch import figures, seed, traces
from highlights.launch.clips import Clip, clock, fetch
from highlights.launch.customers import Customer
from highlights.launch.services import SERVICES, given
from highlights.launch.stack import Stack, api_port
from highlights.launch.terminal import Progress, heading, say, wrapped
from tldr_observability.testing import OTLPReceiver

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Demo", "Options"]

_FINAL = ("completed", "failed", "cancelled")
_SAMPLE_HIGHLIGHTS = 3
_POLL_SECONDS = 0.4
_PATIENCE_SECONDS = 10.0
_DEFAULTS = {
    # The terminal is the report's; spans are in the trace.
    "LOGFIRE_CONSOLE_ENABLED": "false",
    # So that the report needn't wait for what was measured and traced.
    "LOGFIRE_FLUSH_INTERVAL": "0.5",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}
_STAGES = {
    "waiting": "waiting for a worker",
    "probing": "looking what it is",
    "segmenting": "reading it into segments",
    "extracting": "taking key frames",
    "detecting": "looking for highlights",
    "done": "done",
}


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    url: str | None = None
    keep: bool = False
    max_seconds: float | None = None
    data_dir: Path = Path("var")


class Demo:
    """One run.

    Args:
        options: what the user asked for.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._environment = {**_DEFAULTS, **os.environ}
        self._failed: list[str] = []
        self._receiver: OTLPReceiver | None = None

    def run(self) -> int:
        """Tell the story; 0 if all that it promises holds."""
        with ExitStack() as ending:
            if not any(re.fullmatch(r"OTEL_EXPORTER_OTLP_(\w+_)?ENDPOINT", name) for name in self._environment):
                self._receiver = ending.enter_context(OTLPReceiver())
                self._environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = self._receiver.url
            stack = self._stack()
            ending.callback(stop, stack)
            self._start(stack)
            organization_id, key = seed.customer("Demo")
            if "DATABASE_URL" not in self._environment:
                seed.test_key()
                key_to_show = seed.TEST_KEY
            else:
                key_to_show = key
            customer = Customer(stack.url("api"), key, stack.url("customer"))
            self._tell(stack, customer, organization_id)
            self._conclude(stack, key_to_show)
        return 1 if self._failed else 0

    def _stack(self) -> Stack:
        wanted = SERVICES.keys() - given(self._environment)
        ports = {"api": api_port(self._environment)}
        return Stack(self._options.data_dir, self._environment, services=wanted, ports=ports)

    def _start(self, stack: Stack) -> None:
        began = time.monotonic()
        names = [service.name for service in stack.services]
        say(f"Starting {', '.join(names)}; their logs are in {short(stack.log_path('x').parent)}/.")
        for name in sorted(given(self._environment)):
            say(f"{SERVICES[name].variable} is set: using that, and starting no {name}.")
        if stack.pool == "solo":
            say("This machine can't make semaphores (has it /dev/shm?): the worker runs one task at a time.")
        seed.prepare_database(stack.environment)
        if "s3" in given(self._environment):
            seed.make_bucket()
        stack.start()
        say(f"All ready after {time.monotonic() - began:.1f} s; the API is {stack.url('api')}.")

    def _tell(self, stack: Stack, customer: Customer, organization_id: str) -> None:
        customer.expect_webhooks()
        url = self._options.url or f"{stack.url('customer')}/sample/index.m3u8"
        title = "Big Buck Bunny, 90 s" if self._options.url is None else "A stream"
        heading("The stream")
        say(f"POST /api/v1/streams  {url}")
        stream, trace_id = customer.start(url, title, self._options.max_seconds)
        stream = self._watch(stack, customer, stream)
        found = self._show_stream(customer, stream)
        self._show_clips(stack, found)
        self._show_webhooks(customer, stream, found)
        if self._receiver is None:
            heading("Trace and metrics")
            say("They went where OTEL_EXPORTER_OTLP_ENDPOINT says, so they are not shown here.")
        else:
            self._show_trace(self._receiver, stream, trace_id)
            self._show_metrics(self._receiver, organization_id)

    def _watch(self, stack: Stack, customer: Customer, stream: dict[str, Any]) -> dict[str, Any]:
        if self._options.url:
            say("Ctrl-C stops the stream and shows what was found until then.")
        progress, stopped = Progress(), False
        while stream["status"] not in _FINAL:
            try:
                progress.show(_progress(stream))
                time.sleep(_POLL_SECONDS)
                stack.check()
                stream = customer.stream(stream["id"])
            except KeyboardInterrupt:
                if stopped or not self._options.url:
                    raise
                stopped = True
                progress.end()
                say(f"POST /api/v1/streams/{stream['id']}/stop")
                customer.stop(stream["id"])
        progress.show(_progress(stream))
        progress.end()
        self._expect(
            stream["status"] == "completed" or (stopped and stream["status"] == "cancelled"),
            f"the stream ended {stream['status']}" + (f": {stream['failure']['reason']}" if stream["failure"] else ""),
        )
        return stream

    def _show_stream(self, customer: Customer, stream: dict[str, Any]) -> list[dict[str, Any]]:
        if stream["failure"]:
            say(f"The stream failed, {stream['failure']['code']}: {stream['failure']['reason']}")
        found = customer.highlights(stream["id"])
        if self._options.url is None:
            self._expect(
                len(found) == _SAMPLE_HIGHLIGHTS,
                f"{len(found)} highlights were found, and the sample has {_SAMPLE_HIGHLIGHTS}",
            )
        heading(f"Highlights: {len(found)} in {clock(stream['seconds'] or 0)} of video, for ${stream['cost_usd']:.6f}")
        if not found:
            say("None.")
            return found
        width = max(len(each["type"]) for each in found)
        before = f"  {'#':>2}  {'start':>7}  {'end':>7}  {'confidence':>10}  {'type':<{width}}  "
        say(f"{before}why")
        for number, each in enumerate(found, 1):
            start, end = clock(each["start_seconds"]), clock(each["end_seconds"])
            row = f"  {number:>2}  {start:>7}  {end:>7}  {each['confidence']:>10.2f}  {each['type']:<{width}}  "
            say(row + wrapped(each["reason"], len(before), len(row)))
        return found

    def _show_clips(self, stack: Stack, found: list[dict[str, Any]]) -> None:
        if not found:
            return
        bucket = stack.data_dir / "s3" / stack.environment.get("HIGHLIGHTS_S3_BUCKET", "highlights")
        downloads = stack.data_dir / "clips"
        with_sound = self._options.url is None
        clips: list[Clip] = [fetch(each, bucket, downloads, with_sound=with_sound) for each in found]
        say(f"\nClips and thumbnails, downloaded and played, are in {short(clips[0].clip.parent)}/")
        for number, clip in enumerate(clips, 1):
            say(f"  {number:>2}  {clip.clip.stem}.mp4 .jpg  {clip.description}")
            self._failed += clip.problems
        best = max(zip(found, clips, strict=True), key=lambda pair: pair[0]["confidence"])[1]
        say(f"Open the best one:\n  {short(best.clip)}")

    def _show_webhooks(self, customer: Customer, stream: dict[str, Any], found: list[dict[str, Any]]) -> None:
        expected = {("stream.started", ""), (f"stream.{stream['status']}", "")}
        expected |= {("highlight.detected", each["id"]) for each in found}

        def missing() -> set[tuple[str, str]]:
            verified = (each for each in customer.events(stream["id"]) if each["verified"])
            return expected - {(each["type"], each["data"].get("highlight_id", "")) for each in verified}

        _until(lambda: not missing())
        heading("Webhooks, as the customer's server got them")
        for event in customer.events(stream["id"]):
            data = event["data"]
            about = f"at {clock(data['start_seconds'])}, {data['title']}" if "start_seconds" in data else ""
            signature = "signature verified" if event["verified"] else "SIGNATURE WRONG"
            say(f"  {signature}  {event['type']:<18}  {about}".rstrip())
            self._expect(event["verified"], f"the signature of webhook {event['id']} is wrong")
        for event_type, about in sorted(missing()):
            self._failed.append(f"no verified webhook {event_type} {about}".rstrip())

    def _show_trace(self, receiver: OTLPReceiver, stream: dict[str, Any], trace_id: str) -> None:
        services = {"api", "worker", "customer"}

        def spans() -> list[Any]:
            return [span for span in receiver.spans if span.trace_id == trace_id]

        def strays() -> list[Any]:
            about = (span for span in receiver.spans if span.attributes.get("tldr.stream.id") == stream["id"])
            return [span for span in about if span.trace_id != trace_id and traces.service_of(span) != "api"]

        def is_whole() -> bool:
            seen = spans()
            return (
                services <= set(map(traces.service_of, seen)) and not traces.orphans(seen) and bool(traces.roots(seen))
            )

        _until(is_whole)
        _until_quiet(lambda: len(spans()))
        seen = spans()
        heading(f"The trace {trace_id}: {len(seen)} spans, as they were exported")
        if seen:
            say(traces.draw(seen))
        missing = services - set(map(traces.service_of, seen))
        self._expect(not missing, f"the trace has no span of {', '.join(sorted(missing))}")
        orphans = sorted({span.name for span in traces.orphans(seen)})
        self._expect(not orphans, f"the trace has spans whose parent never came: {', '.join(orphans)}")
        self._expect(len(traces.roots(seen)) == 1, f"the trace has {len(traces.roots(seen))} roots")
        if stream["status"] == "completed":  # what follows a stop is of the trace of that request
            names = sorted({span.name for span in strays()})
            self._expect(not names, f"of the stream's own spans some are in another trace: {', '.join(names)}")
        if token := self._environment.get("LOGFIRE_TOKEN"):
            project = _project(token, self._environment.get("LOGFIRE_BASE_URL"))
            say(f"\nLOGFIRE_TOKEN is set: it is in Logfire as well{f', {project}' if project else ''}.")

    def _show_metrics(self, receiver: OTLPReceiver, organization_id: str) -> None:
        def exported() -> dict[str, figures.Figure]:
            return figures.exported_figures(receiver.metrics, organization_id)

        def differing() -> list[str]:
            # Asked anew each time: a worker may still be writing down what the customer has got.
            return figures.differing(exported(), figures.database_figures(organization_id))

        _until(lambda: not differing())
        heading("Business metrics, as they were exported")
        say(figures.table(exported(), figures.database_figures(organization_id)))
        self._failed += differing()

    def _conclude(self, stack: Stack, key: str) -> None:
        heading("Next" if not self._failed else "What does not hold")
        for each in self._failed:
            say(f"  {each}")
        if self._failed:
            say(f"\nThe logs are in {short(stack.log_path('x').parent)}/.")
        elif not self._options.keep:
            command = _command()
            following = {
                f"{command} demo --keep": "leaves the services up: the API, its pages at /docs, curl",
                f"{command} demo URL": "any video or HLS playlist, live ones too",
                f"LOGFIRE_TOKEN=... {command} demo": "the same in Logfire",
            }
            width = max(map(len, following))
            for typed, what in following.items():
                say(f"  {typed:<{width}}  {what}")
        if self._options.keep:
            self._stay(stack, key)

    def _stay(self, stack: Stack, key: str) -> None:
        api = stack.url("api")
        say(f"\n  {api}/docs describes the API. Everything stays up until Ctrl-C. Send a stream:\n")
        say(f"  curl -X POST {api}/api/v1/streams -H 'Authorization: Bearer {key}' \\")
        say("    -H 'Content-Type: application/json' \\")
        say(f'    -d \'{{"url": "{stack.url("customer")}/sample/index.m3u8", "title": "Again"}}\'\n')
        say(f"  curl {api}/api/v1/streams -H 'Authorization: Bearer {key}'")
        try:
            while True:
                stack.check()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            say("\nEnding.")

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._failed.append(otherwise)


def stop(stack: Stack) -> None:
    """End the services; a second Ctrl-C doesn't leave half of them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack.stop()
    finally:
        signal.signal(signal.SIGINT, before)


def short(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _command() -> str:
    """How this program was called."""
    called = Path(sys.argv[0])
    if called.name != "highlights":
        return "python -m highlights.launch"
    return called.name if shutil.which(called.name) == str(called) else short(called.absolute())


def _progress(stream: dict[str, Any]) -> str:
    progress = stream["progress"]
    segments, keyframes, judged = (progress[name] for name in ("segments", "keyframes", "analyzed"))
    counts = [_count(segments, "segment"), _count(keyframes, "key frame"), judged and f"{judged} of {segments} judged"]
    return ": ".join(filter(None, (_STAGES.get(progress["stage"], progress["stage"]), ", ".join(filter(None, counts)))))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""


def _until(holds: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)


def _until_quiet(count: Callable[[], int], seconds: float = 1.0) -> None:
    """Wait until nothing came for so long."""
    seen, since = count(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(0.1)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()


def _project(token: str, base_url: str | None) -> str | None:
    """The address of the token's project; None where Logfire doesn't say."""
    region = re.match(r"pylf_v\d+_([a-z]+)_", token)
    base = base_url or f"https://logfire-{region[1] if region else 'us'}.pydantic.dev"
    try:
        answer = httpx.get(f"{base}/v1/info", headers={"Authorization": token}, timeout=3.0)
        return str(answer.raise_for_status().json()["project_url"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None
