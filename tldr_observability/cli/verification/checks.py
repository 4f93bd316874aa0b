"""The checklist: each check is one function of what was asked and what arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tldr_observability.cli.verification import business, errors
from tldr_observability.cli.verification.evidence import Evidence, State, Verdict
from tldr_observability.cli.verification.words import counted, listed, shown

if TYPE_CHECKING:
    from tldr_observability.cli.verification.exercise import Sent
    from tldr_observability.testing import Span

__all__ = ["CHECKS", "Check"]

Check = Callable[[Evidence], Verdict]


def endpoints_are_traced(evidence: Evidence) -> Verdict:
    """Whether each request left a server span with its route; without requests of ours, whether anybody's did."""
    check, claim = "traces", "API endpoints generate traces"
    sent = evidence.exercised.sent
    if not sent:
        return _somebody_is_traced(evidence, check, claim)
    missing = [each for each in sent if not any(map(_route, _servers(evidence, each)))]
    facts = {"traces": len(sent) - len(missing), "missing": [str(each.request) for each in missing]}
    if not missing:
        detail = f"{counted(len(sent), 'request')}, {counted(len(sent), 'trace')} ({listed(s.request for s in sent)})"
        return Verdict(check, claim, State.HOLDS, detail, facts=facts)
    lost = [each for each in missing if not _servers(evidence, each)]
    if not lost:
        detail = f"{len(missing)} of {counted(len(sent), 'request')} came to no route: {listed(missing)}"
        return Verdict(check, claim, State.FAILS, detail, "ask for paths that the app serves", facts)
    detail = f"{len(lost)} of {counted(len(sent), 'request')} left no trace: {listed(lost)}"
    detail = f"{detail}; {_nothing(evidence, '')}" if evidence.is_empty else detail
    return Verdict(check, claim, State.FAILS, detail, _untraced(evidence), facts)


def tasks_are_in_traces(evidence: Evidence) -> Verdict:
    """Whether a task ran in the trace of a request: one of ours, where one of ours started any."""
    check, claim = "tasks", "Async tasks appear in traces"
    both = [
        (server, task)
        for spans in evidence.traces.values()
        if (server := next((span for span in spans if span.kind == "server"), None))
        for task in spans
        if task.kind == "consumer"
    ]
    ours = {each.trace_id for each in evidence.exercised.sent}
    both = [pair for pair in both if pair[1].trace_id in ours] or both
    facts = {
        "tasks": [
            {"task": task.name, "service": _service(task), "request": server.name, "requested_from": _service(server)}
            for server, task in both
        ]
    }
    if both:
        detail = f"{counted(len(both), 'task')} ({listed(_pair(*pair) for pair in both)})"
        return Verdict(check, claim, State.HOLDS, detail, facts=facts)
    runs = _of_kind(evidence, "consumer")
    sendings = _of_kind(evidence, "producer")
    if runs:
        detail = f"no task shares a trace with a request, only apart from one: {listed(map(_of_service, runs))}"
        fix = "call setup(celery=...) in the process that sends them, and let that export here too"
    elif sendings:
        detail = f"tasks were sent and none has arrived: {listed(map(_of_service, sendings))}"
        fix = f"start the worker, in its environment {evidence.way_in}, and call setup(celery=...) there"
    else:
        detail = "no task was sent"
        request = evidence.exercised.suggestions.get("task", "POST /path {...}")
        fix = f"cause one, such as by --request '{request}', with setup(celery=...) in the app and in the worker"
    return Verdict(check, claim, State.FAILS, _nothing(evidence, detail), _way_in(evidence) or fix, facts)


def business_is_measured(evidence: Evidence) -> Verdict:
    """Whether a metric arrived that tells of the business rather than of the machinery."""
    check, claim = "metrics", "Business metrics are recorded"
    metrics = evidence.received.metrics
    totals = business.totals(metrics)
    facts = {"metrics": [figure.document() for figure in totals]}
    if totals:
        return Verdict(check, claim, State.HOLDS, f"{counted(len(totals), 'metric')} ({listed(totals)})", facts=facts)
    if metrics:
        detail = f"only technical ones arrived ({listed(sorted({metric.name for metric in metrics}))})"
        fix = "record one with tldr_observability.metrics where the business happens, and cause that by a --request"
    else:
        detail = "no metric arrived"
        fix = "in the app's environment: export OTEL_METRIC_EXPORT_INTERVAL=5000, and no OTEL_METRICS_EXPORTER=none"
    return Verdict(check, claim, State.FAILS, _nothing(evidence, detail), _way_in(evidence) or fix, facts)


