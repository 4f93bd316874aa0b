"""API keys: made once, told once, kept as hashes, and gone when revoked."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from highlights.models import ApiKey, Organization, now
from highlights.principal import Principal
from highlights.problems import Forbidden, NotFound, Unauthorized
from highlights.quota import PLANS
from highlights.settings import settings
from tldr_observability import traced_repository_method

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = ["SCOPES", "api_key", "api_keys", "authenticate", "create_key", "create_organization", "revoke_key"]

SCOPES: Final = ("streams:read", "streams:write", "highlights:read", "webhooks", "usage:read", "admin")

_BYTES = 32


def create_organization(session: Session, name: str, plan: str = "free") -> Organization:
    """A new customer on one of `quota.PLANS`."""
    if plan not in PLANS:
        raise ValueError(f"plan: expected one of {', '.join(PLANS)}, got {plan!r}")
    organization = Organization(name=name, plan=plan)
    session.add(organization)
    session.flush()
    return organization


def create_key(  # noqa: PLR0913 - what a key consists of
    session: Session,
    organization_id: str,
    name: str,
    scopes: Collection[str],
    *,
    key: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key of an organization, and its text, which nobody can find out again.

    Args:
        session: the caller's transaction.
        organization_id: whose.
        name: what the customer calls it.
        scopes: what it is good for.
        key: the text, where it is agreed on, as in demonstrations; otherwise random.
        expires_at: from when on it isn't valid any more.
    """
    if unknown := set(scopes) - set(SCOPES):
        raise ValueError(f"scopes: expected some of {', '.join(SCOPES)}, got {', '.join(sorted(unknown))}")
    text = key or f"hl_{secrets.token_urlsafe(_BYTES)}"
    made = ApiKey(
        organization_id=organization_id,
        name=name,
        hash=_hash(text),
        scopes=[each for each in SCOPES if each in scopes],
        expires_at=expires_at,
    )
    session.add(made)
    session.flush()
    return made, text


@traced_repository_method
def api_keys(session: Session, organization_id: str) -> list[ApiKey]:
    """All keys of an organization, the newest first, revoked ones too."""
    query = select(ApiKey).where(ApiKey.organization_id == organization_id).order_by(ApiKey.created_at.desc())
    return list(session.scalars(query))


@traced_repository_method
def api_key(session: Session, organization_id: str, key_id: str) -> ApiKey:
    """One of the organization's keys; NotFound if it has none of this id."""
    found = session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.organization_id == organization_id))
    if found is None:
        raise NotFound("there is no such key")
    return found


def revoke_key(session: Session, organization_id: str, key_id: str) -> ApiKey:
    """Let a key be good for nothing, from the next request on; a second time changes nothing."""
    revoked = api_key(session, organization_id, key_id)
    revoked.revoked_at = revoked.revoked_at or now()
    return revoked


def authenticate(session: Session, key: str) -> Principal:
    """Who it is that sent this key.

    Raises:
        Unauthorized: nobody's key, or one that is revoked or expired; which of them is nobody's business.
        Forbidden: the key is good, but its organization is not active.
    """
    query = select(ApiKey, Organization).join(Organization).where(ApiKey.hash == _hash(key))
    found = session.execute(query).one_or_none()
    if found is None:
        raise Unauthorized("the API key is not valid")
    known, organization = found
    if known.revoked_at is not None or (known.expires_at is not None and known.expires_at <= now()):
        raise Unauthorized("the API key is not valid")
    if not organization.active:
        raise Forbidden("the organization is not active", code="organization_inactive")
    return Principal(organization.id, known.id, organization.plan, frozenset(known.scopes))


def _hash(key: str) -> str:
    # Keys are random, 256 bits: nothing is gained by a slow hash, which every request would wait for.
    return hmac.new(settings().secret_pepper.get_secret_value().encode(), key.encode(), "sha256").hexdigest()
