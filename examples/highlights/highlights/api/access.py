"""Who may use an endpoint: `Depends(allowed("streams:read"))` gives the endpoint its principal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from highlights.database import transaction
from highlights.keys import authenticate
from highlights.problems import Forbidden, Unauthorized
from highlights.quota import check_rate
from highlights.redis_client import redis_client
from tldr_observability import add_user_context, metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from highlights.principal import Principal

__all__ = ["allowed"]

_BEARER: Final = re.compile(r"bearer +([a-z0-9._~+/-]{1,256}=*)", re.IGNORECASE | re.ASCII)
_documented = HTTPBearer(auto_error=False, description="An API key, `hl_...`")


def allowed(scope: str) -> Callable[..., Principal]:
    """A dependency that lets in who has a key for `scope`, and room for one more request this minute."""

    def principal(request: Request, _: Annotated[Any, Depends(_documented)]) -> Principal:
        with transaction() as session:
            found = authenticate(session, _key(request))
        # For the middlewares around, which see the scope alone.
        request.state.principal = found
        add_user_context(organization_id=found.organization_id, api_key_id=found.api_key_id)
        endpoint = request.scope["route"].path
        metrics.increment_api_key_usage(found.api_key_id, found.organization_id, endpoint)
        check_rate(redis_client(), found, endpoint)
        if scope not in found.scopes:
            raise Forbidden(f"the API key lacks the scope {scope}", code="missing_scope", scope=scope)
        return found

    return principal


def _key(request: Request) -> str:
    given = request.headers.getlist("authorization")
    if len(given) == 1 and (match := _BEARER.fullmatch(given[0])):
        return match[1]
    raise Unauthorized("send the header `Authorization: Bearer <API key>`, once")
