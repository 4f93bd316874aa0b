"""`/api/v1/usage`: what the organization has used of its plan this month."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from highlights import quota
from highlights.api.access import allowed
from highlights.database import transaction
from highlights.principal import Principal  # noqa: TC001 - FastAPI reads it
from highlights.schemas import UsageAnswer

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])


@router.get("")
def get_usage(principal: Annotated[Principal, Depends(allowed("usage:read"))]) -> UsageAnswer:
    """What the organization has used since the month began, and what its plan allows."""
    with transaction() as session:
        return UsageAnswer.model_validate(quota.usage(session, principal.organization_id, principal.plan))
