"""Redaction: no secret of the corpus leaves by any way, what only looks like one stays, and nothing takes long."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import logfire
import pytest
from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from redaction_corpus import HARMLESS, SECRETS, TEXT, Harmless, Secret
from starlette.testclient import TestClient

import tldr_observability
from tldr_observability import ConfigurationError, log_event, span
from tldr_observability.redaction import REDACTED, RedactionMatch, Redactor
from tldr_observability.redaction import redactor as module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

redactor = Redactor()

JSON_BODIES = [
    each for each in SECRETS if each.channel.endswith("body.text") and each.value[0] in "{[" and each.value[-1] in "}]"
]
TEXTS = [each for each in SECRETS if each.channel == TEXT]

PIECES = [
    *(
        "password",
        "token",
        "author",
        "api_key",
        "cookie",
        "authorization",
        "tokens",
        "pin",
        "name",
        "value",
        "AUTH",
        "--secret",
    ),
    *(
        "=",
        ": ",
        "'",
        '"',
        '\\"',
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        " ",
        "\n",
        "\\",
        "&",
        "?",
        "://",
        "@",
        "/",
        "<",
        ">",
        "%3D",
    ),
    *(
        "hunter2",
        "1234",
        "4242424242424242",
        "078-05-1120",
        "eyJhbGciOi",
        "ghp_" + "a1" * 18,
        "Bearer ",
        REDACTED,
        "None",
        "$1",
    ),
    *(
        "[SQL: ",
        "[parameters: ",
        "(Background on this error",
        "DETAIL:  Key (a)=(",
        ") already exists.",
        "/*",
        "--",
        "$$",
        "is",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "form-data; name=",
        "/reset/",
        "GET ",
        "loc",
        "input",
        "https",
        "\r\n\r\n",
        "é",
        "\udc80",
    ),
]
PROSE = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=24).map("".join)
CHANNELS = st.sampled_from(sorted({each.channel for each in (*SECRETS, *HARMLESS)}))
VALUES = st.recursive(
    st.one_of(PROSE, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(PROSE, inner, max_size=3)),
    max_leaves=6,
)

UNITS = [
    *(
        "a",
        "1",
        " ",
        "-",
        "=",
        "(",
        "[",
        "{",
        "\\",
        "'",
        '"',
        "<",
        "/",
        "&",
        "%",
        "$",
        "@",
        ":",
        ",",
        "\n",
        "#",
        "*",
        ".",
    ),
    *(
        "password=",
        "password='",
        "password=(",
        "tokens=[",
        "('password',",
        "--password ",
        "<password",
        "password=a,",
        "cookie: ",
    ),
    *(
        "eyJ",
        "eyJa.",
        "AKIA",
        "sk-a-",
        "SG.",
        "Bearer ",
        "Basic aaaaaa",
        'Digest a="',
        "-----BEGIN PRIVATE KEY-----",
        "4242 ",
    ),
    *("a://", "a://b@c", "?a=", "&token=", "&a=%41", "GET /", "/reset/", "AUTH a ", "AUTH','", "SETUSER >"),
    *("[SQL: ", "[parameters: ", "Key (a)=(", "Failing row contains (", "Duplicate entry '", 'near "', "LINE 1: '"),
    *("$a$", "/*", "--", "E'\\", "'\\'", '""', "IN (", "1e+", "values ((("),
    *(
        "form-data; name=",
        "password\n  input_value=",
        "'loc': ('password') 'input': ",
        '"name": "password", ',
        "api key ",
        "key=(",
        "key='",
        "name=[",
        "field:",
        "%name=",
        "(Background on this error [parameters: ",
        '{"a": "[SQL: a] [parameters: b]',
        '["Key (a)=(',
        '["<password>a',
        "[4111111111111111,",
        "args beginning with: '",
        "Command # 1 (SET ",
        'value "',
        "password: str = ",
        "['mysql', ",
        "pa\\u0073s=",
    ),
]
WAYS_TO_READ = ["", "db.query.text", "url.full", "url.query", "url.path", "http.request.body.text"]


def shown(channel: str, value: Any, rules: Redactor = redactor) -> Any:
    return rules.text(value) if channel == TEXT and isinstance(value, str) else rules.attribute(channel, value)


def label(case: Secret | Harmless) -> str:
    return f"{case.channel or 'text'}: {str(case.value)[:40]}"


def test_the_corpus_is_as_large_as_promised() -> None:
    """What is said of 100 secrets and 40 look-alikes is measured on that many."""
    assert len(SECRETS) >= 100
    assert len(HARMLESS) >= 40


@pytest.mark.parametrize("case", SECRETS, ids=label)
def test_a_secret_does_not_leave(case: Secret) -> None:
    """Each secret of the corpus is taken out of its value, and that it was there is told."""
    result = str(shown(case.channel, case.value))
    assert [part for part in case.parts if part in result] == []
    assert REDACTED in result or "?" in result


@pytest.mark.parametrize("case", HARMLESS, ids=label)
def test_what_only_looks_like_a_secret_stays(case: Harmless) -> None:
    """Each harmless value of the corpus is as it came."""
    assert shown(case.channel, case.value) == case.value


@pytest.mark.parametrize("case", SECRETS, ids=label)
def test_redacting_twice_is_redacting_once(case: Secret) -> None:
    """A value that passes two of our gates is the same as after the first."""
    once = shown(case.channel, case.value)
    assert shown(case.channel, once) == once


@pytest.mark.parametrize("case", JSON_BODIES, ids=label)
def test_json_stays_json(case: Secret) -> None:
    """A redacted body can still be read as JSON, and its harmless members are there."""
    before, after = json.loads(case.value), json.loads(shown(case.channel, case.value))
    assert type(after) is type(before)
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        assert before.get("n") == after.get("n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"user": "jo", "pin": 1234, "ok": true}', '{"user": "jo", "pin": "[redacted]", "ok": true}'),
        ("login of jo: password=abc, host=db", "login of jo: password=[redacted], host=db"),
        ("https://jo:pw@db.example/a?token=abc&page=2", "https://[redacted]@db.example/a?token=[redacted]&page=2"),
        ("run --password abc --verbose", "run --password [redacted] --verbose"),
        ("DETAIL:  Key (email)=(a@b.c) already exists.", "DETAIL:  Key (email)=([redacted]) already exists."),
        ("password=abc", "password=[redacted]"),
    ],
)
def test_what_is_around_a_secret_stays_readable(value: str, expected: str) -> None:
    """Only the secret is replaced, so that an operator still understands the message."""
    assert redactor.text(value) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a1 FROM t WHERE b = 'x' AND c = 2.5", "SELECT a1 FROM t WHERE b = ? AND c = ?"),
        ("SELECT 1 FROM t WHERE b IN (1, 2) AND c = $1", "SELECT ? FROM t WHERE b IN (?, ?) AND c = $1"),
        ("INSERT INTO t VALUES (E'a\\'b', $$c$$, %s, :d)", "INSERT INTO t VALUES (?, ?, %s, :d)"),
        ('SELECT "a"."b" FROM "a" WHERE "a"."c" = "x"', 'SELECT "a"."b" FROM "a" WHERE "a"."c" = ?'),
        ("SELECT b FROM t WHERE c = 'it\\'s secret' AND d", "SELECT b FROM t WHERE c = ?"),
        ("SELECT b FROM t WHERE c = 'cut off", "SELECT b FROM t WHERE c = ?"),
    ],
)
def test_statements_keep_their_form(statement: str, expected: str) -> None:
    """A query is recognised by its tables and columns; of its literals none is left."""
    assert redactor.attribute("db.query.text", statement) == expected


def test_values_keep_their_form() -> None:
    """A list stays a list, a tuple a tuple, and what holds no secret is the same object."""
    harmless = ("a", "b")
    assert redactor.attribute("http.request.header.cookie", ["a", "b"]) == [REDACTED, REDACTED]
    assert redactor.attribute("api_key", ("a",)) == (REDACTED,)
    assert redactor.attribute("names", harmless) == harmless
    assert redactor.attribute("", {"password": "x", "n": {"token": 5, "m": 1}}) == {
        "password": REDACTED,
        "n": {"token": REDACTED, "m": 1},
    }
    assert redactor.attribute("raw", b"password=abc") == b"password=[redacted]"
    assert redactor.attribute("password", None) is None


def test_arguments_are_told_by_the_ones_before() -> None:
    """The parts of a command line are judged like the command line, each in its place."""
    assert redactor.attribute("args", ["run", "--password", "abc", "-v"]) == ["run", "--password", REDACTED, "-v"]
    assert redactor.attribute("argv", ("mysql", "-pabc", "-u", "jo")) == ("mysql", "-p[redacted]", "-u", "jo")
    assert redactor.attribute("argv", ["curl", "-u", "jo:abc"]) == ["curl", "-u", "jo:[redacted]"]
    assert redactor.attribute("argv", ["cp", "-pr", "--token-type", "a"]) == ["cp", "-pr", "--token-type", "a"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"cards": [4111111111111111], "z": 1}, {"cards": [REDACTED], "z": 1}),
        (["a", 4111111111111111], ["a", REDACTED]),
        ({"x": "1,4111111111111111", "z": 1}, {"x": f"1,{REDACTED}", "z": 1}),
        ({"x": "Key (a)=(b)", "z": 1}, {"x": f"Key (a)=({REDACTED}", "z": 1}),
        ({"x": "password='a", "z": 1}, {"x": f"password='{REDACTED}", "z": 1}),
        ({"x": "<password>a", "z": 1}, {"x": f"<password>{REDACTED}", "z": 1}),
        ({"x": "[SQL: SELECT 'a'", "z": 1}, {"x": "[SQL: SELECT ?", "z": 1}),
        ({"x": "[parameters: ('a',", "z": 1}, {"x": f"[parameters: {REDACTED}", "z": 1}),
    ],
)
def test_what_is_cut_off_ends_with_its_string(body: Any, expected: Any) -> None:
    """A string of a JSON body that holds half of an error takes nothing with it, and the body stays JSON."""
    assert json.loads(redactor.text(json.dumps(body))) == expected


def test_headers_and_queries_have_their_own_way() -> None:
    """The middleware asks by header and by query string."""
    assert redactor.header("X-Api-Key", "abc") == REDACTED
    assert redactor.header("referer", "https://a.example/?token=abc") == "https://a.example/?token=[redacted]"
    assert redactor.header("accept", "text/html") == "text/html"
    assert redactor.query("code=abc&page=2&empty=") == "code=[redacted]&page=2&empty="
    assert redactor.path("/reset-password/abc123/now") == "/reset-password/[redacted]/now"


def test_a_service_can_add_patterns() -> None:
    """A pattern takes out what it matches in a value, and the whole value under a name that it matches."""
    rules = Redactor(patterns=[r"acme-\d{6}", "mascot"])
    assert rules.text("seen ACME-123456 here") == "seen [redacted] here"
    assert rules.attribute("shop.mascot", "a goose") == REDACTED
    assert rules.attribute("http.request.body.text", '{"mascot_name": "goose"}') == '{"[redacted]_name": "[redacted]"}'
    assert redactor.text("seen acme-123456 here") == "seen acme-123456 here"


def test_a_pattern_that_matches_the_marker_is_no_trouble() -> None:
    """Redacting twice changes nothing with a pattern of the word `redacted` either."""
    rules = Redactor(patterns=["redacted|[a-z]"])
    assert rules.text(rules.text("a1")) == rules.text("a1") == "[redacted]1"


@pytest.mark.parametrize("patterns", [["("], ["a*"], [5], "abc"])
def test_a_bad_pattern_is_refused_at_set_up(patterns: Any) -> None:
    """A pattern that is none, or that matches everything, is named when the redactor is made."""
    with pytest.raises(ConfigurationError, match="redaction pattern"):
        Redactor(patterns=patterns)


def test_a_callback_decides_case_by_case() -> None:
    """The callback sees key, value and rule; a text of its choice stands in the secret's place, None withholds it."""
    seen: list[RedactionMatch] = []

    def keep_demo(match: RedactionMatch) -> str | None:
        seen.append(match)
        return match.value if match.value == "demo" else None

    rules = Redactor(callback=keep_demo)
    assert rules.attribute("login", "password=demo") == "password=demo"
    assert rules.attribute("api_key", "real") == REDACTED
    assert seen == [RedactionMatch("login", "demo", "password"), RedactionMatch("api_key", "real", "api_key")]


