"""One JSON schema out of two, where captured values come at the start of a call and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tldr_observability import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["extended"]


def extended(before: Mapping[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Later attributes, whose schema also tells of the values that the attributes from before hold."""
    known, added = before.get(semconv.LOGFIRE_JSON_SCHEMA), later.get(semconv.LOGFIRE_JSON_SCHEMA)
    if not isinstance(known, str) or not isinstance(added, str):
        return later
    import json  # only for who captures both arguments and result

    whole = json.loads(known)
    whole["properties"] = {**whole.get("properties", {}), **json.loads(added).get("properties", {})}
    return {**later, semconv.LOGFIRE_JSON_SCHEMA: json.dumps(whole, separators=(",", ":"), ensure_ascii=False)}
