"""The customer's world in one process: a server for webhooks, which checks signatures, and a stream to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from highlights.launch.services import sample_video
from highlights.media import make_hls
from tldr_observability import log_event, setup

__all__ = ["Event", "Secrets", "create_app"]


class Secrets(BaseModel):
    """The secrets that webhooks may be signed with."""

    secrets: list[str]


class Event(BaseModel):
    """A webhook that came."""

    id: str
    """The same for each attempt."""
    verified: bool
    type: str = ""
    data: dict[str, Any] = {}


def create_app() -> FastAPI:
    """The customer's server; its stream is made in `CUSTOMER_DIR`, the first secrets are in `CUSTOMER_SECRETS`."""
    directory = Path(os.environ["CUSTOMER_DIR"])
    make_hls(sample_video(), directory / "sample")
    app = FastAPI(title="A customer")
    app.mount("/sample", StaticFiles(directory=directory / "sample"))
    # The stream is media, and the demo's own questions are no part of the story.
    setup(app=app, service_name="customer", excluded_paths=("/sample", "/health", "/events", "/secrets"))
    known = Secrets(secrets=os.environ.get("CUSTOMER_SECRETS", "").split())
    events: list[Event] = []

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.put("/secrets", status_code=204)
    def set_secrets(told: Secrets) -> None:
        known.secrets = told.secrets

    @app.get("/events")
    def get_events() -> list[Event]:
        return events

    @app.post("/hooks", status_code=204)
    async def receive(request: Request) -> None:
        message = verified(await request.body(), dict(request.headers), known.secrets)
        said = {name: (message or {})[name] for name in ("type", "data") if name in (message or {})}
        event = Event(id=request.headers.get("webhook-id", ""), verified=message is not None, **said)
        events.append(event)
        if not event.verified:
            raise HTTPException(401, "the signature is not valid")
        log_event("webhook.received", event_type=event.type)

    return app


def verified(body: bytes, headers: dict[str, str], secrets: list[str]) -> dict[str, Any] | None:
    """The message, if one of the secrets signed it, not long ago."""
    for secret in secrets:
        try:
            message: dict[str, Any] = Webhook(secret).verify(body, headers)
        except WebhookVerificationError:
            continue
        return message
    return None
