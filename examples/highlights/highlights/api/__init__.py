"""The API: `highlights.api:app` for any ASGI server, `python -m highlights.api` for one of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from opentelemetry.instrumentation.utils import suppress_instrumentation
from starlette.concurrency import run_in_threadpool

from highlights.api import errors, health, keys, streams, usage, webhooks
from highlights.api.body_limit import BodyLimit
from highlights.api.metering import Metering
from highlights.database import create_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["create_app"]

_MOST_BODY_BYTES = 65_536


def create_app() -> FastAPI:
    """The application; it needs its settings when it starts, not before."""
    app = FastAPI(
        title="Highlights",
        description="Send the address of a stream, get its highlights as clips.",
        lifespan=_lifespan,
        redirect_slashes=False,
        responses=errors.RESPONSES,
    )
    app.add_middleware(BodyLimit, most_bytes=_MOST_BODY_BYTES)
    app.add_middleware(Metering)
    for part in (streams, webhooks, keys, usage, health):
        app.include_router(part.router)
    errors.answer_with_problems(app)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    with suppress_instrumentation():
        await run_in_threadpool(create_tables)
    yield


def __getattr__(name: str) -> FastAPI:
    """Make `app`, observed, when a server asks for it: importing a part of this package shall start nothing."""
    if name != "app":
        raise AttributeError(name)
    from highlights.telemetry import observe

    app = globals()["app"] = create_app()
    observe("api", app=app)
    return app
