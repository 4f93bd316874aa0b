"""`tldr-obs doctor`: what it says about an environment, and that it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import time

import pytest

import tldr_observability
from tldr_observability.cli import main
from tldr_observability.settings import ObservabilitySettings
from tldr_observability.testing import OTLPReceiver

TOKEN = "pylf_v1_eu_Xq7wV9zK2mP4sT6b"


@pytest.fixture
def receiver():
    """A healthy backend."""
    with OTLPReceiver() as receiver:
        yield receiver


def environment(variables):
    """The environment of this process, with these of our variables and no other."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("LOGFIRE_", "OTEL_", "PYTEST"))}
    return kept | variables


def run(*arguments, launch=("-m", "tldr_observability.cli"), **variables):
    """Run `tldr-obs` in a fresh process."""
    return subprocess.run(
        [sys.executable, *launch, *arguments],
        env=environment(variables),
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def examine(**variables):
    """Run `tldr-obs doctor --json` in a fresh process and return its exit code and its document."""
    finished = run("doctor", "--json", **variables)
    assert finished.stderr == ""
    return finished.returncode, json.loads(finished.stdout)


@pytest.fixture
def doctor(monkeypatch, capsys):
    """The same as `examine`, in this process, which has everything loaded already."""

    def doctor(**variables):
        with monkeypatch.context() as patch:
            for name in set(os.environ) - set(environment({})):
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            code = main(["doctor", "--json"])
        return code, json.loads(capsys.readouterr().out)

    return doctor


@pytest.fixture(scope="module")
def healthy():
    """What is said of a working set-up, and what the backend was asked for it."""
    with OTLPReceiver() as receiver:
        _, document = examine(LOGFIRE_TOKEN=TOKEN, LOGFIRE_BASE_URL=receiver.url)
        return document, receiver.requests


def part(document, name):
    """One part of the document."""
    (found,) = [part for part in document["parts"] if part["part"] == name]
    return found


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_working_setup_is_called_so(receiver):
    """With a token that the backend accepts, doctor names the project, says that all works and returns 0."""
    finished = run("doctor", LOGFIRE_TOKEN=TOKEN, LOGFIRE_BASE_URL=receiver.url)
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert "token accepted, project test, takes traces, logs and metrics" in finished.stdout
    assert finished.stdout.endswith("All that is configured works.\n")
    for section in ("Settings", "Parts", "Versions", "Endpoint"):
        assert f"{section}\n  " in finished.stdout


def test_nothing_is_exported(healthy):
    """Doctor asks who the token is and posts one empty request a signal; no span, log or metric is sent."""
    _, requests = healthy
    asked = sorted((request.method, request.path, request.body) for request in requests)
    assert asked == [
        ("GET", "/v1/info", b""),
        ("POST", "/v1/logs", b""),
        ("POST", "/v1/metrics", b""),
        ("POST", "/v1/traces", b""),
    ]
    assert {request.headers["authorization"] for request in requests} == {TOKEN}


def test_the_document_has_the_same_shape_whatever_is_found(doctor, healthy):
    """The JSON document has the same keys with and without a backend, and with bad settings."""
    working, requests = healthy
    _, idle = doctor()
    _, bad = doctor(LOGFIRE_BATCH_SIZE="many")
    keys = {"settings": list, "parts": list, "versions": dict, "endpoints": list, "problems": list, "ok": bool}
    for document in (working, idle, bad):
        assert document["ok"] is not bool(document["problems"])
        assert {key: type(value) for key, value in document.items()} == keys
    for document in (working, idle):
        assert [row["name"] for row in document["settings"]] == list(ObservabilitySettings.model_fields)
        assert all(set(row) == {"name", "value", "source", "variable"} for row in document["settings"])
        assert all(set(row) == {"part", "on", "detail", "turn_on"} for row in document["parts"])
        assert all(row["on"] is not bool(row["turn_on"]) for row in document["parts"])
    assert [row["part"] for row in working["parts"]] == [row["part"] for row in idle["parts"]]
    assert working["endpoints"] == [
        {
            "name": requests[0].headers["host"],
            "kind": "logfire",
            "ok": True,
            "detail": "token accepted, project test, takes traces, logs and metrics",
            "fix": "",
            "project": "test",
            "signals": dict.fromkeys(["traces", "logs", "metrics"], "taken"),
        }
    ]
    assert working["versions"]["tldr-observability"] == tldr_observability.__version__
    assert set(working["versions"]) >= {"python", "logfire", "opentelemetry-sdk", "opentelemetry-contrib", "fastapi"}


def test_without_a_token_doctor_says_what_to_type():
    """Nothing configured to send is fine (0), and the last lines are what to type to send."""
    finished = run("doctor")
    assert finished.returncode == 0
    end = finished.stdout.rpartition("\n\n")[2]
    assert end.startswith("Nothing is sent: no token")
    assert "export LOGFIRE_TOKEN=..." in end
    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318" in end


@pytest.mark.parametrize(
    ("variable", "path"),
    [("LOGFIRE_TOKEN", None), ("LOGFIRE_API_KEY", "/v1/info"), ("LOGFIRE_TOKEN", "/v1/traces")],
)
def test_a_rejected_token_is_a_problem(doctor, receiver, variable, path):
    """A 401, from ingest or from the token check, is reported with the variable that the token came from."""
    receiver.respond(401, path=path)
    code, document = doctor(LOGFIRE_BASE_URL=receiver.url, **{variable: TOKEN})
    assert code == 1
    (problem,) = document["problems"]
    assert "token rejected (401)" in problem
    assert problem.endswith(f"check {variable}")
    assert document["endpoints"][0]["ok"] is False


def test_of_several_tokens_the_rejected_one_is_named(doctor, receiver):
    """Two projects on one host are told apart by the place of their token."""
    code, document = doctor(LOGFIRE_TOKEN=f"{TOKEN},other", LOGFIRE_BASE_URL=receiver.url)
    host = receiver.url.removeprefix("http://")
    assert code == 0
    assert [endpoint["name"] for endpoint in document["endpoints"]] == [f"{host} (token 1)", f"{host} (token 2)"]


def test_a_token_that_no_header_can_hold_is_a_problem(doctor, receiver):
    """A token with a character that HTTP can't carry is reported as such, and not as a network failure."""
    code, document = doctor(LOGFIRE_TOKEN="a\nb", LOGFIRE_BASE_URL=receiver.url)
    assert code == 2
    assert document["problems"] == [
        "LOGFIRE_TOKEN: expected visible ASCII characters, for it is sent in a header, got another value"
    ]


def test_a_refused_connection_is_a_problem(doctor):
    """Where nobody listens, doctor says so in the operating system's words and names the variable to check."""
    code, document = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert code == 1
    (problem,) = document["problems"]
    assert "does not answer: connection refused; check OTEL_EXPORTER_OTLP_ENDPOINT" in problem


def test_an_endpoint_that_never_finishes_does_not_hold_doctor(receiver):
    """In front of destinations that hang or drip their answer for ever, doctor takes three seconds, not more."""
    started = time.monotonic()
    examine()
    idle = time.monotonic() - started
    receiver.hang()
    with OTLPReceiver() as dripping:
        dripping.drip()
        started = time.monotonic()
        code, document = examine(
            LOGFIRE_TOKEN="one,two", LOGFIRE_BASE_URL=receiver.url, OTEL_EXPORTER_OTLP_ENDPOINT=dripping.url
        )
        assert time.monotonic() - started < idle + 4.5
    assert code == 1
    assert len(document["problems"]) == 3
    assert all("no answer in 3 s" in problem for problem in document["problems"])


def test_a_backend_in_trouble_is_told_from_a_wrong_address(doctor, receiver):
    """A 503 is the backend's trouble; doctor does not send people to look at their settings."""
    receiver.respond(503)
    code, document = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert code == 1
    assert document["problems"][0].endswith(
        "answers 503 Service Unavailable; the trouble is the backend's: try again later"
    )


def test_a_backend_that_takes_no_logs_is_found_out(doctor, receiver):
    """A collector without a logs pipeline works for the rest, and doctor gives the line that stops logs going there."""
    receiver.respond(404, path="/v1/logs")
    code, document = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert code == 1
    assert "traces and metrics: taken; logs: answers 404" in document["problems"][0]
    assert document["problems"][0].endswith("type: export OTEL_LOGS_EXPORTER=none")
    code, document = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_LOGS_EXPORTER="none")
    assert code == 0
    assert part(document, "logs") == {
        "part": "logs", "on": False, "detail": "OTEL_LOGS_EXPORTER is none", "turn_on": "unset OTEL_LOGS_EXPORTER"
    }  # fmt: skip
    assert set(document["endpoints"][0]["signals"]) == {"traces", "metrics"}


