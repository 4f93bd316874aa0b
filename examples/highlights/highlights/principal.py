"""Who asks: what an API key says about the program that sent it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An organization's program, known by its key.

    Args:
        organization_id: on whose behalf it asks.
        api_key_id: the id of the key, never the key.
        plan: a key of `quota.PLANS`.
        scopes: what the key is good for, of `keys.SCOPES`.
    """

    organization_id: str
    api_key_id: str
    plan: str
    scopes: frozenset[str]
