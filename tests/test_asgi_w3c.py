"""W3C trace context, level 2: what a downstream service is told, over FastAPI and over a bare ASGI app."""

from __future__ import annotations

import re

import pytest
from asgi_probe import http_scope, run, telemetry  # noqa: F401 - a fixture
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tldr_observability.asgi import w3c

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
GOOD = f"00-{TRACE}-{SPAN}-01"
CONTINUES, RESTARTS = True, False
ALL_KEY_CHARACTERS = "".join(map(chr, range(ord("a"), ord("z") + 1))) + "0123456789_-*/"
ALL_VALUE_CHARACTERS = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in ",=") + "!"


def parents(*values):
    return [("traceparent", value) for value in values]


def states(*values):
    return [("traceparent", GOOD), *(("tracestate", value) for value in values)]


# name, the request's headers, whether the caller's trace is continued, the tracestate that goes on
CASES = [
    ("both_traceparent_and_tracestate_missing", [], RESTARTS, None),
    ("traceparent_included_tracestate_missing", parents(GOOD), CONTINUES, None),
    ("traceparent_duplicated", parents(GOOD, f"00-{TRACE[::-1]}-{SPAN}-01"), RESTARTS, None),
    ("traceparent_duplicated_same", parents(GOOD, GOOD), RESTARTS, None),
    ("traceparent_header_name", [("trace-parent", GOOD)], RESTARTS, None),
    ("traceparent_header_name_dot", [("trace.parent", GOOD)], RESTARTS, None),
    ("traceparent_header_name_valid_casing_1", [("TraceParent", GOOD)], CONTINUES, None),
    ("traceparent_header_name_valid_casing_2", [("TrAcEpArEnT", GOOD)], CONTINUES, None),
    ("traceparent_header_name_valid_casing_3", [("TRACEPARENT", GOOD)], CONTINUES, None),
    ("traceparent_version_0x00_extra_dash", parents(f"{GOOD}-"), RESTARTS, None),
    ("traceparent_version_0x00_extra_dot", parents(f"{GOOD}."), RESTARTS, None),
    ("traceparent_version_0x00_extra_text", parents(f"{GOOD}-what-the-future-will-be-like"), RESTARTS, None),
    ("traceparent_version_0xcc", parents(f"cc{GOOD[2:]}"), CONTINUES, None),
    ("traceparent_version_0xcc_with_more", parents(f"cc{GOOD[2:]}-what-the-future-will-be-like"), CONTINUES, None),
    ("traceparent_version_0xcc_with_dot", parents(f"cc{GOOD[2:]}.what-the-future-will-not-be-like"), RESTARTS, None),
    ("traceparent_version_0xff", parents(f"ff{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_illegal_characters_1", parents(f".0{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_illegal_characters_2", parents(f"0.{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_upper_case", parents(f"CC{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_too_long_1", parents(f"000{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_too_long_2", parents(f"0000{GOOD[2:]}"), RESTARTS, None),
    ("traceparent_version_too_short_1", parents(GOOD[2:]), RESTARTS, None),
    ("traceparent_version_too_short_2", parents(GOOD[1:]), RESTARTS, None),
    ("traceparent_trace_id_all_zero", parents(f"00-{'0' * 32}-{SPAN}-01"), RESTARTS, None),
    ("traceparent_trace_id_illegal_characters_1", parents(f"00-.{TRACE[1:]}-{SPAN}-01"), RESTARTS, None),
    ("traceparent_trace_id_illegal_characters_2", parents(f"00-{TRACE[:-1]}.-{SPAN}-01"), RESTARTS, None),
    ("traceparent_trace_id_upper_case", parents(f"00-ABCDEF{TRACE[6:]}-{SPAN}-01"), RESTARTS, None),
    ("traceparent_trace_id_too_long", parents(f"00-{TRACE}3-{SPAN}-01"), RESTARTS, None),
    ("traceparent_trace_id_too_short", parents(f"00-{TRACE[1:]}-{SPAN}-01"), RESTARTS, None),
    ("traceparent_parent_id_all_zero", parents(f"00-{TRACE}-{'0' * 16}-01"), RESTARTS, None),
    ("traceparent_parent_id_illegal_characters_1", parents(f"00-{TRACE}-.{SPAN[1:]}-01"), RESTARTS, None),
    ("traceparent_parent_id_illegal_characters_2", parents(f"00-{TRACE}-{SPAN[:-1]}.-01"), RESTARTS, None),
    ("traceparent_parent_id_too_long", parents(f"00-{TRACE}-{SPAN}7-01"), RESTARTS, None),
    ("traceparent_parent_id_too_short", parents(f"00-{TRACE}-{SPAN[1:]}-01"), RESTARTS, None),
    ("traceparent_trace_flags_illegal_characters_1", parents(f"00-{TRACE}-{SPAN}-.0"), RESTARTS, None),
    ("traceparent_trace_flags_illegal_characters_2", parents(f"00-{TRACE}-{SPAN}-0."), RESTARTS, None),
    ("traceparent_trace_flags_upper_case", parents(f"00-{TRACE}-{SPAN}-0A"), RESTARTS, None),
    ("traceparent_trace_flags_too_long", parents(f"00-{TRACE}-{SPAN}-001"), RESTARTS, None),
    ("traceparent_trace_flags_too_short", parents(f"00-{TRACE}-{SPAN}-1"), RESTARTS, None),
    ("traceparent_ows_handling_space", parents(f" {GOOD} "), CONTINUES, None),
    ("traceparent_ows_handling_tab", parents(f"\t{GOOD}\t"), CONTINUES, None),
    ("traceparent_ows_handling_both", parents(f"\t {GOOD} \t"), CONTINUES, None),
    ("tracestate_included_traceparent_missing", [("tracestate", "foo=1")], RESTARTS, None),
    ("tracestate_included_traceparent_included", states("foo=1,bar=2"), CONTINUES, "foo=1,bar=2"),
    ("tracestate_with_invalid_traceparent", [*parents("nonsense"), ("tracestate", "foo=1")], RESTARTS, None),
    ("tracestate_with_duplicated_traceparent", [*states("foo=1"), *parents(GOOD)], RESTARTS, None),
    ("tracestate_header_name", [*parents(GOOD), ("trace-state", "foo=1")], CONTINUES, None),
    ("tracestate_header_name_valid_casing", [*parents(GOOD), ("TraceState", "foo=1")], CONTINUES, "foo=1"),
    ("tracestate_empty_header", states(""), CONTINUES, None),
    ("tracestate_empty_header_first", states("", "foo=1"), CONTINUES, "foo=1"),
    ("tracestate_empty_header_last", states("foo=1", ""), CONTINUES, "foo=1"),
    ("tracestate_empty_member", states("foo=1,,bar=2,"), CONTINUES, "foo=1,bar=2"),
    ("tracestate_multiple_headers_different_keys", states("foo=1,bar=2", "rojo=1,congo=2", "baz=3"), CONTINUES,
     "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    ("tracestate_duplicated_keys_same_value", states("foo=1,foo=1"), CONTINUES, None),
    ("tracestate_duplicated_keys_other_value", states("foo=1,foo=2"), CONTINUES, None),
    ("tracestate_duplicated_keys_in_two_headers", states("foo=1", "foo=2"), CONTINUES, None),
    ("tracestate_all_allowed_characters", states(f"{ALL_KEY_CHARACTERS}={ALL_VALUE_CHARACTERS}"), CONTINUES,
     f"{ALL_KEY_CHARACTERS}={ALL_VALUE_CHARACTERS}"),
    ("tracestate_all_allowed_tenant_characters", states(f"{ALL_KEY_CHARACTERS}@a-z0-9_-*/={ALL_VALUE_CHARACTERS}"),
     CONTINUES, f"{ALL_KEY_CHARACTERS}@a-z0-9_-*/={ALL_VALUE_CHARACTERS}"),
    ("tracestate_key_begins_with_digit", states("0foo=1"), CONTINUES, "0foo=1"),
    ("tracestate_ows_handling", states("foo=1 \t , \t bar=2, \t baz=3"), CONTINUES, "foo=1,bar=2,baz=3"),
    ("tracestate_ows_handling_headers", states("foo=1\t", " bar=2 "), CONTINUES, "foo=1,bar=2"),
    ("tracestate_ows_handling_edges", states("\t foo=1,bar=2 \t"), CONTINUES, "foo=1,bar=2"),
    ("tracestate_key_illegal_characters_space", states("foo =1"), CONTINUES, None),
    ("tracestate_key_illegal_characters_upper", states("FOO=1"), CONTINUES, None),
    ("tracestate_key_illegal_characters_dot", states("foo.bar=1"), CONTINUES, None),
    ("tracestate_key_illegal_vendor_format_1", states("foo@=1,bar=2"), CONTINUES, None),
    ("tracestate_key_illegal_vendor_format_2", states("@foo=1,bar=2"), CONTINUES, None),
    ("tracestate_key_illegal_vendor_format_3", states("foo@@bar=1,bar=2"), CONTINUES, None),
    ("tracestate_key_illegal_vendor_format_4", states("foo@bar@baz=1,bar=2"), CONTINUES, None),
    ("tracestate_member_count_limit", states(",".join(f"k{i:02}=1" for i in range(32))), CONTINUES,
     ",".join(f"k{i:02}=1" for i in range(32))),
    ("tracestate_member_count_limit_exceeded", states(",".join(f"k{i:02}=1" for i in range(33))), CONTINUES, None),
    ("tracestate_key_length_limit", states(f"foo=1,{'z' * 256}=1"), CONTINUES, f"foo=1,{'z' * 256}=1"),
    ("tracestate_key_length_limit_exceeded", states(f"foo=1,{'z' * 257}=1"), CONTINUES, None),
    ("tracestate_tenant_length_limit", states(f"foo=1,{'t' * 241}@{'v' * 14}=1"), CONTINUES,
     f"foo=1,{'t' * 241}@{'v' * 14}=1"),
    ("tracestate_tenant_length_limit_exceeded", states(f"foo=1,{'t' * 242}@v=1"), CONTINUES, None),
    ("tracestate_vendor_length_limit_exceeded", states(f"foo=1,t@{'v' * 15}=1"), CONTINUES, None),
    ("tracestate_value_illegal_characters_equals", states("foo=bar=baz"), CONTINUES, None),
    ("tracestate_value_illegal_characters_empty", states("foo=,bar=3"), CONTINUES, None),
    ("tracestate_value_illegal_characters_control", states("foo=a\x07b"), CONTINUES, None),
    ("tracestate_value_length_limit", states(f"foo={'v' * 256}"), CONTINUES, f"foo={'v' * 256}"),
    ("tracestate_value_length_limit_exceeded", states(f"foo={'v' * 257}"), CONTINUES, None),
    ("tracestate_without_equals", states("foo"), CONTINUES, None),
    ("tracestate_oversized", states(",".join(f"k{i:02}={'v' * 256}" for i in range(32))), CONTINUES, None),
]  # fmt: skip


def downstream_of(kind):
    """An app, and the place where it leaves the headers that an outgoing request would carry."""
    carried = {}
    inject = TraceContextTextMapPropagator().inject
    if kind == "fastapi":
        app = FastAPI()

        @app.get("/")
        async def endpoint():
            inject(carried)

        return app, carried

    async def bare(scope, receive, send):
        inject(carried)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return bare, carried


def scope_with(headers):
    return http_scope(headers=[(name.encode(), value.encode("latin-1")) for name, value in headers])


@pytest.mark.parametrize("kind", ["fastapi", "bare"])
@pytest.mark.parametrize(("headers", "continues", "state"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_downstream_hears_what_the_specification_says(telemetry, kind, headers, continues, state):  # noqa: F811
    """A service further down is given the caller's trace and tracestate exactly when the specification says so."""
    app, carried = downstream_of(kind)
    run(telemetry.wrap(app), scope_with(headers))
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]", carried["traceparent"])
    assert (found[1] == TRACE) is continues
    assert found[2] != SPAN
    assert carried.get("tracestate") == state
    parent = telemetry.server.parent
    assert (parent.span_id == int(SPAN, 16) and parent.is_remote) if continues else parent is None


@pytest.mark.parametrize(
    ("flags", "carried_flags"), [("01", "01"), ("03", "03"), ("02", "02"), ("00", "00"), ("ff", "03")]
)
def test_flags_are_kept_as_far_as_they_are_known(telemetry, flags, carried_flags):  # noqa: F811
    """The sampling decision and the random-trace-id flag go on; flags of a future version don't."""
    app, carried = downstream_of("bare")
    run(telemetry.wrap(app), scope_with(parents(f"00-{TRACE}-{SPAN}-{flags}")))
    assert carried["traceparent"].endswith(f"-{carried_flags}")
    assert bool(telemetry.servers) is bool(int(flags, 16) & 1)


def test_a_new_trace_says_that_its_id_is_random(telemetry):  # noqa: F811
    """A trace that starts here carries the random flag, since its id is."""
    app, carried = downstream_of("bare")
    run(telemetry.wrap(app))
    assert carried["traceparent"].endswith("-03")


def test_two_requests_of_one_trace_stay_in_it(telemetry):  # noqa: F811
    """Requests with the same caller share its trace and have spans of their own; without one they share nothing."""
    app, carried = downstream_of("fastapi")
    seen = []
    for headers in (states("foo=1"), states("foo=1"), [], []):
        run(telemetry.wrap(app), scope_with(headers))
        seen.append(carried.pop("traceparent").split("-")[1:3])
    assert [trace_id == TRACE for trace_id, _ in seen] == [True, True, False, False]
    assert len({trace_id for trace_id, _ in seen}) == 3
    assert len({span_id for _, span_id in seen}) == 4


def test_the_answer_says_which_span_answered(telemetry):  # noqa: F811
    """`traceresponse` names the trace, the server span and its flags."""
    app, _ = downstream_of("bare")
    response = run(telemetry.wrap(app), scope_with(parents(GOOD)))
    assert response.header(b"traceresponse") == f"00-{TRACE}-{telemetry.server.context.span_id:016x}-01".encode()


def test_a_kept_trace_state_can_be_changed_by_others(telemetry):  # noqa: F811
    """A library that adds its own member to the trace state finds the caller's there, in order."""
    found = w3c.parse([GOOD.encode()], [b"foo=1,bar=2"])
    assert found.trace_state.add("own", "3").to_header() == "own=3,foo=1,bar=2"
    assert trace.TraceState([("foo", "1"), ("bar", "2")]) == found.trace_state


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=80), max_size=3))
def test_no_header_breaks_the_parser(parent_headers, state_headers):
    """Whatever bytes come, there is a valid span context or none."""
    found = w3c.parse(parent_headers, state_headers)
    assert found is None or found.is_valid


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255),
    st.dictionaries(st.from_regex(r"[a-z0-9][_0-9a-z\-*/]{0,20}", fullmatch=True),
                    st.from_regex(r"[!-+\--<>-~]{1,20}", fullmatch=True), max_size=32),
)  # fmt: skip
def test_what_is_valid_is_understood(trace_id, span_id, flags, members):
    """Every well-formed pair of headers is read back as it was meant, members in their order."""
    header = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}".encode()
    state = ",".join(f"{key}={value}" for key, value in members.items())
    found = w3c.parse([header], [state.encode()])
    assert (found.trace_id, found.span_id, found.trace_flags) == (trace_id, span_id, flags & 3)
    assert found.trace_state.to_header() == state
    assert list(found.trace_state.items()) == list(members.items())
