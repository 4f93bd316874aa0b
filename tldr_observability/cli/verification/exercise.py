"""The exercise of an app: requests of which each has a trace id of its own, known before its trace arrives."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from tldr_observability.cli.verification import routes
from tldr_observability.cli.verification.trouble import CannotRunError
from tldr_observability.cli.verification.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["App", "Exercised", "Request", "Sent", "exercise", "parse_headers", "parse_request", "parse_url"]

_REQUEST_SECONDS = 10.0
_MOST_ANSWER_BYTES = 8 * 1024 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Request(NamedTuple):
    """What to ask the app."""

    method: str
    path: str
    """With its query, if any."""
    body: bytes | None = None
    """JSON."""

    def __str__(self) -> str:
        """Method and path; a query may hold a secret."""
        return f"{self.method} {self.path.partition('?')[0]}"


class Sent(NamedTuple):
    """A request and how it was answered."""

    request: Request
    trace_id: str
    status: int | None = None
    """None where no answer came."""
    problem: str = ""
    """Why not."""

    def __str__(self) -> str:
        return f"{self.request} ({self.status or self.problem})"


@dataclass(frozen=True)
class Exercised:
    """The requests that were sent."""

    url: str | None = None
    """None where others cause the telemetry."""
    sent: Sequence[Sent] = ()
    skipped: Sequence[str] = ()
    """Routes that leave no trace by default."""
    suggestions: Mapping[str, str] = field(default_factory=dict)
    """By what it may cause, `task` or `error`, a request worth trying."""


class _Answer(NamedTuple):
    status: int | None
    body: bytes = b""
    problem: str = ""


def parse_url(text: str) -> str:
    """The app's base URL.

    Raises:
        CannotRunError: it is none, or holds credentials.
    """
    try:
        url = urlsplit(text)
        is_http = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_http = False
    if not is_http or not text.isprintable() or any(character.isspace() for character in text):
        raise CannotRunError("URL: expected the app's address, such as http://127.0.0.1:8000")
    if url.username is not None or url.password is not None:
        raise CannotRunError("URL: expected no user and password in it; use --header 'Authorization: ...'")
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


def parse_request(text: str) -> Request:
    """Read `METHOD /path [JSON body]`.

    Raises:
        CannotRunError: it is none.
    """
    method, _, rest = text.strip().partition(" ")
    path, _, body = rest.strip().partition(" ")
    if not (_TOKEN.fullmatch(method) and path.startswith("/") and path.isprintable()):
        raise CannotRunError(
            "--request: expected 'METHOD /path [JSON body]', such as 'POST /orders {\"item\": \"tea\"}'"
        )
    request = Request(method.upper(), path, body.strip().encode("utf-8", "replace") or None)
    if request.body is not None:
        try:
            json.loads(request.body)
        except (ValueError, RecursionError):
            raise CannotRunError(f"--request: expected JSON behind {request}; mind the shell's quotes") from None
    return request


def parse_headers(texts: Sequence[str]) -> dict[str, str]:
    """Read `Name: value` of each; a value is never repeated in a message.

    Raises:
        CannotRunError: one is no header.
    """
    headers: dict[str, str] = {}
    for number, text in enumerate(texts, start=1):
        name, colon, value = text.partition(":")
        if not (colon and _TOKEN.fullmatch(name) and value.isascii() and value.strip().isprintable()):
            raise CannotRunError(
                f"--header: expected 'Name: value' in visible ASCII characters, the {number}. is not so"
            )
        headers[name] = value.strip()
    return headers


class App:
    """The app under test; no answer of it holds us up beyond a deadline.

    Args:
        url: without a trailing slash.
        headers: sent with every request, but for a `traceparent`: that is ours.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self._headers = CaseInsensitiveDict(headers)

    def ask(self, request: Request, deadline: float, trace_id: str | None = None) -> _Answer:
        """Send a request and read its answer, at most until the deadline."""
        result = [_Answer(None, problem="no answer in time")]
        thread = threading.Thread(
            target=self._ask, args=(request, deadline, trace_id, result), name="tldr-obs-verify", daemon=True
        )
        thread.start()
        # requests bounds the pauses within an answer, not the whole of one.
        thread.join(max(deadline - time.monotonic(), 0.0) + 0.5)
        return result[0]

    def _ask(self, request: Request, deadline: float, trace_id: str | None, result: list[_Answer]) -> None:
        headers = self._headers.copy()
        if trace_id is not None:
            headers["traceparent"] = f"00-{trace_id}-{secrets.token_hex(8)}-01"
        if request.body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            with requests.request(
                request.method,
                f"{self.url}{request.path}",
                headers=headers,
                data=request.body,
                timeout=max(deadline - time.monotonic(), 0.01),
                allow_redirects=False,  # a redirect to another host would take the headers along
                auth=_keep_headers,
                stream=True,
            ) as response:
                result[0] = _Answer(response.status_code)
                result[0] = _Answer(response.status_code, _read(response, deadline))
        except Exception as error:  # noqa: BLE001 - whatever an app answers, the next request has its turn
            if result[0].status is None:
                result[0] = _Answer(None, problem=_reason(error))


