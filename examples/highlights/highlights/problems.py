"""What can be wrong with a request, as RFC 9457 problems: a status, a code for programs and a sentence for people."""

from __future__ import annotations

from starlette.exceptions import HTTPException

__all__ = [
    "Conflict",
    "Forbidden",
    "InvalidRequest",
    "NotFound",
    "Problem",
    "QuotaExceeded",
    "Unauthorized",
    "Unavailable",
]


class Problem(HTTPException):
    """A request that is answered with `application/problem+json`.

    It is an HTTPException, so that telemetry knows whose fault it is: one below 500 is no error of the service.

    Args:
        detail: what is wrong with this request, for people.
        code: for programs, from a bounded set; the class's own where None.
        headers: of the answer, beside the usual ones.
        more: further members of the answer.
    """

    status = 500
    code = "internal_error"
    title = "The service failed"

    def __init__(
        self, detail: str, *, code: str | None = None, headers: dict[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(self.status, detail, headers)
        self.code = code or type(self).code
        self.more = more


class Unauthorized(Problem):
    """No key, or none that is known and valid."""

    status, code, title = 401, "unauthorized", "A valid API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """A valid key that isn't for this."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(Problem):
    """Not there, or another organization's, which is the same to the asker."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(Problem):
    """It can't be done in the state that the thing is in."""

    status, code, title = 409, "conflict", "Not possible now"


class InvalidRequest(Problem):
    """A request that will never be right."""

    status, code, title = 422, "invalid_request", "The request is not valid"


class QuotaExceeded(Problem):
    """More than the plan allows.

    Args:
        quota: `concurrent_streams`, `minutes_per_month` or `requests_per_minute`.
        used: how much of it is used.
        limit: how much there is.
        retry_after: seconds until it may work again, where that is known.
    """

    status, code, title = 429, "quota_exceeded", "The plan's limit is reached"

    def __init__(self, quota: str, used: float, limit: float, *, retry_after: int | None = None) -> None:
        super().__init__(
            f"{used:g} of {limit:g} {quota.replace('_', ' ')} are used",
            headers=None if retry_after is None else {"Retry-After": str(retry_after)},
            quota=quota,
            used=used,
            limit=limit,
        )
        self.quota, self.used, self.limit, self.retry_after = quota, used, limit, retry_after


class Unavailable(Problem):
    """Something that this service stands on is away."""

    status, code, title = 503, "unavailable", "Try again later"

    def __init__(self, detail: str, *, code: str | None = None, **more: object) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": "5"}, **more)