def test_a_backend_without_the_token_check_is_fine(doctor, receiver):
    """A plain OTLP backend behind LOGFIRE_BASE_URL has no /v1/info; what counts is that it takes telemetry."""
    receiver.respond(404, path="/v1/info")
    code, document = doctor(LOGFIRE_TOKEN=TOKEN, LOGFIRE_BASE_URL=receiver.url)
    assert code == 0
    assert document["endpoints"][0]["project"] is None


def test_all_bad_settings_are_listed_at_once(doctor):
    """Bad values of ours and of OpenTelemetry's variables come out together, with exit code 2."""
    bad = {
        "LOGFIRE_SAMPLE_RATE": "7",
        "LOGFIRE_ENABLED": "maybe",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318",
        "OTEL_METRIC_EXPORT_INTERVAL": "soon",
    }
    code, document = doctor(**bad)
    assert code == 2
    assert sorted(problem.partition(":")[0] for problem in document["problems"]) == sorted(bad)
    finished = run("doctor", **bad)
    assert finished.returncode == 2
    assert finished.stdout.startswith("4 problems:\n  - LOGFIRE_ENABLED: expected true or false, got 'maybe'\n")


def test_no_secret_is_shown(receiver):
    """Neither output holds a token, an API key, an OTLP header or the password in a URL, however they are set."""
    host = receiver.url.removeprefix("http://")
    secrets = {
        "LOGFIRE_TOKEN": TOKEN,
        "LOGFIRE_API_KEY": "pylf_v2_us_Bn5hJ8rD3cF1gL0y",
        "LOGFIRE_BASE_URL": receiver.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{receiver.url}/sesame",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=opensesame",
    }
    outputs = [run("doctor", **secrets), run("doctor", "--json", **secrets)]
    bad = {
        "LOGFIRE_LOG_LEVEL": TOKEN,
        "LOGFIRE_BASE_URL": f"http://someone:hunter2@{host}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://someone:hunter2@{host}",
    }
    assert all("set (region eu)" in finished.stdout for finished in outputs)
    for finished in (*outputs, run("doctor", **secrets | bad)):
        for secret in ("Xq7wV9", "Bn5hJ8", "hunter2", "sesame"):
            assert secret not in finished.stdout + finished.stderr


