"""Ids in paths, and lists in pages: `limit` things, `before` the last one of the page before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator

from highlights.problems import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Before", "Id", "Limit", "page"]


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Thing = TypeVar("_Thing", bound=_HasId)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound("there is nothing with this id") from None


Id = Annotated[str, AfterValidator(_uuid)]
"""What is no id at all is as unknown as an unknown one, and no business of the database."""
Before = Annotated[Id | None, Query(description="The id that ended the page before")]
Limit = Annotated[int, Query(ge=1, le=100)]


def page(found: Sequence[_Thing], limit: int) -> tuple[Sequence[_Thing], str | None]:
    """The first `limit` things, and the id to go on from where there are more."""
    return found[:limit], found[limit - 1].id if len(found) > limit else None
