"""How an attribute is to be read, by its key."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["Reading", "reading_of"]


class Reading(Enum):
    """What the value of an attribute is."""

    TECHNICAL = auto()
    """Written by machinery, and read by it: left alone."""
    TEXT = auto()
    """Free text whose key says nothing of secrets."""
    NAMED = auto()
    """Free text, and a secret as a whole if its key says so."""
    HEADER = auto()
    QUERY = auto()
    URL = auto()
    PATH = auto()
    BODY = auto()
    STATEMENT = auto()
    PARAMETERS = auto()
    """What was bound to a statement: withheld."""


_EXACT: Final = {
    "code.filepath": Reading.TECHNICAL,
    "code.function": Reading.TECHNICAL,
    "code.lineno": Reading.TECHNICAL,
    "code.stacktrace": Reading.TEXT,
    "db.query.text": Reading.STATEMENT,
    "db.statement": Reading.STATEMENT,
    "db.statement.parameters": Reading.PARAMETERS,
    "db.query.parameters": Reading.PARAMETERS,
    "http.request.body.text": Reading.BODY,
    "http.response.body.text": Reading.BODY,
    "http.route": Reading.TECHNICAL,
    "http.target": Reading.URL,
    "http.url": Reading.URL,
    "logfire.json_schema": Reading.TECHNICAL,
    "logfire.level_num": Reading.TECHNICAL,
    "logfire.metrics": Reading.TECHNICAL,
    "logfire.package_versions": Reading.TECHNICAL,
    "logfire.pending_parent_id": Reading.TECHNICAL,
    "logfire.sample_rate": Reading.TECHNICAL,
    "logfire.span_type": Reading.TECHNICAL,
    "messaging.message.id": Reading.TECHNICAL,
    "url.fragment": Reading.QUERY,
    "url.full": Reading.URL,
    "url.path": Reading.PATH,
    "url.query": Reading.QUERY,
}
_BEGINNINGS: Final = (
    ("code.", Reading.TECHNICAL),
    ("logfire.", Reading.TEXT),
    ("tldr.", Reading.TEXT),
    ("db.query.parameter.", Reading.PARAMETERS),
    ("db.operation.parameter.", Reading.PARAMETERS),
    ("http.request.header.", Reading.HEADER),
    ("http.response.header.", Reading.HEADER),
    ("rpc.request.metadata.", Reading.HEADER),
    ("rpc.response.metadata.", Reading.HEADER),
    ("rpc.grpc.request.metadata.", Reading.HEADER),
    ("rpc.grpc.response.metadata.", Reading.HEADER),
)


def reading_of(key: str) -> Reading:
    """How the value under this key is to be read."""
    exact = _EXACT.get(key)
    if exact is not None:
        return exact
    return next((reading for beginning, reading in _BEGINNINGS if key.startswith(beginning)), Reading.NAMED)
