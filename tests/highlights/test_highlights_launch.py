"""The launcher's tools: services as processes, the customer's server, and what the report is made of."""

from __future__ import annotations

import multiprocessing.synchronize
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import redis
from running import PACKAGES, clean_environment
from servers import free_port
from standardwebhooks import Webhook

from highlights.launch import figures, traces
from highlights.launch.services import SERVICES, embedded, given
from highlights.launch.stack import Stack, StackError
from tldr_observability.testing import Metric, OTLPReceiver, Point, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def environment(**more: str) -> dict[str, str]:
    return {**clean_environment(), "LOGFIRE_SHUTDOWN_TIMEOUT": "15", **more}


def processes_of(directory: Path) -> list[str]:
    """The commands that run and name this directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append(command)
    return found


def answers(stack: Stack) -> bool:
    try:
        with redis.Redis.from_url(stack.url("valkey"), socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_stack_survives_the_death_of_its_services_and_leaves_nothing(tmp_path):
    """A killed service is away, comes back at its old address, and after the end no process is left of any."""
    with Stack(tmp_path, environment(), services=("valkey", "s3")) as stack:
        assert answers(stack)
        assert stack.environment["REDIS_URL"] == stack.url("valkey")
        assert httpx.get(stack.url("s3")).is_success
        stack.kill("valkey")
        assert not answers(stack)
        stack.restart("valkey")
        assert answers(stack)
        assert stack.log("valkey").count("Starting Valkey server") == 2
        assert processes_of(tmp_path)
    assert not processes_of(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells processes of their parent's death")
def test_services_end_with_a_launcher_that_is_killed(tmp_path):
    """Nothing goes on running when the launcher is killed the hard way."""
    program = (
        "import sys, time; from pathlib import Path; from highlights.launch.stack import Stack\n"
        "Stack(Path(sys.argv[1]), services=('valkey', 's3')).start(); print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    paths = {"PYTHONPATH": PACKAGES}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(**paths)) as launcher:
        assert launcher.stdout.readline() == b"up\n"
        launcher.kill()
    wait_until(lambda: not processes_of(tmp_path))


def test_a_taken_port_is_named_with_the_variable_that_changes_it(tmp_path):
    """Who has something on the port reads which port, who wanted it, and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stack = Stack(tmp_path, environment(), services=("api",), ports={"api": port})
        with pytest.raises(StackError, match=rf"Port {port}, which api needs, .* HIGHLIGHTS_PORT={port + 1}"):
            stack.start()


def test_a_service_that_dies_is_told_of_in_its_own_words(tmp_path):
    """The error of a service that can't start is in the launcher's message, and the others are ended."""
    stack = Stack(tmp_path, environment(LOGFIRE_SAMPLE_RATE="7"), services=("s3", "customer"))
    with pytest.raises(StackError, match=r"(?s)customer ended with status 1.*LOGFIRE_SAMPLE_RATE: expected a number"):
        stack.start()
    assert not processes_of(tmp_path)


def test_the_environment_wins_over_the_embedded_services(tmp_path):
    """A service whose address is given is used and not started, and its keys are not overwritten."""
    real = {"REDIS_URL": "redis://broker:6379/0", "S3_ENDPOINT_URL": "https://s3.example.com"}
    assert given(environment(**real)) == {"valkey", "s3"}
    assert given(environment()) == frozenset()
    stack = Stack(tmp_path, environment(**real), services=("api", "worker"))
    assert stack.environment["REDIS_URL"] == stack.url("valkey") == "redis://broker:6379/0"
    assert "AWS_ACCESS_KEY_ID" not in stack.environment
    assert stack.environment["DATABASE_URL"] == f"sqlite:///{tmp_path}/highlights.db"
    assert Stack(tmp_path, environment()).environment["AWS_ACCESS_KEY_ID"] == embedded()["AWS_ACCESS_KEY_ID"]
    assert set(stack.ports) == {"api"}
    assert SERVICES.keys() == {"valkey", "s3", "customer", "api", "worker"}


def test_without_semaphores_the_worker_needs_no_pool(tmp_path, monkeypatch):
    """Where the machine can't make semaphores the worker runs its tasks itself instead of failing to start."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    assert Stack(tmp_path, environment(), services=("worker",)).pool in {"prefork", "solo"}
    monkeypatch.setattr(multiprocessing.synchronize, "Lock", refused)
    assert Stack(tmp_path, environment(), services=("worker",)).pool == "solo"


def test_the_customers_server_believes_only_signatures(tmp_path):
    """A signed webhook is noted as verified, an unsigned one is refused and noted; the stream leaves no spans."""
    with (
        OTLPReceiver() as receiver,
        Stack(
            tmp_path,
            environment(
                OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, CUSTOMER_SECRETS=_SECRET, LOGFIRE_FLUSH_INTERVAL="0.2"
            ),
            services=("customer",),
        ) as stack,
    ):
        url = stack.url("customer")
        body, now = '{"type": "stream.started", "data": {"stream_id": "1"}}', datetime.now(UTC)
        for signature in (Webhook(_SECRET).sign("msg_1", now, body), "v1,AAAA"):
            headers = {
                "webhook-id": "msg_1",
                "webhook-timestamp": f"{int(now.timestamp())}",
                "webhook-signature": signature,
            }
            httpx.post(f"{url}/hooks", content=body, headers=headers)
        events = httpx.get(f"{url}/events").json()
        assert [(event["type"], event["verified"]) for event in events] == [("stream.started", True), ("", False)]
        playlist = httpx.get(f"{url}/sample/index.m3u8").text
        assert playlist.rstrip().endswith("#EXT-X-ENDLIST")
        receiver.wait_for(lambda r: len(r.spans) >= 2)
        assert {span.name for span in receiver.spans} == {"POST /hooks"}


def test_up_runs_the_service_for_curl(tmp_path):
    """The line of the issue works against services started by hand, and the console shows the request's spans."""
    ports = {name: free_port() for name in ("valkey", "s3", "api")}
    given_addresses = {
        "REDIS_URL": f"redis://127.0.0.1:{ports['valkey']}/0",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "HIGHLIGHTS_PORT": str(ports["api"]),
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "LOGFIRE_CONSOLE_ENABLED": "true",
    }
    with up("valkey", "s3", "api", directory=tmp_path, env=given_addresses) as launcher:
        url = f"http://127.0.0.1:{ports['api']}/api/v1/streams"
        body = {"url": "https://twitch.tv/test", "title": "Test Stream"}
        answer = httpx.post(url, json=body, headers={"Authorization": "Bearer test-key"}, timeout=15)
        assert answer.status_code == 201, answer.text
        assert answer.json()["platform"] == "twitch"
        launcher.send_signal(signal.SIGINT)
        output = launcher.communicate(timeout=15)[0]
    assert launcher.returncode == 0, output
    shown = [line for line in output.splitlines() if line.startswith("api    | ")]
    assert any("start_stream" in line for line in shown), output
    assert not processes_of(tmp_path)


