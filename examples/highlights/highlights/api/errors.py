"""Every error as `application/problem+json`, RFC 9457, in the answers and in the documentation."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import kombu.exceptions
import redis.exceptions
import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from highlights.addresses import ForbiddenAddress
from highlights.problems import InvalidRequest, Problem, Unavailable
from highlights.schemas import ProblemAnswer
from tldr_observability import current_span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

__all__ = ["RESPONSES", "answer_with_problems"]

_log = logging.getLogger(__name__)

_MEDIA_TYPE: Final = "application/problem+json"
_LONGEST_WHERE = 200
_MOST_ERRORS = 20

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ProblemAnswer, "description": description}
    for status, description in {
        401: "No API key, or none that is valid",
        403: "The key lacks the scope, or the organization is not active",
        404: "Not there",
        409: "Not possible in the state that the thing is in",
        413: "The body is too large",
        422: "The request is not valid",
        429: "The plan's limit is reached",
        503: "Something that the service stands on is away",
    }.items()
}
"""What any endpoint may answer."""

_AWAY: Final = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    kombu.exceptions.OperationalError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)


def answer_with_problems(app: FastAPI) -> None:
    """Let `app` answer every error as a problem, and say so in its OpenAPI document."""
    handlers: dict[type[Exception], Any] = {
        Problem: _problem,
        RequestValidationError: _invalid,
        ForbiddenAddress: _forbidden_address,
        HTTPException: _http,
        **dict.fromkeys(_AWAY, _away),
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    document = app.openapi
    app.openapi = lambda: _documented(document())  # type: ignore[method-assign]


def _answer(  # noqa: PLR0913 - the members of a problem
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    members = {"type": f"urn:problem-type:highlights:{code}", "title": title, "status": status, "detail": detail}
    return JSONResponse({**members, "code": code, **(more or {})}, status, headers, _MEDIA_TYPE)


async def _problem(_: Request, problem: Problem) -> JSONResponse:
    return _answer(
        problem.status, problem.code, problem.title, problem.detail, more=problem.more, headers=problem.headers
    )


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    # What was sent is not repeated: a key in the wrong place stays with who sent it.
    errors = [
        {"where": ".".join(map(str, each["loc"]))[:_LONGEST_WHERE], "message": each["msg"]}
        for each in error.errors()[:_MOST_ERRORS]
    ]
    detail = "; ".join(f"{each['where']}: {each['message']}" for each in errors)
    return await _problem(request, InvalidRequest(detail, errors=errors))


async def _forbidden_address(request: Request, error: ForbiddenAddress) -> JSONResponse:
    return await _problem(request, InvalidRequest(error.reason, code="invalid_url"))


async def _http(_: Request, error: HTTPException) -> JSONResponse:
    title = HTTPStatus(error.status_code).phrase
    return _answer(error.status_code, title.lower().replace(" ", "_"), title, str(error.detail), headers=error.headers)


async def _away(request: Request, error: Exception) -> JSONResponse:
    current_span().record_exception(error)
    _log.error("Something that the service stands on is away", exc_info=error)
    return await _problem(request, Unavailable("the service can't do this now"))


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    return await _problem(request, Problem("this is our fault, and we have been told of it"))


def _documented(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "400" and "application/json" in response.get("content", {}):
                    response["content"][_MEDIA_TYPE] = response["content"].pop("application/json")
    return document