def test_a_callback_that_fails_withholds(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the callback leaks nothing, harms nobody, and is logged once, without the secret."""

    def broken(match: RedactionMatch) -> str:
        raise RuntimeError("broken")

    rules = Redactor(callback=broken)
    with caplog.at_level(logging.ERROR):
        assert [rules.text("password=abc") for _ in range(3)] == ["password=[redacted]"] * 3
    assert len(caplog.records) == 1


def test_what_can_not_be_looked_through_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours gives the marker instead of the value, and no exception."""

    def broken(*_: object) -> str:
        raise RuntimeError("broken")

    rules = Redactor()
    monkeypatch.setattr(module, "redact_pairs", broken)
    assert rules.text("password=abc") == REDACTED
    assert rules.attribute("note", "password=abc") == REDACTED
    assert rules.attribute("note", ["password=abc"]) == [REDACTED]

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("broken")

    assert rules.attribute("note", Hostile()) == REDACTED
    nested: Any = "x"
    for _ in range(10_000):
        nested = [nested]
    assert REDACTED in repr(rules.attribute("note", nested))


def test_a_value_that_is_too_long_is_cut_before_a_secret() -> None:
    """The rest of a very long value is withheld with a note, and no half of a secret is in what stays."""
    secret = "ghp_" + "a1" * 18
    for at in range(module.MAX_LENGTH - 200, module.MAX_LENGTH, 20):
        text = "x " * (at // 2) + secret + " y" * 50_000
        result = redactor.text(text)
        assert "ghp_" not in result
        assert len(result) <= module.MAX_LENGTH
        assert "too long" in result


@settings(max_examples=150, deadline=None)
@given(CHANNELS, VALUES)
def test_nothing_makes_it_fail(channel: str, value: Any) -> None:
    """Whatever comes as an attribute goes through, twice as once."""
    once = redactor.attribute(channel, value)
    assert repr(redactor.attribute(channel, once)) == repr(once)


@settings(max_examples=150, deadline=None)
@given(PROSE)
def test_no_text_makes_it_fail(text: str) -> None:
    """Whatever comes as text goes through the rules themselves without an error, and twice as once."""
    redactor._free(text, lambda _value, _pattern: REDACTED)
    once = redactor.text(text)
    assert redactor.text(once) == once


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SECRETS), PROSE)
def test_text_in_front_hides_no_secret(case: Secret, prefix: str) -> None:
    """A secret told by its looks or in a sentence is found after other words on a line of their own."""
    if case.channel == TEXT:
        result = redactor.text(f"{prefix.translate({ord(c): None for c in QUOTING})}\n{case.value}")
        assert [part for part in case.parts if part in result] == []


