"""The service as its customer's program sees it: HTTP with a key, and what the customer's own server got."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["ApiError", "Client"]

_EVENTS = ("stream.started", "stream.completed", "stream.failed", "stream.cancelled", "highlight.detected")
_SECONDS = 15.0


class ApiError(Exception):
    """The API refused something; the message is its own."""


class Client:
    """A program of a customer's.

    Args:
        api: the address of the API.
        key: the customer's.
        server: the address of the customer's own server.
    """

    def __init__(self, api: str, key: str, server: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._api = httpx.Client(base_url=f"{api}/api/v1", headers=headers, timeout=_SECONDS, trust_env=False)
        self._server = httpx.Client(base_url=server, timeout=_SECONDS, trust_env=False)

    def expect_webhooks(self) -> None:
        """Let the service tell the customer's server of everything, and the server know whose signature that has."""
        asked = {"url": str(self._server.base_url.join("/hooks")), "events": list(_EVENTS)}
        secret = _body(self._api.post("/webhooks", json=asked))["secret"]
        self._server.put("/secrets", json={"secrets": [secret]}).raise_for_status()

    def start(self, wanted: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Send a stream; it, and the id of the request's trace (empty where nothing is traced)."""
        answer = self._api.post("/streams", json=wanted)
        parts = answer.headers.get("traceresponse", "").split("-")
        return _body(answer), parts[1] if len(parts) > 1 else ""

    def stream(self, stream_id: str) -> dict[str, Any]:
        """How far it is."""
        found: dict[str, Any] = _body(self._api.get(f"/streams/{stream_id}"))
        return found

    def stop(self, stream_id: str) -> None:
        """End it; that it has ended meanwhile is fine."""
        answer = self._api.post(f"/streams/{stream_id}/stop")
        if answer.status_code != httpx.codes.CONFLICT:
            _body(answer)

    def highlights(self, stream_id: str) -> list[dict[str, Any]]:
        """What was found."""
        found: list[dict[str, Any]] = _body(self._api.get(f"/streams/{stream_id}/highlights"))["highlights"]
        return found

    def events(self, stream_id: str) -> list[dict[str, Any]]:
        """The webhooks about a stream that came to the customer's server, each once, and those that nobody signed."""
        events: list[dict[str, Any]] = self._server.get("/events").raise_for_status().json()
        wanted = (each for each in events if not each["verified"] or each["data"].get("stream_id") == stream_id)
        return list({each["id"]: each for each in wanted}.values())


def _body(answer: httpx.Response) -> Any:
    if answer.is_error:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        said = problem.get("detail") or answer.reason_phrase
        raise ApiError(f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {said}")
    return answer.json()
