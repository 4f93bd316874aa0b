"""The whole service as child processes: started, waited for, killed, restarted, and ended without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from highlights.launch.services import SERVICES, embedded, has_semaphores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import IO, Self

    from highlights.launch.services import Service

__all__ = ["Stack", "StackError", "api_port", "end"]

_BOUND = Path(__file__).with_name("bound.py")
_PACKAGE_ROOT = Path(__file__).parents[2]
_LOG_LINES = 15
_MOST_PORT = 65_535
_LOOK_AGAIN_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0


class StackError(Exception):
    """A service can't start or died; the message says which, why, and what to do."""


def api_port(environment: Mapping[str, str]) -> int:
    """Where the API is to listen; 0 is any free port."""
    text = environment.get("HIGHLIGHTS_PORT") or "8000"
    if not (text.isdecimal() and int(text) <= _MOST_PORT):
        raise StackError(f"HIGHLIGHTS_PORT: expected the number of a port, got {text!r}")
    return int(text)


class Stack:
    """Services of one environment, each a process with a log file of its own.

        with Stack(directory, {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}) as stack:
            httpx.post(stack.url("api") + "/api/v1/streams", ...)

    Ports, addresses and `environment` are settled by the constructor, so that tables can be made before `start`. On
    Linux the processes end with the thread that starts them: start and restart them from one that stays.

    Args:
        data_dir: holds the database, objects, segments, and `log/NAME.log`.
        env: the environment to start from; it wins over `embedded.env`, but for the addresses of what is started here.
        services: names out of `SERVICES`.
        ports: of services that must have a certain one; the others take any that is free.
        echo: is given each line that a service writes, with the service's name.
    """

    def __init__(
        self,
        data_dir: Path,
        env: Mapping[str, str] | None = None,
        *,
        services: Iterable[str] = tuple(SERVICES),
        ports: Mapping[str, int] | None = None,
        echo: Callable[[str, str], None] | None = None,
    ) -> None:
        env = os.environ if env is None else env
        wanted = set(services)
        self.data_dir = data_dir.resolve()
        self.log_dir = self.data_dir / "log"
        self.services = [service for name, service in SERVICES.items() if name in wanted]
        self.ports = {
            service.name: (ports or {}).get(service.name) or _free_port() for service in self.services if service.scheme
        }
        self.pool = "prefork" if has_semaphores() else "solo"
        self._node = f"highlights-{uuid4().hex[:8]}@localhost"
        self._echo = echo
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self.environment = {
            **_defaults(env),
            "DATABASE_URL": f"sqlite:///{self.data_dir / 'highlights.db'}",
            "HIGHLIGHTS_WORK_DIR": str(self.data_dir / "work"),
            "CUSTOMER_DIR": str(self.data_dir / "customer"),
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        for service in self.services:
            if service.name in self.ports and service.variable:
                port = self.ports[service.name]
                self.environment[service.variable] = str(port) if service.name == "api" else service.address(port)
        if (_PACKAGE_ROOT / "pyproject.toml").exists():  # a checkout, which may be on no path of the children
            paths = (str(_PACKAGE_ROOT), env.get("PYTHONPATH", ""))
            self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def __enter__(self) -> Self:
        """The stack, with everything ready."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End everything."""
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """Start everything and return when all is ready; raises StackError, and leaves nothing, where it isn't."""
        for service in self.services:
            self._check_port(service)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # The embedded S3 server's buckets are directories.
        (self.data_dir / "s3" / self.environment.get("HIGHLIGHTS_S3_BUCKET", "highlights")).mkdir(
            parents=True, exist_ok=True
        )
        try:
            # All at once: who needs another one tries again until it is there.
            for service in self.services:
                self._launch(service, "wb")
            for service in self.services:
                self.wait_ready(service.name, timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 5.0) -> None:
        """End everything: politely, and after `timeout` seconds not so."""
        for of_backing in (False, True):
            ending = [service for service in self.services if service.backing is of_backing]
            running = [
                (service, self._processes.pop(service.name)) for service in ending if self.is_running(service.name)
            ]
            for service, process in running:
                process.send_signal(service.ends_by)
            deadline = time.monotonic() + timeout
            for _, process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                _kill_group(process)
        for process in self._processes.values():
            _kill_group(process)
        self._processes.clear()
        for reader in self._readers:
            reader.join(1.0)
        self._readers.clear()

    def url(self, name: str) -> str:
        """The address of a service, whether it was started here or is somebody else's; empty where it has none."""
        service = SERVICES[name]
        if name in self.ports:
            return service.address(self.ports[name])
        if name == "api":
            return service.address(api_port(self.environment))
        return self.environment.get(service.variable, "")

    def is_running(self, name: str) -> bool:
        """Whether the service was started here and hasn't ended."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def pid(self, name: str) -> int:
        """The id of the service's first process, which leads its group."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """End a service with all of its processes by SIGKILL, as a machine does that runs out of memory."""
        _kill_group(self._processes.pop(name))

    def restart(self, name: str, timeout: float = 60.0) -> None:
        """Start a service again, at its old address, and wait until it's ready; one that still runs is ended first."""
        service = SERVICES[name]
        if self.is_running(name):
            process = self._processes.pop(name)
            process.send_signal(service.ends_by)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            _kill_group(process)
        self._launch(service, "ab")
        self.wait_ready(name, timeout)

    def log(self, name: str) -> str:
        """What the service wrote since the stack was started."""
        return self.log_path(name).read_text(errors="replace")

    def log_path(self, name: str) -> Path:
        """The file that the service's output goes to."""
        return self.log_dir / f"{name}.log"

    def wait_ready(self, name: str, timeout: float = 60.0) -> None:
        """Return when the service can do its work; raises StackError when it has ended, or takes too long."""
        service = SERVICES[name]
        address = service.address(self.ports.get(name, 0))
        deadline, wait = time.monotonic() + timeout, _LOOK_AGAIN_SECONDS
        while not service.is_ready(self.environment, address, self._node):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{name} is not ready after {timeout:g} s.{self._last_lines(name)}")
            time.sleep(wait)
            wait = min(1.2 * wait, _LONGEST_WAIT_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise StackError if a service ended by itself."""
        for name, process in self._processes.items():
            if (status := process.poll()) is not None:
                how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
                raise StackError(f"{name} ended {how}.{self._last_lines(name)}")

    def _launch(self, service: Service, mode: str) -> None:
        values = {"port": self.ports.get(service.name), "data": self.data_dir, "node": self._node, "pool": self.pool}
        bound = [sys.executable, "-I", str(_BOUND), str(int(service.ends_by)), str(os.getpid())]
        command = [*bound, *(argument.format(**values) for argument in service.arguments.split())]
        with self.log_path(service.name).open(mode) as log:
            self._processes[service.name] = process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._echo else log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the launcher's to pass on
            )
        if self._echo and process.stdout:
            reader = threading.Thread(target=self._pass_on, args=(service.name, process.stdout), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _pass_on(self, name: str, output: IO[bytes]) -> None:
        with output, self.log_path(name).open("ab") as log:
            for line in output:
                log.write(line)
                log.flush()
                if self._echo:
                    self._echo(name, line.decode(errors="replace").rstrip())

    def _check_port(self, service: Service) -> None:
        port = self.ports.get(service.name)
        if port is None:
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                advice = f" or set {service.variable}={port + 1}," if service.name == "api" else ""
                raise StackError(
                    f"Port {port}, which {service.name} needs, can't be had ({error.strerror}): stop what listens "
                    f"there,{advice} and try again."
                ) from error

    def _last_lines(self, name: str) -> str:
        path = self.log_path(name)
        lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:] if path.exists() else []
        if not lines:
            return f" It wrote nothing to {path}; is the disk full?"
        return "".join(f"\n    {line}" for line in (f"Its last lines, from {path}:", *lines))


def end(stack: Stack) -> None:
    """End the services; a second Ctrl-C doesn't leave half of them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack.stop()
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _defaults(env: Mapping[str, str]) -> dict[str, str]:
    """What `embedded.env` says; whose storage isn't the embedded one has keys for it of their own."""
    there = bool(env.get("S3_ENDPOINT_URL"))
    return {name: value for name, value in embedded().items() if not (there and name.startswith("AWS_"))}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The group's leader may be gone and its children not.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