def test_each_value_says_where_it_came_from(doctor):
    """A value comes from a variable (the one that won), from the environment's preset, or is the default."""
    variables = {
        "LOGFIRE_ENVIRONMENT": "dev",
        "OTEL_SERVICE_NAME": "shop",
        "LOGFIRE_MIN_LEVEL": "error",
        "logfire_flush_interval": "2",
        "LOGFIRE_BATCH_SIZE": "",
    }
    _, document = doctor(**variables)
    found = {row["name"]: (row["value"], row["source"], row["variable"]) for row in document["settings"]}
    assert found["environment"] == ("development", "environment", "LOGFIRE_ENVIRONMENT")
    assert found["service_name"] == ("shop", "environment", "OTEL_SERVICE_NAME")
    assert found["log_level"] == ("error", "environment", "LOGFIRE_MIN_LEVEL")
    assert found["flush_interval"] == (2.0, "environment", "LOGFIRE_FLUSH_INTERVAL")
    assert found["capture_headers"] == (True, "preset", "LOGFIRE_CAPTURE_HEADERS")
    assert found["batch_size"] == (100, "default", "LOGFIRE_BATCH_SIZE")
    assert found["token"] == (None, "default", "LOGFIRE_TOKEN")


def test_what_to_type_turns_each_part_on(doctor, healthy, receiver):
    """Whoever types what doctor says for the parts that are off finds them on."""
    before, _ = healthy
    commands = [row["turn_on"] for row in before["parts"] if not row["on"]]
    assert all(command.startswith("export ") for command in commands)
    typed = dict(command.removeprefix("export ").split("=", 1) for command in commands)
    _, after = doctor(LOGFIRE_TOKEN=TOKEN, LOGFIRE_BASE_URL=receiver.url, **typed)
    assert len(typed) == 6
    assert all(row["on"] for row in after["parts"])


