"""Whether the backends answer, asked of all of them at once and within one deadline."""

from __future__ import annotations

import gzip
import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import requests
from requests.exceptions import InvalidHeader

import tldr_observability
from tldr_observability.cli.diagnosis import secrets
from tldr_observability.cli.diagnosis.findings import SECONDS, Finding, Trouble, listed, read, rejected, summary
from tldr_observability.export.deliver import Answer, Delivery, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tldr_observability.export.destination import Destination

__all__ = ["Endpoint", "ask"]

T = TypeVar("T")

_MOST_INFO_BYTES = 64 * 1024
_MOST_NAME_CHARACTERS = 100
_EMPTY = gzip.compress(b"", mtime=0)
"""An OTLP request that carries nothing has no bytes."""
_DENIED = {401, 403}


class Endpoint(NamedTuple):
    """One backend and how it answered."""

    name: str
    """Its host and port."""
    kind: str
    """`logfire` or `otlp`."""
    ok: bool
    """Whether it takes everything that would be sent to it."""
    detail: str
    """How it answered, in a sentence for people."""
    fix: str
    """What to do about it; empty when all is well."""
    project: str | None
    """The Logfire project that the token writes to, where the backend says so."""
    signals: Mapping[str, str]
    """What became of an empty request, by signal: `taken` or why not."""


def ask(destinations: Sequence[Destination], token_variable: str) -> list[Endpoint]:
    """Ask all destinations, side by side, and give each of them three seconds in total.

    Args:
        destinations: whom to ask.
        token_variable: where the tokens for Logfire came from.
    """
    deadline = time.monotonic() + SECONDS
    visits = [_Visit(destination, token_variable) for destination in destinations]
    return _numbered([visit.conclude(deadline) for visit in visits])


def _numbered(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Tell apart the projects of one Logfire region by the place of their token."""
    keys = [(endpoint.kind, endpoint.name) for endpoint in endpoints]
    return [
        endpoint._replace(name=f"{endpoint.name} (token {keys[:place].count(key) + 1})")
        if keys.count(key) > 1
        else endpoint
        for place, (key, endpoint) in enumerate(zip(keys, endpoints, strict=True))
    ]


class _Errand(Generic[T]):
    """Work in a thread of its own, which nobody waits for beyond a deadline: a backend may drip its answer for ever."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._answer: list[T] = []
        self._thread = threading.Thread(target=self._run, name="tldr-obs-doctor", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._answer.append(self._work())

    def result(self, deadline: float) -> T | None:
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        return self._answer[0] if self._answer else None


class _Info(NamedTuple):
    """The answer to the question which project a token belongs to."""

    status: int
    project: str | None = None


class _Visit:
    """The questions to one destination, under way from the start."""

    def __init__(self, destination: Destination, token_variable: str) -> None:
        self._destination = destination
        self._is_logfire = destination.token_variable == "LOGFIRE_TOKEN"  # noqa: S105 - the variable's name
        self._token_variable = token_variable if self._is_logfire else destination.token_variable
        self._info = _Errand(partial(_get_info, destination)) if self._is_logfire else None
        self._posts = {signal: _Errand(partial(_post, destination, signal)) for signal in destination.urls}

    def conclude(self, deadline: float) -> Endpoint:
        """What they came to; what has no answer at the deadline counts as silence."""
        info = self._info.result(deadline) if self._info else None
        findings = {signal: read(post.result(deadline)) for signal, post in self._posts.items()}
        if info and info.status in _DENIED:
            findings = dict.fromkeys(findings, rejected(info.status))
        ok = not any(finding.trouble for finding in findings.values())
        return Endpoint(
            name=secrets.host(next(iter(self._destination.urls.values()))),
            kind="logfire" if self._is_logfire else "otlp",
            ok=ok,
            detail=self._praise(info) if ok else summary(findings),
            fix="" if ok else self._fix(findings),
            project=info.project if info else None,
            signals={signal: finding.said for signal, finding in findings.items()},
        )

    def _praise(self, info: _Info | None) -> str:
        takes = f"takes {listed(list(self._posts))}"
        if not self._is_logfire:
            return takes
        if info and info.project:
            return f"token accepted, project {info.project}, {takes}"
        return f"token accepted, {takes}"

    def _fix(self, findings: Mapping[str, Finding]) -> str:
        troubles = {signal: finding.trouble for signal, finding in findings.items() if finding.trouble}
        if Trouble.TOKEN in troubles.values():
            return f"check {self._token_variable}"
        if Trouble.BACKEND in troubles.values():
            return "the trouble is the backend's: try again later"
        if set(troubles.values()) == {Trouble.NOT_SERVED} and len(troubles) < len(findings) and not self._is_logfire:
            return "type: export " + " ".join(f"OTEL_{signal.upper()}_EXPORTER=none" for signal in troubles)
        return f"check {'LOGFIRE_BASE_URL' if self._is_logfire else 'OTEL_EXPORTER_OTLP_ENDPOINT'} and the network"


def _post(destination: Destination, signal: str) -> Outcome:
    try:
        return Delivery(destination, _user_agent()).post(signal, _EMPTY)
    except UnicodeError:
        return Outcome(Answer.REFUSED, InvalidHeader.__name__)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other endpoints have their turn
        return Outcome(Answer.REFUSED, type(error).__name__)


def _get_info(destination: Destination) -> _Info | None:
    """Ask Logfire's question; None where there is no answer, which `_post` will explain."""
    base = next(iter(destination.urls.values())).rpartition("/v1/")[0]
    try:
        with requests.get(
            f"{base}/v1/info",
            headers={**destination.headers, "User-Agent": _user_agent()},
            timeout=SECONDS,
            allow_redirects=False,  # a redirect to another host would take the token along
            auth=_keep_headers,
            stream=True,
        ) as response:
            return _Info(response.status_code, _project(response) if response.ok else None)
    except Exception:  # noqa: BLE001 - see the summary
        return None


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an `auth` of its own requests would replace our Authorization by what ~/.netrc says for the host.
    return request


def _project(response: requests.Response) -> str | None:
    deadline = time.monotonic() + SECONDS
    data = b""
    while len(data) < _MOST_INFO_BYTES and time.monotonic() < deadline:
        chunk = response.raw.read1(_MOST_INFO_BYTES, decode_content=True)
        if not chunk:
            break
        data += chunk
    try:
        name = json.loads(data)["project_name"]
    except (ValueError, KeyError, TypeError):
        return None
    return name[:_MOST_NAME_CHARACTERS] if isinstance(name, str) and name.isprintable() else None


def _user_agent() -> str:
    return f"tldr-observability/{tldr_observability.__version__}"