def exercise(app: App, wanted: Sequence[Request], *, seconds: float, progress: Callable[[str], None]) -> Exercised:
    """Send the requests, or where none are given one to each route that its schema lists and that needs no more.

    Args:
        app: whom to ask.
        wanted: in this order.
        seconds: for all of them.
        progress: told which one is under way.

    Raises:
        CannotRunError: the app doesn't answer, or says nothing of its routes.
    """
    deadline = time.monotonic() + seconds
    found = routes.Routes() if wanted else _discover(app, deadline)
    sent = []
    for request in wanted or [Request("GET", path) for path in found.plain]:
        progress(shown(request))
        trace_id = secrets.token_hex(16)
        left = deadline - time.monotonic()
        if left <= 0:
            sent.append(Sent(request, trace_id, None, "not sent: out of time, see --timeout"))
            continue
        answer = app.ask(request, min(deadline, time.monotonic() + _REQUEST_SECONDS), trace_id)
        sent.append(Sent(request, trace_id, answer.status, answer.problem))
        if answer.status is None and len(sent) == 1 and answer.problem in _AWAY:
            break
    if all(each.status is None for each in sent):
        raise CannotRunError(f"{app.url} does not answer: {sent[0].problem}; start the app, then type this again")
    return Exercised(app.url, sent, found.untraced, found.suggestions)


def _discover(app: App, deadline: float) -> routes.Routes:
    schema = Request("GET", "/openapi.json")
    answer = app.ask(schema, min(deadline, time.monotonic() + _REQUEST_SECONDS))
    if answer.status is None:
        raise CannotRunError(f"{app.url} does not answer: {answer.problem}; start the app, then type this again")
    found = routes.read(answer.body) if answer.status == requests.codes.ok else routes.Routes()
    if not found.plain:
        why = (
            f"status {answer.status}" if answer.status != requests.codes.ok else "no GET route without parameters in it"
        )
        raise CannotRunError(f"{app.url}/openapi.json: {why}; say what to ask, such as --request 'GET /orders'")
    return found


def _read(response: requests.Response, deadline: float) -> bytes:
    """The answer's body, as far as it comes before the deadline."""
    data = b""
    while len(data) < _MOST_ANSWER_BYTES and time.monotonic() < deadline:
        chunk = response.raw.read1(_MOST_ANSWER_BYTES, decode_content=True)
        if not chunk:
            break
        data += chunk
    return data


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an `auth` of its own requests would replace the Authorization header by what ~/.netrc says for the host.
    return request


_REFUSED, _UNKNOWN, _CERTIFICATE = "connection refused", "its name can't be resolved", "its certificate is not trusted"
_AWAY = frozenset({_REFUSED, _UNKNOWN, _CERTIFICATE})


def _reason(error: Exception) -> str:
    """What went wrong, in our own words: an exception's own may repeat a header."""
    said = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return _CERTIFICATE
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if "NameResolutionError" in said or "gaierror" in said:
        return _UNKNOWN
    if "ConnectionRefusedError" in said or "Connection refused" in said:
        return _REFUSED
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection broke"
    return f"no valid answer ({type(error).__name__})"
