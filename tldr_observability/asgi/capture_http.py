"""Headers and bodies as span attributes: only what was asked for, only so much, without holding anything up."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from tldr_observability.asgi import headers as h
from tldr_observability.asgi import withheld
from tldr_observability.asgi.text import bounded

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Body", "header_attributes"]

MAX_HEADERS = 64
MAX_NAME_LENGTH = 128
MAX_VALUE_BYTES = 1024
MAX_BODY_BYTES = 10 * 1024
_TEXTUAL = (
    b"text/",
    b"application/json",
    b"application/x-www-form-urlencoded",
    b"application/xml",
    b"application/javascript",
)
_TEXTUAL_ENDINGS = (b"+json", b"+xml", b"json-seq", b"ndjson", b"jsonlines", b"json-lines")


def header_attributes(prefix: str, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """The headers as `<prefix>.<name>`, each a list of its values; sensitive ones show only that they were there."""
    attributes: dict[str, list[str]] = {}
    for index, (raw, value) in enumerate(headers):
        if index >= MAX_HEADERS:
            break
        name = bounded(raw, MAX_NAME_LENGTH).lower()
        # More is looked at than is kept, so that no secret is cut to something that doesn't look like one.
        shown = bounded(withheld.header(name, bounded(value, 4 * MAX_VALUE_BYTES)), MAX_VALUE_BYTES)
        attributes.setdefault(f"{prefix}.{name}", []).append(shown)
    return attributes


class Body:
    """Keeps the beginning of a body as it streams by."""

    __slots__ = ("_data", "truncated")

    def __init__(self) -> None:
        self._data = bytearray()
        self.truncated = False

    @classmethod
    def of(cls, headers: h.Headers) -> Body | None:
        """A place for a body with these headers; None when it is not plain text."""
        kind = h.first(headers, h.CONTENT_TYPE)[:MAX_VALUE_BYTES].partition(b";")[0].strip().lower()
        if h.first(headers, h.CONTENT_ENCODING) not in (b"", b"identity"):
            return None
        return cls() if kind.startswith(_TEXTUAL) or kind.endswith(_TEXTUAL_ENDINGS) else None

    def feed(self, chunk: bytes) -> None:
        """Keep as much of a chunk as there is room for."""
        room = MAX_BODY_BYTES - len(self._data)
        if len(chunk) > room:
            self.truncated = True
        if room > 0:
            self._data += chunk[:room]

    def attributes(self, prefix: str) -> dict[str, str | bool]:
        """What was kept, as attributes; none when there was nothing."""
        if not self._data:
            return {}
        # Where the limit cuts a character in two, the half is left out rather than replaced.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        attributes: dict[str, str | bool] = {f"{prefix}.text": decoder.decode(self._data, final=not self.truncated)}
        if self.truncated:
            attributes[f"{prefix}.truncated"] = True
        return attributes
