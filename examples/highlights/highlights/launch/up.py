"""Services in the foreground, with the embedded addresses where the environment has none, until Ctrl-C."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from highlights.launch import seed
from highlights.launch.services import SERVICES, embedded, given
from highlights.launch.stack import Stack, StackError, api_port, end
from highlights.launch.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["up"]

_LOOK_AGAIN_SECONDS = 0.5
_DAY_SECONDS = 86_400.0


def up(names: Sequence[str], data_dir: Path) -> int:
    """Run services until Ctrl-C, or until one of them ends.

    Args:
        names: which; none for all but those that the environment says are there already.
        data_dir: where their data is.
    """
    environment = dict(os.environ)
    there = given(environment)
    wanted = set(names) or SERVICES.keys() - there - {"customer"}
    width = max(map(len, {*wanted, "up"}))

    def echo(name: str, line: str) -> None:
        say(f"{name:<{width}} | {line}")

    stack = Stack(
        data_dir, environment, services=wanted, ports={name: _port(name, environment) for name in wanted}, echo=echo
    )
    if wanted & {"api", "worker"}:
        seed.prepare_database(stack.environment)
        if "DATABASE_URL" not in environment:
            seed.test_key()
        if "s3" in there - wanted:
            seed.make_bucket()
    try:
        stack.start(_DAY_SECONDS)  # what it waits for may be started by hand, later
        at = ", ".join(f"{service.name} {stack.url(service.name)}".rstrip() for service in stack.services)
        echo("up", f"ready: {at}. Ctrl-C ends.")
        while True:
            stack.check()
            time.sleep(_LOOK_AGAIN_SECONDS)
    except KeyboardInterrupt:
        return 0
    finally:
        end(stack)


def _port(name: str, environment: Mapping[str, str]) -> int:
    service = SERVICES[name]
    if name == "api":
        return api_port(environment)
    if not service.variable:
        return 0
    address = {**embedded(), **environment}[service.variable]
    parts = urlsplit(address)
    if parts.port is None or parts.hostname not in {"127.0.0.1", "localhost"}:
        raise StackError(f"{service.variable}={address} is no port of this machine, so {name} can't be started there.")
    return parts.port
