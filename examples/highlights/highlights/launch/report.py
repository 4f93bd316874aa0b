"""What a run has come to, part by part: each is shown, and what doesn't hold is noted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from highlights.launch import figures, traces
from highlights.launch.clips import ClipError, download
from highlights.launch.terminal import heading, say, short, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from highlights.launch.client import Client
    from tldr_observability.testing import OTLPReceiver

__all__ = ["Report"]

_SAMPLE_HIGHLIGHTS = 3
_SERVICES = {"api", "worker", "customer"}
_PATIENCE_SECONDS = 10.0


class Report:
    """The report of one stream.

    Args:
        customer: whose it is.
        stream: as it ended.
        is_sample: whether it is the sample, of which more is known.

    Attributes:
        failed: what doesn't hold, a line each.
    """

    def __init__(self, customer: Client, stream: dict[str, Any], *, is_sample: bool) -> None:
        self.failed: list[str] = []
        self._customer = customer
        self._stream = stream
        self._is_sample = is_sample
        self._found: list[dict[str, Any]] = customer.highlights(stream["id"])

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.failed.append(otherwise)

    def show_highlights(self) -> None:
        """A table of them."""
        stream, found = self._stream, self._found
        if stream["failure"]:
            say(f"The stream failed, {stream['failure']['code']}: {stream['failure']['reason']}")
        if self._is_sample:
            self.expect(
                len(found) == _SAMPLE_HIGHLIGHTS,
                f"{len(found)} highlights were found, and the sample has {_SAMPLE_HIGHLIGHTS}",
            )
        read = f" in {_clock(stream['seconds'])} of video" if stream["seconds"] else ""
        heading(f"Highlights: {len(found)}{read}, for ${stream['cost_usd']:.6f}")
        if not found:
            say("None.")
            return
        width = max(len(each["type"]) for each in found)
        before = f"  {'#':>2}  {'start':>7}  {'end':>7}  {'confidence':>10}  {'type':<{width}}  "
        say(f"{before}why")
        for number, each in enumerate(found, 1):
            start, end = _clock(each["start_seconds"]), _clock(each["end_seconds"])
            row = f"  {number:>2}  {start:>7}  {end:>7}  {each['confidence']:>10.2f}  {each['type']:<{width}}  "
            say(row + wrapped(each["reason"], len(before), len(row)))

    def show_clips(self, directory: Path) -> None:
        """That their files can be had, play and open; they are kept in a directory."""
        found = self._found
        if not found:
            return
        say("\nTheir clips and thumbnails, downloaded by their links and played:")
        for number, highlight in enumerate(found, 1):
            for kind, suffix in (("clip", "mp4"), ("thumbnail", "jpg")):
                path = directory / f"{number}.{suffix}"
                try:
                    told = download(highlight, kind, path, with_sound=self._is_sample)
                except ClipError as error:
                    told = f"DOES NOT HOLD: {error}"
                    self.failed.append(f"the {kind} of highlight {number}: {error}")
                say(f"  {number:>2}  {short(path)}  {told}")

    def show_webhooks(self) -> None:
        """What came to the customer's server, and whose signature it had."""
        customer, stream = self._customer, self._stream
        expected = {("stream.started", ""), (f"stream.{stream['status']}", "")}
        expected |= {("highlight.detected", each["id"]) for each in self._found}

        def missing() -> set[tuple[str, str]]:
            verified = (each for each in customer.events(stream["id"]) if each["verified"])
            return expected - {(each["type"], each["data"].get("highlight_id", "")) for each in verified}

        _until(lambda: not missing())
        heading("Webhooks, as the customer's server got them")
        for event in customer.events(stream["id"]):
            data = event["data"]
            about = f"at {_clock(data['start_seconds'])}, {data['title']}" if "start_seconds" in data else ""
            signature = "signature verified" if event["verified"] else "SIGNATURE WRONG"
            say(f"  {signature}  {event['type']:<18}  {about}".rstrip())
            self.expect(event["verified"], f"the signature of webhook {event['id']} is wrong")
        for event_type, about in sorted(missing()):
            self.failed.append(f"no verified webhook {event_type} {about}".rstrip())

    def show_trace(self, receiver: OTLPReceiver, trace_id: str) -> None:
        """The trace of the request that began it all."""
        stream = self._stream

        def spans() -> list[Any]:
            return [span for span in receiver.spans if span.trace_id == trace_id]

        def strays() -> list[Any]:
            about = (span for span in receiver.spans if span.attributes.get("tldr.stream.id") == stream["id"])
            return [span for span in about if span.trace_id != trace_id and traces.service_of(span) != "api"]

        def is_whole() -> bool:
            seen = spans()
            return (
                set(map(traces.service_of, seen)) >= _SERVICES and not traces.orphans(seen) and bool(traces.roots(seen))
            )

        _until(is_whole)
        _until_quiet(lambda: len(spans()))
        seen = spans()
        heading(f"The trace {trace_id}: {len(seen)} spans, as they were exported")
        if seen:
            say(traces.draw(seen))
        missing = _SERVICES - set(map(traces.service_of, seen))
        self.expect(not missing, f"the trace has no span of {', '.join(sorted(missing))}")
        orphans = sorted({span.name for span in traces.orphans(seen)})
        self.expect(not orphans, f"the trace has spans whose parent never came: {', '.join(orphans)}")
        self.expect(len(traces.roots(seen)) == 1, f"the trace has {len(traces.roots(seen))} roots")
        if stream["status"] == "completed":  # what follows a stop is of the trace of that request
            names = sorted({span.name for span in strays()})
            self.expect(not names, f"of the stream's own spans some are in another trace: {', '.join(names)}")

    def show_metrics(self, receiver: OTLPReceiver, organization_id: str) -> None:
        """What was counted, beside what the database says."""

        def exported() -> dict[str, figures.Figure]:
            return figures.exported_figures(receiver.metrics, organization_id)

        def differing() -> list[str]:
            # Asked anew each time: a worker may still be writing down what the customer has got.
            return figures.differing(exported(), figures.database_figures(organization_id))

        _until(lambda: not differing())
        heading("Business metrics, as they were exported")
        say(figures.table(exported(), figures.database_figures(organization_id)))
        self.failed += differing()


def _clock(seconds: float) -> str:
    """A time in a video: `1:05`, `1:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