@pytest.mark.parametrize(
    ("variables", "typed"),
    [
        ({"LOGFIRE_ENABLED": "false", "LOGFIRE_TOKEN": TOKEN}, "export LOGFIRE_ENABLED=true"),
        ({"LOGFIRE_SEND_TO_LOGFIRE": "false", "LOGFIRE_TOKEN": TOKEN}, "export LOGFIRE_SEND_TO_LOGFIRE=true"),
        ({"LOGFIRE_BASE_URL": "http://localhost:1"}, "export LOGFIRE_TOKEN=..."),
    ],
)
def test_why_nothing_is_sent_is_the_actual_reason(doctor, variables, typed):
    """Switched off, told not to send, or short of a token: the advice fits, and no endpoint is asked."""
    code, document = doctor(**variables)
    assert code == 0
    assert part(document, "export")["turn_on"] == typed
    assert document["endpoints"] == []


def test_versions_that_contradict_each_other_are_a_conflict(tmp_path):
    """A contrib package of another train than the rest, and an unmet requirement, are named with what mends them."""
    for name, version, more in (
        ("opentelemetry-instrumentation-made-up", "0.1b0", ""),
        ("logfire-made-up", "1.0", "Requires-Dist: opentelemetry-api>=99\nRequires-Dist: not-there; extra == 'more'\n"),
    ):
        metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
    code, document = examine(PYTHONPATH=str(tmp_path))
    assert code == 1
    trains, unmet = document["problems"]
    assert "different trains" in trains
    assert "pip install opentelemetry-instrumentation-made-up==" in trains
    assert unmet.startswith("logfire-made-up 1.0 needs opentelemetry-api>=99, found ")


def test_a_strange_name_does_no_harm_to_the_terminal():
    """Escape sequences in a value are shown, not sent to the terminal, and any encoding can print the page."""
    finished = run(
        "doctor", LOGFIRE_SERVICE_NAME="sh\N{LATIN SMALL LETTER O WITH DIAERESIS}p\x1b[31m", PYTHONIOENCODING="ascii"
    )
    assert finished.returncode == 0
    assert "\x1b" not in finished.stdout
    assert r"sh\xf6p" in finished.stdout


def test_a_reader_that_leaves_early_is_no_error():
    """`tldr-obs doctor | head` ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    finished = subprocess.run(
        [sys.executable, "-m", "tldr_observability.cli", "doctor"],
        env=environment({}), stdout=write, stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    os.close(write)
    assert finished.stderr == b""


def test_only_a_terminal_gets_colours(receiver):
    """On a terminal the verdict is coloured; in a pipe the page is plain."""
    try:
        terminal, child = pty.openpty()
    except OSError:
        pytest.skip("this machine has no terminals (/dev/pts is not mounted)")
    variables = {"LOGFIRE_TOKEN": TOKEN, "LOGFIRE_BASE_URL": receiver.url}
    subprocess.run(
        [sys.executable, "-m", "tldr_observability.cli", "doctor"],
        env=environment(variables), stdout=child, timeout=30, check=False,
    )  # fmt: skip
    os.close(child)
    said = b""
    with contextlib.suppress(OSError):  # the terminal's way to say that this was all
        while chunk := os.read(terminal, 65536):
            said += chunk
    os.close(terminal)
    assert b"\x1b[32mAll that is configured works.\x1b[0m" in said
    assert "\x1b" not in run("doctor", **variables).stdout


def test_variables_that_logfire_refuses_are_reported_too():
    """A value that fails `import logfire` itself is reported with the other problems, not as a traceback."""
    code, document = examine(LOGFIRE_CONSOLE="perhaps", LOGFIRE_BATCH_SIZE="many")
    assert code == 2
    assert "Logfire can't be imported" in document["problems"][0]
    assert "perhaps" in document["problems"][0]
    assert any(problem.startswith("LOGFIRE_BATCH_SIZE: ") for problem in document["problems"])


def test_the_command_introduces_itself():
    """Without a command there is help, `--version` says the version, and an unknown command is an error."""
    assert "doctor" in run().stdout
    assert run().returncode == 0
    assert run("--version").stdout == f"tldr-obs {tldr_observability.__version__}\n"
    assert run("operate").returncode == 2
    assert "exit codes:" in run("doctor", "--help").stdout


def test_help_costs_no_heavy_import():
    """The help is there at once: it loads neither logfire nor the SDK."""
    code = "import sys; from tldr_observability.cli import main; main([]); sys.exit('logfire' in sys.modules)"
    assert run(launch=("-c", code)).returncode == 0
