"""One run of everything, as a newcomer sees it: a video goes in, highlights come out, and the telemetry tells how."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from highlights.launch import seed
from highlights.launch.client import Client
from highlights.launch.report import Report
from highlights.launch.services import SERVICES, given
from highlights.launch.stack import Stack, api_port, end
from highlights.launch.terminal import Progress, heading, say, short
from tldr_observability.testing import OTLPReceiver

__all__ = ["Demo", "Options"]

_RUNNING = ("pending", "processing")
_POLL_SECONDS = 0.4
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
            own = re.compile(r"OTEL_EXPORTER_OTLP_(\w+_)?ENDPOINT")
            if not any(own.fullmatch(name) and value for name, value in self._environment.items()):
                self._receiver = ending.enter_context(OTLPReceiver())
                self._environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = self._receiver.url
            stack = self._stack()
            ending.callback(end, stack)
            ending.push(lambda kind, *_: say("\nEnding.") if kind is KeyboardInterrupt else None)
            self._start(stack)
            organization_id, key = seed.customer("Demo")
            if "DATABASE_URL" not in self._environment:
                seed.test_key()
            customer = Client(stack.url("api"), key, stack.url("customer"))
            self._tell(stack, customer, organization_id)
            self._conclude(stack, key)
        return 1 if self._failed else 0

    def _stack(self) -> Stack:
        wanted = SERVICES.keys() - given(self._environment)
        ports = {"api": api_port(self._environment)}
        return Stack(self._options.data_dir, self._environment, services=wanted, ports=ports)

    def _start(self, stack: Stack) -> None:
        began = time.monotonic()
        names = [service.name for service in stack.services]
        say(f"Starting {', '.join(names)}; their logs are in {short(stack.log_dir)}/.")
        for name in sorted(given(self._environment)):
            say(f"{SERVICES[name].variable} is set: using that, and starting no {name}.")
        if stack.pool == "solo":
            say("This machine can't make semaphores (has it /dev/shm?): the worker runs one task at a time.")
        seed.prepare_database(stack.environment)
        if "s3" in given(self._environment):
            seed.make_bucket()
        if "valkey" in given(self._environment):
            seed.check_queue()
        stack.start()
        say(f"All ready after {time.monotonic() - began:.1f} s; the API is {stack.url('api')}.")

    def _tell(self, stack: Stack, customer: Client, organization_id: str) -> None:
        customer.expect_webhooks()
        if self._options.url:
            wanted: dict[str, Any] = {"url": self._options.url, "title": "A stream"}
        else:
            wanted = {"url": sample(stack), "title": "Big Buck Bunny, 90 s", "type": "recording"}
        if self._options.max_seconds:
            wanted["max_seconds"] = self._options.max_seconds
        heading("The stream")
        say(f"POST /api/v1/streams  {wanted['url']}")
        stream, trace_id = customer.start(wanted)
        stream = self._watch(stack, customer, stream)
        is_whole_sample = self._options.url is None and self._options.max_seconds is None
        report = Report(customer, stream, is_sample=is_whole_sample)
        report.show_highlights()
        report.show_clips(stack.data_dir / "clips" / stream["id"][:8])
        report.show_webhooks()
        if self._receiver is None:
            heading("Trace and metrics")
            say("They went where OTEL_EXPORTER_OTLP_ENDPOINT says, so they are not shown here.")
        else:
            report.show_trace(self._receiver, trace_id)
            report.show_metrics(self._receiver, organization_id)
        if token := self._environment.get("LOGFIRE_TOKEN"):
            project = _project(token, self._environment.get("LOGFIRE_BASE_URL"))
            say(f"\nLOGFIRE_TOKEN is set: it is in Logfire as well{f', {project}' if project else ''}.")
        self._failed += report.failed

    def _watch(self, stack: Stack, customer: Client, stream: dict[str, Any]) -> dict[str, Any]:
        if self._options.url:
            say("Highlights are looked for once it has been read: all of it, or --max-seconds. Ctrl-C stops it before.")
        progress, stopped = Progress(), False
        while stream["status"] in _RUNNING:
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
        if not (stream["status"] == "completed" or (stopped and stream["status"] == "cancelled")):
            why = f": {stream['failure']['reason']}" if stream["failure"] else ""
            self._failed.append(f"the stream ended {stream['status']}{why}")
        return stream

    def _conclude(self, stack: Stack, key: str) -> None:
        heading("Next" if not self._failed else "What does not hold")
        for each in self._failed:
            say(f"  {each}")
        if self._failed:
            say(f"\nThe logs are in {short(stack.log_dir)}/.")
        elif not self._options.keep:
            command = _command()
            following = {
                f"{command} demo --keep": "leaves the services up, for curl",
                f"{command} demo URL": "any video or HLS playlist, live ones too",
                f"LOGFIRE_TOKEN=... {command} demo": "the same in Logfire",
            }
            width = max(map(len, following))
            for typed, what in following.items():
                say(f"  {typed:<{width}}  {what}")
        if self._options.keep:
            self._stay(stack, key)

    def _stay(self, stack: Stack, key: str) -> None:
        streams, bearer = f"{stack.url('api')}/api/v1/streams", '-H "Authorization: Bearer $KEY"'
        say(f"  Everything stays up until Ctrl-C; {stack.url('api')}/docs describes the API.\n")
        say(f"  KEY={key}")
        say(f"  curl {streams} {bearer}")
        say(f"  curl -X POST {streams} {bearer} -H 'Content-Type: application/json' \\")
        say(f'    -d \'{{"url": "{sample(stack)}", "title": "Again"}}\'')
        try:
            while True:
                stack.check()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            say("\nEnding.")


def sample(stack: Stack) -> str:
    """Where the customer's server has the sample."""
    return f"{stack.url('customer')}/sample/index.m3u8"


def _command() -> str:
    """How this program was called."""
    called = Path(sys.argv[0])
    if called.name != "highlights":
        return "python -m highlights.launch"
    return called.name if shutil.which(called.name) == str(called) else short(called.absolute())


def _progress(stream: dict[str, Any]) -> str:
    progress = stream["progress"]
    segments, keyframes, judged = (progress[name] for name in ("segments", "keyframes", "analyzed"))
    stage = _STAGES.get(progress["stage"], "") if stream["status"] in _RUNNING else stream["status"]
    counts = [_count(segments, "segment"), _count(keyframes, "key frame"), judged and f"{judged} of {segments} judged"]
    return ": ".join(filter(None, (stage, ", ".join(filter(None, counts)))))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""


def _project(token: str, base_url: str | None) -> str | None:
    """The address of the token's project; None where Logfire doesn't say."""
    region = re.match(r"pylf_v\d+_([a-z]+)_", token)
    base = base_url or f"https://logfire-{region[1] if region else 'us'}.pydantic.dev"
    try:
        answer = httpx.get(f"{base}/v1/info", headers={"Authorization": token}, timeout=3.0)
        return str(answer.raise_for_status().json()["project_url"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None
