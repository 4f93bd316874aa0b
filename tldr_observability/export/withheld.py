"""The texts of one item that an attribute of it is withheld for, and the item's attributes without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes

from tldr_observability.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["bounded", "withheld", "without"]

_SHORTEST_SECRET: Final = 4


def bounded(attributes: Mapping[str, Any], before: Any) -> BoundedAttributes:
    """Attributes that remember how many were dropped, as the ones before them did."""
    after = BoundedAttributes(attributes=dict(attributes), immutable=False, extended_attributes=True)
    after.dropped = getattr(before, "dropped", 0)
    return after


def withheld(before: Mapping[str, Any], after: Mapping[str, Any]) -> Collection[str]:
    """The texts that were withheld whole, and are long enough to be told from any other word."""
    return {
        value
        for key, value in before.items()
        if after[key] == REDACTED and isinstance(value, str) and len(value) >= _SHORTEST_SECRET and value != REDACTED
    }


def without(attributes: Mapping[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    """The attributes with these texts taken out of every other text."""
    clean = dict(attributes)
    for key, value in attributes.items():
        if isinstance(value, str):
            for secret in secrets:
                if secret in value:
                    clean[key] = value = value.replace(secret, REDACTED)  # noqa: PLW2901 - one after the other
    return clean
