"""However a process ends, what it recorded arrives, or the end is not delayed beyond the deadline."""

from __future__ import annotations

import signal
import socket
import threading
import time
import urllib.request

import pytest
from servers import has_semaphores

RECORD = """
import os, signal, sys, time
from opentelemetry import metrics, trace
from tldr_observability import setup

def record(count, name="work"):
    tracer = trace.get_tracer("shop")
    for _ in range(count):
        tracer.start_span(name).end()
    metrics.get_meter("shop").create_counter("done").add(count)
"""

APP = """
from fastapi import FastAPI
from opentelemetry import trace
from tldr_observability import setup

app = FastAPI()
setup(app=app, flush_interval=3600)

@app.get("/items/{item}")
def item(item: int) -> dict[str, int]:
    with trace.get_tracer("shop").start_as_current_span("look up"):
        return {"item": item}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port: int, path: str, patience: float = 15.0) -> int:
    """Ask until the server answers."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return response.status
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


ENDINGS = {
    "end of the script": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "unhandled exception": ("raise RuntimeError('broken')", 1),
    "os._exit": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_everything_arrives_however_the_program_ends(otlp_receiver, program, ending):
    """The last spans and counts arrive, and the exit status is what it would have been without us."""
    source, status = ENDINGS[ending]
    running = program(f"{RECORD}\nsetup(flush_interval=3600)\nrecord(300)\n{source}\n")
    assert running.finish() == status, running.output
    assert len(otlp_receiver.spans) == 300
    assert otlp_receiver.total("done") == 300


def test_a_span_that_is_open_at_the_end_is_exported(otlp_receiver, program):
    """A span around the whole program is ended at exit and arrives."""
    assert program(f"{RECORD}\nsetup()\nspan = trace.get_tracer('shop').start_span('whole')\n").finish() == 0
    assert [span.name for span in otlp_receiver.spans] == ["whole"]


@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), signal.SIGTERM)", "os._exit(0)"])
@pytest.mark.parametrize("backend", ["hanging", "refusing", "answering 503"])
def test_a_dead_backend_delays_the_end_by_two_seconds_at_most(otlp_receiver, program, backend, ending):
    """With a full queue and a backend that hangs, refuses or fails, the process ends in time and says so once."""
    env = {"LOGFIRE_SHUTDOWN_TIMEOUT": ""}
    if backend == "hanging":
        otlp_receiver.hang()
    elif backend == "refusing":
        env["LOGFIRE_BASE_URL"] = f"http://127.0.0.1:{free_port()}"
    else:
        otlp_receiver.respond(503)
    running = program(
        f"{RECORD}\nsetup(flush_interval=0.05)\nrecord(25_000)\ntime.sleep(0.3)\nprint('ready')\n{ending}\n", env=env
    )
    running.wait_for_line("ready")
    before = time.monotonic()
    running.finish()
    assert time.monotonic() - before < 2 + 1.5
    assert len(running.output.splitlines()) <= 4, running.output


def test_a_shorter_deadline_is_kept_too(otlp_receiver, program):
    """LOGFIRE_SHUTDOWN_TIMEOUT=0.2 is all that the exit waits for."""
    otlp_receiver.hang()
    running = program(
        f"{RECORD}\nsetup(flush_interval=0.05)\nrecord(200)\ntime.sleep(0.3)\nprint('ready')\n",
        env={"LOGFIRE_SHUTDOWN_TIMEOUT": "0.2"},
    )
    running.wait_for_line("ready")
    before = time.monotonic()
    assert running.finish() == 0
    assert time.monotonic() - before < 1.5


def test_a_handler_of_the_programs_own_still_decides(otlp_receiver, program):
    """A SIGTERM handler that was there before runs as before; its spans arrive as well."""
    running = program(f"""{RECORD}
def leave(number, frame):
    record(1, "in the handler")
    sys.exit(5)

signal.signal(signal.SIGTERM, leave)
setup(flush_interval=3600)
record(3)
print("ready")
time.sleep(30)
""")
    running.wait_for_line("ready")
    running.terminate()
    assert running.finish() == 5
    assert len(otlp_receiver.spans) == 4


def test_a_program_that_ignores_sigterm_goes_on_ignoring_it(otlp_receiver, program):
    """SIG_IGN stays."""
    running = program(f"""{RECORD}
signal.signal(signal.SIGTERM, signal.SIG_IGN)
setup()
os.kill(os.getpid(), signal.SIGTERM)
record(1)
""")
    assert running.finish() == 0
    assert len(otlp_receiver.spans) == 1


