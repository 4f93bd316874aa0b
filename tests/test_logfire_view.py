"""What Logfire's live view reads: our spans have the fields of Logfire's own, through its pipeline and ours."""

from __future__ import annotations

import json

import pytest

from tldr_observability.testing import OTLPReceiver

# The same program, once as users of Logfire write it and once as users of this package do. Each lasts long enough in
# the middle for the open spans to be announced.
SOURCE = """
import dataclasses, sys, time
import logfire
from opentelemetry import trace

if "{pipeline}" == "logfire":
    logfire.configure(send_to_logfire=True, console=False, service_name="shop", distributed_tracing=True)
else:
    from tldr_observability import setup
    setup(console_enabled=False, service_name="shop", flush_interval=0.2)

if "{recorder}" == "logfire":
    from logfire import span
    def decorate(**options):
        return logfire.instrument(extract_args=True)
else:
    from tldr_observability import span, traced
    def decorate(**options):
        return traced(capture_args=True)

@dataclasses.dataclass
class Basket:
    size: int = 3

@decorate()
def price(article, basket, *, discount=None):
    time.sleep(1.2)
    return 1

try:
    with span("order {{number}} of {{who}}", number=7, who="ada", lines=[1, 2], basket=Basket(), note=None):
        price("tea", {{"green": [1, 2]}}, discount=0.5)
        with trace.get_tracer("contrib").start_as_current_span("select", attributes={{"db.system": "sqlite"}}):
            pass
        raise ValueError("sold out")
except ValueError:
    pass
"""

# What makes a run that run, and not another.
INDIVIDUAL = {"service.instance.id", "process.pid", "service.version"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The program's export by Logfire's own means, Logfire's recorders through our pipeline, and all ours."""
    import os
    import subprocess
    import sys

    results = {}
    for pipeline, recorder in (("logfire", "logfire"), ("ours", "logfire"), ("ours", "ours")):
        path = tmp_path_factory.mktemp("run") / "shop.py"
        path.write_text(SOURCE.format(pipeline=pipeline, recorder=recorder))
        with OTLPReceiver() as receiver:
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOGFIRE_", "OTEL_", "PYTEST"))}
            environment |= {"LOGFIRE_TOKEN": "test-token", "LOGFIRE_BASE_URL": receiver.url}
            subprocess.run([sys.executable, str(path)], check=True, timeout=30, cwd=path.parent, env=environment)
            results[pipeline, recorder] = (receiver.spans, receiver.pending_spans)
    return results


def fields(span):
    """Everything about a span that is not individual, JSON texts as their values."""
    attributes = {
        key: json.loads(value) if key == "logfire.json_schema" else value for key, value in span.attributes.items()
    }
    return {
        "name": span.name,
        "kind": span.kind,
        "attributes": attributes,
        "status": (span.status, span.status_message),
        "events": [
            (event.name, {k: v for k, v in event.attributes.items() if k != "exception.stacktrace"})
            for event in span.events
        ],
        "resource": {key: value for key, value in span.resource.items() if key not in INDIVIDUAL},
        "flags": span.flags,
    }


def by_name(spans, name):
    """The only span of that name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def test_logfires_own_spans_leave_our_room_as_they_leave_logfires(runs):
    """logfire.span, logfire.instrument and OpenTelemetry's spans are exported alike, whoever exports them."""
    theirs, ours = runs["logfire", "logfire"][0], runs["ours", "logfire"][0]
    assert sorted(span.name for span in ours) == sorted(span.name for span in theirs)
    for span in theirs:
        assert fields(by_name(ours, span.name)) == fields(span)


def test_placeholders_of_running_spans_are_logfires(runs):
    """A running span is announced with the fields, the parent and the real parent's id that Logfire gives it."""
    announced = {}
    for key in (("logfire", "logfire"), ("ours", "logfire")):
        spans, pending = runs[key]
        lasting = by_name(pending, "order {number} of {who}"), by_name(pending, "Calling __main__.price")
        root, child = (by_name(spans, span.name) for span in lasting)
        assert [span.parent_id for span in lasting] == [root.span_id, child.span_id]
        assert [span.attributes["logfire.pending_parent_id"] for span in lasting] == ["0" * 16, root.span_id]
        assert all(span.start_time_ns == span.end_time_ns for span in lasting)
        announced[key] = []
        for span in lasting:
            plain = fields(span)
            plain["attributes"].pop("logfire.pending_parent_id")
            announced[key].append(plain)
    assert announced["ours", "logfire"] == announced["logfire", "logfire"]


def test_our_span_is_logfires_span(runs):
    """`span("order {number}", number=7)` exports the fields that `logfire.span` exports for the same line."""
    theirs = fields(by_name(runs["logfire", "logfire"][0], "order {number} of {who}"))
    ours = fields(by_name(runs["ours", "ours"][0], "order {number} of {who}"))
    for each in (theirs, ours):
        # Logfire writes it for `logfire.span` at module level; ours names the function as `logfire.instrument` does.
        each["attributes"].pop("code.function", None)
    assert ours == theirs


def test_our_decorator_is_logfires_instrument_with_a_shorter_name(runs):
    """`@traced(capture_args=True)` exports what `@logfire.instrument` does; only the name is the function's own."""
    theirs = fields(by_name(runs["logfire", "logfire"][0], "Calling __main__.price"))
    ours = fields(by_name(runs["ours", "ours"][0], "price"))
    for each in (theirs, ours):
        name = each.pop("name")
        assert each["attributes"].pop("logfire.msg") == each["attributes"].pop("logfire.msg_template") == name
    assert ours == theirs


def test_a_failure_reads_alike(runs):
    """Level, status, exception event and the fingerprint by which Logfire groups issues are those of Logfire."""
    theirs = by_name(runs["logfire", "logfire"][0], "order {number} of {who}")
    ours = by_name(runs["ours", "ours"][0], "order {number} of {who}")
    assert ours.attributes["logfire.level_num"] == theirs.attributes["logfire.level_num"] == 17
    assert ours.status_message == theirs.status_message == "ValueError: sold out"
    assert ours.attributes["logfire.exception.fingerprint"] == theirs.attributes["logfire.exception.fingerprint"]
    (event,) = ours.events
    assert "sold out" in event.attributes["exception.stacktrace"]
