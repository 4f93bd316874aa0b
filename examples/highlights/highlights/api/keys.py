"""`/api/v1/keys`: an organization's API keys, for keys with the scope `admin`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from highlights import keys
from highlights.api.access import allowed
from highlights.api.paging import Id  # noqa: TC001 - FastAPI reads it
from highlights.database import transaction
from highlights.principal import Principal
from highlights.problems import Conflict
from highlights.schemas import KeyAnswer, KeyList, KeyRequest, NewKeyAnswer
from tldr_observability import log_event

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
Admin = Annotated[Principal, Depends(allowed("admin"))]
_MOST: Final = 100
"""Keys of an organization that aren't revoked."""


@router.post("", status_code=201)
def create_key(principal: Admin, request: KeyRequest, response: Response) -> NewKeyAnswer:
    """Make a key. Its text is told here and never again."""
    with transaction() as session:
        known = keys.api_keys(session, principal.organization_id)
        if sum(key.revoked_at is None for key in known) >= _MOST:
            raise Conflict(f"an organization has at most {_MOST} keys; revoke some", code="too_many_keys")
        made, text = keys.create_key(
            session, principal.organization_id, request.name, request.scopes, expires_at=request.expires_at
        )
    log_event("key.created", created_key_id=made.id)
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewKeyAnswer(**KeyAnswer.model_validate(made).model_dump(), key=text)


@router.get("")
def list_keys(principal: Admin) -> KeyList:
    """All keys of the organization, the newest first."""
    with transaction() as session:
        found = keys.api_keys(session, principal.organization_id)
    return KeyList(keys=[KeyAnswer.model_validate(each) for each in found])


@router.get("/{key_id}")
def get_key(principal: Admin, key_id: Id) -> KeyAnswer:
    """What is known of a key."""
    with transaction() as session:
        return KeyAnswer.model_validate(keys.api_key(session, principal.organization_id, key_id))


@router.delete("/{key_id}", status_code=204)
def revoke_key(principal: Admin, key_id: Id) -> None:
    """Let a key be good for nothing from now on."""
    with transaction() as session:
        keys.revoke_key(session, principal.organization_id, key_id)
    log_event("key.revoked", revoked_key_id=key_id)