@contextmanager
def up(*services: str, directory: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "highlights.launch", "up", *services, "--data-dir", str(directory / "var")]
    with subprocess.Popen(
        command,
        env=environment(PYTHONPATH=PACKAGES, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
    ) as launcher:
        try:
            for line in launcher.stdout:
                if "ready: " in line:
                    break
            yield launcher
        finally:
            launcher.kill()


def span(name: str, span_id: str, parent: str | None = None, service: str = "api", **more: Any) -> Span:
    defaults: dict[str, Any] = {
        "trace_id": "1" * 32,
        "kind": "internal",
        "attributes": {},
        "events": [],
        "links": [],
        "status": "unset",
        "status_message": "",
        "start_time_ns": 0,
        "end_time_ns": 500_000_000,
        "resource": {"service.name": f"highlights-{service}"},
        "scope_name": "",
        "scope_version": "",
        "flags": 1,
        "trace_state": "",
    }
    return Span(name=name, span_id=span_id, parent_id=parent, **{**defaults, **more})


def test_a_trace_is_a_page_to_read():
    """Spans of one name below one parent are a line with what they took together; statements stand behind theirs."""
    sql = {"attributes": {"db.system.name": "sqlite"}}
    drawn = traces.draw(
        [
            span("POST /api/v1/streams", "a"),
            span("start_stream", "b", "a"),
            *(span("analyze", f"c{number}", "b", "worker", start_time_ns=number) for number in range(18)),
            *(span("SELECT", f"d{number}", "c1", "worker", **sql) for number in range(3)),
            span("upload", "e", "c3", "worker", status="error"),
        ]
    )
    assert drawn.splitlines()[1:] == [
        "  0.00 s  500.0 ms  api     POST /api/v1/streams",
        "  0.00 s  500.0 ms  api       start_stream",
        "  0.00 s    9.00 s  worker      analyze x18  · 3 SQL",
        "  0.00 s  500.0 ms  worker        upload  ! error",
    ]


def test_a_span_without_its_parent_is_found():
    """An orphan is told from a root."""
    spans = [span("root", "a"), span("child", "b", "a"), span("lost", "c", "x")]
    assert [each.name for each in traces.orphans(spans)] == ["lost"]
    assert [each.name for each in traces.roots(spans)] == ["root"]


def counter(name: str, value: float, organization: str | None, **attributes: str) -> Metric:
    owner = {} if organization is None else {"tldr.organization.id": organization}
    point = Point(attributes={**owner, **attributes}, start_time_ns=0, time_ns=1, value=value)
    return Metric(
        name=name,
        unit="{stream}",
        description="",
        kind="counter",
        temporality="cumulative",
        points=[point],
        resource={},
        scope_name="",
    )


def test_figures_are_this_customers_and_are_held_against_the_database():
    """The table adds up what is about this organization or nobody, and says what the database sees otherwise."""
    exported = figures.exported_figures(
        [
            counter("tldr.stream.completed", 2, "mine", **{"tldr.outcome": "success"}),
            counter("tldr.stream.completed", 1, "mine", **{"tldr.outcome": "failed"}),
            counter("tldr.stream.completed", 7, "another's", **{"tldr.outcome": "success"}),
            counter("tldr.error.count", 4, None),
            counter("http.requests", 9, None),
        ],
        "mine",
    )
    assert {name: figure.value for name, figure in exported.items()} == {
        "tldr.error.count": 4,
        "tldr.stream.completed": 3,
    }
    assert exported["tldr.stream.completed"].parts == (("failed", 1), ("success", 2))
    assert figures.differing(exported, {"tldr.stream.completed": 3}) == []
    assert figures.differing(exported, {"tldr.stream.completed": 4, "tldr.stream.cost": 0}) == [
        "tldr.stream.completed is 3 and the database says 4"
    ]
    row = figures.table(exported, {"tldr.stream.completed": 3}).splitlines()[-1]
    assert row.split() == ["tldr.stream.completed", "3", "stream", "3", "failed", "1,", "success", "2"]


def wait_until(holds: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
