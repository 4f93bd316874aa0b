"""What several test modules share: a clean environment, set-ups of one's own, programs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from servers import moto_url, postgres_url, s3_url, valkey_url  # noqa: F401 - fixtures for all test modules

from tldr_observability import _record, _setup, context, guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tldr_observability import Observability
    from tldr_observability.testing import OTLPReceiver

_FOREIGN = ("LOGFIRE_", "OTEL_", "FASTAPI_OTEL_")

# As setup() does. Whichever test starts an instrumentor first decides for the process.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http,database"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests decides what they see."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name != "OTEL_SEMCONV_STABILITY_OPT_IN":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean_context() -> None:
    """Nobody works for the customer of the test before."""
    context._frame.set(context._EMPTY)


@pytest.fixture
def strict() -> Iterator[None]:
    """Our own bugs are raised, and nothing of what a test sets up by hand stays."""
    before = guard.set_strict(True)
    _record.reset()
    yield
    guard.set_strict(before)
    _record.reset()


@pytest.fixture
def start(otlp_receiver: OTLPReceiver) -> Iterator[Callable[..., Observability]]:
    """Call `setup()` with the given settings, a token and the test's receiver; undone afterwards."""

    def begin(**settings: Any) -> Observability:
        _setup.reset()
        defaults = {
            "base_url": otlp_receiver.url,
            "token": "test-token",
            "send_to_logfire": True,
            "console_enabled": False,
        }
        for name in list(defaults):  # a variable that a test sets is the one to be looked at
            if f"LOGFIRE_{name.upper()}" in os.environ:
                del defaults[name]
        return _setup.setup(**{**defaults, **settings})

    yield begin
    otlp_receiver.recover()
    _setup.reset()


@dataclass
class Program:
    """A Python program of its own, which exports to the test's receiver."""

    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)
    output: str = ""

    def wait_for_line(self, text: str) -> str:
        """Read its output until a line holds `text`."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came:\n{self.output}")

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def finish(self, timeout: float = 20.0) -> int:
        """Wait for its end; returns the exit status."""
        rest, _ = self.process.communicate(timeout=timeout)
        self.output += rest or ""
        return self.process.returncode


@pytest.fixture
def program(otlp_receiver: OTLPReceiver, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start Python source (or arguments for the interpreter) as a process with LOGFIRE_TOKEN and LOGFIRE_BASE_URL."""
    running: list[Program] = []

    def begin(source: str = "", *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        process = subprocess.Popen(
            [sys.executable, *(arguments or [str(path)])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
            env={
                # Logfire sends nothing where it sees that it is under test.
                **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
                "LOGFIRE_TOKEN": "test-token",
                "LOGFIRE_BASE_URL": otlp_receiver.url,
                "PYTHONUNBUFFERED": "1",
                # What must arrive has time to on a busy machine; tests of the deadline set their own.
                "LOGFIRE_SHUTDOWN_TIMEOUT": "15",
                **(env or {}),
            },
        )
        running.append(Program(process))
        return running[-1]

    yield begin
    otlp_receiver.recover()
    for each in running:
        # Its whole group: a child that outlives it would keep its output open.
        with suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate(timeout=10)