def test_sigterm_in_the_middle_of_recording_does_not_deadlock(otlp_receiver, program):
    """A signal may interrupt any of our lines, those that ring the room's bell included."""
    running = program(f"""{RECORD}
setup(flush_interval=0.01, batch_size=2)
print("ready")
while True:
    record(50)
""")
    running.wait_for_line("ready")
    time.sleep(0.3)
    running.terminate()
    before = time.monotonic()
    assert running.finish() == -signal.SIGTERM
    assert time.monotonic() - before < 4


@pytest.mark.parametrize("turn", range(3))
def test_sigterm_while_an_attribute_is_set_loses_nothing(otlp_receiver, program, turn):
    """The interrupted thread may hold the lock of a span that is open: what is queued is sent all the same."""
    running = program(
        f"""{RECORD}
setup(flush_interval=3600)
record(50)
with trace.get_tracer("shop").start_as_current_span("open") as span:
    print("ready")
    while True:
        span.set_attributes({{"a": 1, "b": 2}})
""",
        env={"LOGFIRE_SHUTDOWN_TIMEOUT": ""},
    )
    running.wait_for_line("ready")
    time.sleep(0.05 + 0.013 * turn)
    running.terminate()
    assert running.finish() == -signal.SIGTERM
    assert [span.name for span in otlp_receiver.spans].count("work") == 50


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "gunicorn --preload"])
def test_a_server_that_is_told_to_stop_loses_nothing(otlp_receiver, program, tmp_path, server):
    """SIGTERM right after the last request: every span of every request arrives, from every worker."""
    (tmp_path / "shop.py").write_text(APP)
    port = free_port()
    if server == "uvicorn":
        command = ["-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
    else:
        command = [
            "-m",
            "gunicorn",
            "shop:app",
            "-b",
            f"127.0.0.1:{port}",
            "-w",
            "2",
            "-k",
            "uvicorn_worker.UvicornWorker",
        ]
        command += ["--preload"] if "preload" in server else []
    running = program("", *command)
    for number in range(20):
        assert get(port, f"/items/{number}") == 200
    running.terminate()
    assert running.finish() in (0, -signal.SIGTERM), running.output
    names = [span.name for span in otlp_receiver.spans]
    assert names.count("GET /items/{item}") == names.count("look up") == 20, running.output
    assert otlp_receiver.total("http.server.request.duration") == 20


def test_a_server_in_front_of_a_hanging_backend_stops_in_time(otlp_receiver, program, tmp_path):
    """The end of uvicorn is delayed by the deadline once, not by each of the hooks that flush."""
    (tmp_path / "shop.py").write_text(APP)
    port = free_port()
    otlp_receiver.hang()
    command = ["-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
    running = program("", *command, env={"LOGFIRE_SHUTDOWN_TIMEOUT": ""})
    get(port, "/items/1")
    before = time.monotonic()
    running.terminate()
    running.finish()
    assert time.monotonic() - before < 2 + 1.5


def test_a_server_in_front_of_a_slow_backend_stops_in_time(otlp_receiver, program, tmp_path):
    """Answers that take 0.9 s: all the flushes of an exit together have the one deadline."""
    (tmp_path / "shop.py").write_text(APP)
    port = free_port()
    otlp_receiver.respond(200, delay=0.9)
    command = ["-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
    running = program("", *command, env={"LOGFIRE_SHUTDOWN_TIMEOUT": ""})
    get(port, "/items/1")
    before = time.monotonic()
    running.terminate()
    running.finish()
    assert time.monotonic() - before < 2 + 1.0
    assert "GET /items/{item}" in [span.name for span in otlp_receiver.spans]


def test_a_server_that_sets_up_in_its_lifespan_loses_nothing(otlp_receiver, program, tmp_path):
    """setup(app=app) inside the lifespan: a request that ends after SIGTERM arrives, too."""
    (tmp_path / "shop.py").write_text("""
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI
from tldr_observability import setup

@asynccontextmanager
async def lifespan(app):
    setup(app=app, flush_interval=3600)
    yield

app = FastAPI(lifespan=lifespan)

@app.get("/slow")
async def slow():
    print("asked", flush=True)
    await asyncio.sleep(0.5)

@app.get("/")
async def root():
    return "up"
""")
    port = free_port()
    running = program("", "-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning")
    get(port, "/")
    threading.Thread(target=get, args=(port, "/slow")).start()
    running.wait_for_line("asked")
    running.terminate()
    running.finish()
    assert "GET /slow" in [span.name for span in otlp_receiver.spans]


FORKS = {
    "os.fork": """
if os.fork() == 0:
    record(2, "child"); os._exit(0)
os.wait()
""",
    "os.fork inside a span": """
with trace.get_tracer("shop").start_as_current_span("around"):
    if os.fork() == 0:
        record(2, "child")
    else:
        os.wait()
""",
    "a fork in a fork inside a span": """
with trace.get_tracer("shop").start_as_current_span("around"):
    if os.fork() == 0:
        if os.fork() == 0:
            record(2, "child")
        else:
            os.wait()
    else:
        os.wait()
""",
    "multiprocessing": """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=record, args=(2, "child"))
child.start(); child.join()
""",
    "pool": """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
    pool.submit(record, 2, "child").result()
""",
}


@pytest.mark.parametrize("how", FORKS)
def test_a_fork_starts_afresh(otlp_receiver, program, how):
    """A child sends its own spans and counts, and nothing of what its parent had recorded or left open."""
    if how == "pool" and not has_semaphores():
        pytest.skip("process pools need POSIX semaphores")
    running = program(
        f"{RECORD}\nsetup(flush_interval=3600)\nrecord(5, 'parent')\n{FORKS[how]}\nprint('end', os.getpid())\n"
    )
    assert running.finish() == 0, running.output
    names = sorted(span.name for span in otlp_receiver.spans)
    around = ["around"] if "inside" in how else []
    assert names == [*around, "child", "child", *["parent"] * 5]
    assert otlp_receiver.total("done") == 7
    pids = {span.name: span.resource["process.pid"] for span in otlp_receiver.spans}
    assert pids["child"] != pids["parent"]


def test_a_fork_during_a_reading_of_metrics_does_not_hang(otlp_receiver, program):
    """Children forked while callbacks of the program are being asked come out of the fork and end."""
    running = program(
        f"""{RECORD}
def callback(_):
    time.sleep(0.03)
    return []
setup(flush_interval=3600)
metrics.get_meter("shop").create_observable_gauge("slow", [callback])
children = []
for _ in range(10):
    if (pid := os.fork()) == 0:
        record(1, "child")
        os._exit(0)
    children.append(pid)
    time.sleep(0.02)
deadline = time.monotonic() + 10
while children and time.monotonic() < deadline:
    children = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0]
    time.sleep(0.05)
print("hanging:", len(children))
for pid in children:
    os.kill(pid, signal.SIGKILL)
""",
        env={"OTEL_METRIC_EXPORT_INTERVAL": "10"},
    )
    assert running.finish(40) == 0, running.output
    assert "hanging: 0" in running.output
    assert [span.name for span in otlp_receiver.spans] == ["child"] * 10


def test_many_forks_under_load_lose_and_double_nothing(otlp_receiver, program):
    """Forks while other threads record and the room exports: every span once, no process stuck."""
    running = program(f"""{RECORD}
import threading
setup(flush_interval=0.02, batch_size=20)
stop = threading.Event()
def noise():
    while not stop.is_set():
        record(5, "noise"); time.sleep(0.001)
threads = [threading.Thread(target=noise) for _ in range(2)]
[thread.start() for thread in threads]
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        record(10, "child"); os._exit(0)
    children.append(pid)
    time.sleep(0.01)
[os.waitpid(pid, 0) for pid in children]
stop.set()
[thread.join() for thread in threads]
""")
    assert running.finish(40) == 0, running.output
    ids = [span.span_id for span in otlp_receiver.spans]
    assert len(ids) == len(set(ids))
    assert [span.name for span in otlp_receiver.spans].count("child") == 120
    assert otlp_receiver.total("done") == len(ids)


def test_setup_outside_of_the_main_thread_says_that_sigterm_is_not_covered(otlp_receiver, program):
    """Python allows signal handlers in the main thread only: the report says so, and nothing fails."""
    running = program(f"""{RECORD}
import threading
def begin():
    for status in setup().report():
        print(status)
thread = threading.Thread(target=begin); thread.start(); thread.join()
record(1)
""")
    assert running.finish() == 0
    assert "main thread" in running.output
    assert len(otlp_receiver.spans) == 1