QUOTING = "'\"`\\<[({$"


@settings(max_examples=100, deadline=None)
@given(
    st.text("abcdefghijklmnopqrstuvwxyz .,/_", max_size=60).map(lambda text: text.replace("is", "").replace("was", ""))
)
def test_plain_words_stay(text: str) -> None:
    """Text without signs between names and values, and without digits, is never touched."""
    assert redactor.text(text) == text


@pytest.mark.parametrize("key", WAYS_TO_READ)
def test_no_input_takes_long(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Ten times as much takes about ten times as long, whatever is repeated."""
    monkeypatch.setattr(module, "MAX_LENGTH", 2**22)
    slow = []
    for unit in UNITS:
        small, large = (_seconds(key, unit * (size // len(unit))) for size in (4_000, 40_000))
        if large > 0.1 and large > 25 * small:
            slow.append((unit, small, large))
    assert slow == []


def test_a_megabyte_takes_ten_times_as_long_as_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays so up to a megabyte, for the inputs that are the worst for rules that look back and forth."""
    monkeypatch.setattr(module, "MAX_LENGTH", 2**22)
    for unit in ("('password',", "eyJ", "password='", "tokens=["):
        small, large = (_seconds("", unit * (size // len(unit))) for size in (100_000, 1_000_000))
        assert large < max(25 * small, 0.15), unit


def _seconds(key: str, text: str) -> float:
    began = time.process_time()
    shown(key, text)
    return time.process_time() - began


# --- through setup(): what arrives at the backend, and what is printed ---


def everything(receiver: Any) -> str:
    """All that the backend accepted, as one text."""
    return repr((receiver.spans, receiver.pending_spans, receiver.logs, receiver.metrics))


def leaks(output: str, cases: Iterable[Secret] = SECRETS) -> list[tuple[str, str]]:
    return [
        (case.channel, part)
        for case in cases
        for part in case.parts
        if part in output or part.replace("\n", "\\n") in output
    ]


def attribute_value(value: Any) -> Any:
    return value if isinstance(value, (str, int, list)) else str(value)


def record_attributes(record: Callable[[str, dict[str, Any]], None], cases: Iterable[Secret] = SECRETS) -> None:
    for number, case in enumerate(cases):
        record(f"case {number}", {case.channel or "note": attribute_value(case.value)})


def through_span(name: str, attributes: dict[str, Any]) -> None:
    with span(name, **attributes):
        pass


def through_logfire(name: str, attributes: dict[str, Any]) -> None:
    with logfire.span(name, **attributes):
        pass
    logfire.info(name, **attributes)


def through_opentelemetry(name: str, attributes: dict[str, Any]) -> None:
    elsewhere = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    with trace.get_tracer("shop").start_as_current_span(
        name, attributes=attributes, links=[Link(elsewhere, attributes)]
    ) as current:
        current.add_event(name, attributes)


def through_log_event(name: str, attributes: dict[str, Any]) -> None:
    log_event(name, **attributes)


@pytest.mark.parametrize("way", [through_span, through_logfire, through_opentelemetry, through_log_event])
def test_no_attribute_brings_a_secret_to_the_backend(otlp_receiver, start, way) -> None:
    """Spans, links, events and log records arrive without secrets, whoever records them."""
    observability = start()
    record_attributes(way)
    assert observability.flush(20)
    output = everything(otlp_receiver)
    assert "case 0" in output
    assert f"case {len(SECRETS) - 1}" in output
    assert leaks(output) == []


def test_harmless_attributes_reach_the_backend(otlp_receiver, start) -> None:
    """What only looks like a secret arrives as it was recorded."""
    observability = start()
    for number, case in enumerate(HARMLESS):
        with trace.get_tracer("shop").start_as_current_span(
            f"case {number}", attributes={case.channel or "note": case.value}
        ):
            pass
    assert observability.flush(20)
    arrived = {each.name: each.attributes for each in otlp_receiver.spans}
    different = []
    for number, case in enumerate(HARMLESS):
        value = arrived[f"case {number}"][case.channel or "note"]
        if (list(value) if isinstance(value, tuple) else value) != case.value:
            different.append((case, value))
    assert different == []


def test_no_name_message_or_description_brings_a_secret(otlp_receiver, start) -> None:
    """Span names, messages, event names, descriptions of statuses and log records arrive without secrets."""
    observability = start(logging_enabled=True)
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    for case in TEXTS:
        with span(case.value) as current:
            current.set_status(Status(StatusCode.ERROR, case.value))
        logfire.info("{text}", text=case.value)
        log_event("said", text=case.value)
        logger.warning("said: %s", case.value)
        trace.get_current_span().add_event(case.value)
    assert observability.flush(20)
    assert len(otlp_receiver.spans) >= len(TEXTS)
    assert leaks(everything(otlp_receiver), TEXTS) == []


def fail_with(message: str) -> None:
    """Raise a chain of three exceptions that all tell the message, in several ways."""
    try:
        try:
            raise ValueError(message)  # noqa: TRY301 - where it is raised is not the point
        except ValueError as error:
            raise RuntimeError(f"because: {message}") from error
    except RuntimeError as error:
        error.add_note(message)
        raise LookupError({"said": message}) from error


def test_no_exception_brings_a_secret(otlp_receiver, start) -> None:
    """Types, messages and stack traces of exceptions arrive without secrets, those of their causes as well."""
    observability = start()
    for case in TEXTS:
        with pytest.raises(LookupError), span("failing"):
            fail_with(case.value)
    assert observability.flush(20)
    output = everything(otlp_receiver)
    assert "LookupError" in output
    assert leaks(output, TEXTS) == []


def test_no_metric_brings_a_secret(otlp_receiver, start) -> None:
    """Series are told by their harmless attributes; those that differ in a secret alone keep their sum."""
    observability = start()
    counter = otel_metrics.get_meter("shop").create_counter("orders")
    for case in SECRETS:
        counter.add(1, {case.channel or "note": attribute_value(case.value), "place": "north"})
    assert observability.flush(20)
    assert otlp_receiver.total("orders", {"place": "north"}) == len(SECRETS)
    assert leaks(everything(otlp_receiver)) == []


def test_no_request_brings_a_secret(otlp_receiver, start) -> None:
    """A request with credentials in path, query, headers, cookies and body, and its answer, leave none of them."""
    app = FastAPI()

    @app.post("/reset-password/{token}")
    async def reset(token: str, request: Request) -> dict[str, str]:
        body = await request.json()
        return {"user": body["user"], "access_token": "hunter6quail"}

    @app.get("/broken")
    async def broken(api_key: str) -> None:
        raise RuntimeError(f"refused: api_key={api_key}")

    observability = start(app=app, capture_headers=True, capture_body=True)
    client = TestClient(app, raise_server_exceptions=False, cookies={"session": "hunter1quail"})
    client.post(
        "/reset-password/hunter2quail?access_token=hunter3quail&page=2",
        headers={"Authorization": "Bearer hunter4quail", "X-Api-Key": "hunter7quail", "X-Page": "2"},
        json={"user": "jo", "password": "hunter5quail"},
    )
    client.get("/broken?api_key=hunter8quail")
    assert observability.flush(20)
    server = next(each for each in otlp_receiver.spans if each.name == "POST /reset-password/{token}")
    assert server.attributes["url.query"] == "access_token=[redacted]&page=2"
    assert json.loads(server.attributes["http.request.body.text"]) == {"user": "jo", "password": REDACTED}
    assert server.attributes["http.request.header.x-page"] == ["2"]
    output = everything(otlp_receiver)
    assert [number for number in range(1, 9) if f"hunter{number}quail" in output] == []


def test_redaction_can_be_extended_and_switched_off_by_settings(otlp_receiver, start) -> None:
    """LOGFIRE_REDACTION_PATTERNS adds to the rules, and LOGFIRE_REDACTION_ENABLED=false ends them."""
    observability = start(redaction_patterns=(r"acme-\d+",))
    with span("seen acme-123", note="password=abc"):
        pass
    assert observability.flush(20)
    assert otlp_receiver.spans[-1].name == "seen [redacted]"
    otlp_receiver.clear()
    observability = start(redaction_enabled=False)
    with span("seen acme-123", note="password=abc"):
        pass
    assert observability.flush(20)
    assert otlp_receiver.spans[-1].attributes["note"] == "password=abc"


def test_the_console_shows_no_secret(program) -> None:
    """What is printed in the terminal is redacted like what is sent."""
    source = f"""
        import sys
        sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
        import logfire
        from redaction_corpus import SECRETS, TEXT
        from tldr_observability import setup, span, log_event

        observability = setup(console_enabled=True)
        for number, case in enumerate(SECRETS):
            value = case.value if isinstance(case.value, (str, int, list)) else str(case.value)
            with span(f"case {{number}}", **{{case.channel or "note": value}}):
                logfire.info(f"said {{number}}", **{{case.channel or "note": value}})
            if case.channel == TEXT:
                with span(case.value):
                    log_event("said", text=case.value)
        observability.shutdown(20)
        print("done")
    """
    process = program(source)
    assert process.finish(60) == 0
    assert "done" in process.output
    assert "case 0" in process.output
    assert leaks(process.output) == []


def test_no_group_is_repeated_possessively() -> None:
    """Python 3.11.2, Debian's, lets a possessive group keep what it took before it failed: it isn't used on groups."""
    package = Path(tldr_observability.__file__).parent
    sources = [*package.joinpath("redaction").glob("*.py"), package / "integrations" / "statements.py"]
    found = [path.name for path in sources if re.search(r"(?<!\\)\)[*+?]\+", path.read_text(encoding="utf-8"))]

    assert found == []
