"""`/health` says that the process lives, `/ready` whether what it stands on answers."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, Literal

from fastapi import APIRouter
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import BaseModel
from sqlalchemy import text

from highlights.database import engine
from highlights.problems import Unavailable
from highlights.redis_client import redis_client
from highlights.storage import storage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["router"]

_log = logging.getLogger(__name__)
_DEADLINE_SECONDS: Final = 2.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What the service stands on, and whether it answers."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok", "error"]]


class _Check:
    """A question to another service, in a thread of its own: one that hangs holds up neither requests nor the exit.

    Args:
        ask: raises what is wrong.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._asking: Future[None] | None = None
        self._lock = Lock()

    def begin(self) -> Future[None]:
        """Ask, unless an earlier question still waits for its answer."""
        with self._lock:
            if self._asking is None or self._asking.done():
                self._asking = Future()
                Thread(target=self._run, args=(self._asking,), daemon=True).start()
            return self._asking

    def _run(self, answer: Future[None]) -> None:
        try:
            with suppress_instrumentation():
                self._ask()
            answer.set_result(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the service isn't ready
            answer.set_exception(error)


def _ask_database() -> None:
    with engine().connect() as connection:
        connection.execute(text("SELECT 1"))


_CHECKS: Final = {
    "database": _Check(_ask_database),
    "redis": _Check(lambda: redis_client().ping()),
    "storage": _Check(lambda: storage().check()),
}


@router.get("/health")
def health() -> Health:
    """Answer, which is all there is to it."""
    return Health()


@router.get("/ready")
def ready() -> Readiness:
    """Whether database, Redis and storage answer within two seconds."""
    asked = {name: check.begin() for name, check in _CHECKS.items()}
    wait(asked.values(), timeout=_DEADLINE_SECONDS)
    checks: dict[str, Literal["ok", "error"]] = {}
    for name, answer in asked.items():
        error = answer.exception() if answer.done() else TimeoutError(f"no answer in {_DEADLINE_SECONDS:g} s")
        checks[name] = "error" if error else "ok"
        if error:
            _log.warning("%s is away: %s", name, type(error).__name__)
    away = [name for name, word in checks.items() if word == "error"]
    if away:
        raise Unavailable(f"away: {', '.join(away)}", checks=checks)
    return Readiness(checks=checks)