def errors_have_stacktraces(evidence: Evidence) -> Verdict:
    """Whether each error that was seen says where it happened."""
    check, claim = "errors", "Errors include stack traces"
    found = errors.find(evidence.received)
    facts = {"errors": len(found), "without_stacktrace": [error.name for error in found if not error.has_stacktrace]}
    bare = [error for error in found if not error.has_stacktrace]
    if bare:
        detail = f"{len(bare)} of {counted(len(found), 'error')} without one: {listed(bare)}"
        fix = "let the exception leave a span of tldr_observability, or call span.record_exception(error)"
        return Verdict(check, claim, State.FAILS, detail, fix, facts)
    if found:
        return Verdict(check, claim, State.HOLDS, f"{counted(len(found), 'error')} ({listed(found)})", facts=facts)
    request = evidence.exercised.suggestions.get("error", "GET /path/of/something/that/is/not/there")
    fix = f"cause one, such as by --request '{request}'"
    return Verdict(check, claim, State.UNSEEN, _nothing(evidence, "no error was seen"), _way_in(evidence) or fix, facts)


def _somebody_is_traced(evidence: Evidence, check: str, claim: str) -> Verdict:
    servers = _of_kind(evidence, "server")
    routed = [span for span in servers if _route(span)]
    facts: dict[str, Any] = {"traces": len({span.trace_id for span in routed}), "missing": []}
    if routed:
        detail = f"{counted(facts['traces'], 'trace')} ({listed(map(_name, routed))})"
        return Verdict(check, claim, State.HOLDS, detail, facts=facts)
    if servers:
        detail = f"no request came to a route: {listed(span.name for span in servers)}"
        return Verdict(check, claim, State.FAILS, detail, "ask for a path that the app serves", facts)
    detail = _nothing(evidence, "no request's trace arrived")
    return Verdict(check, claim, State.FAILS, detail, _untraced(evidence), facts)


CHECKS: tuple[Check, ...] = (
    endpoints_are_traced,
    tasks_are_in_traces,
    business_is_measured,
    errors_have_stacktraces,
)


def _of_kind(evidence: Evidence, kind: str) -> list[Span]:
    return [span for span in evidence.received.spans if span.kind == kind]


def _servers(evidence: Evidence, sent: Sent) -> list[Span]:
    return [span for span in evidence.traces.get(sent.trace_id, ()) if span.kind == "server"]


def _route(span: Span) -> object:
    return span.attributes.get("http.route")


def _name(span: Span) -> str:
    return f"{span.attributes.get('http.request.method') or span.name} {_route(span)}"


def _service(span: Span) -> str:
    return str(span.resource.get("service.name") or "unknown service")


def _of_service(span: Span) -> str:
    return f"{shown(span.name)} of {shown(_service(span))}"


def _pair(server: Span, task: Span) -> str:
    return f"{_of_service(task)} for {_of_service(server)}"


def _nothing(evidence: Evidence, otherwise: str) -> str:
    return f"nothing arrived at {evidence.endpoint}" if evidence.is_empty else otherwise


def _way_in(evidence: Evidence) -> str:
    return f"start the app with: {evidence.way_in}" if evidence.is_empty else ""


def _untraced(evidence: Evidence) -> str:
    """Why server spans may be missing, by what arrived instead."""
    if evidence.is_empty:
        return f"{_way_in(evidence)}, and call setup(app=app) in it"
    if _of_kind(evidence, "server"):
        return (
            "other requests were traced: look for LOGFIRE_EXCLUDED_PATHS and LOGFIRE_DISTRIBUTED_TRACING=false in the "
            "app's environment, or a proxy that drops the header traceparent"
        )
    return "telemetry arrived, but no server span: call setup(app=app) with the app that serves"
