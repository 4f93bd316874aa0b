"""Where a value ends: in JSON however deeply escaped, in the repr of Python's objects, in prose, cut off anywhere."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Value", "begins_string", "is_number", "is_placeholder", "is_state", "value_at"]


class Value(NamedTuple):
    """A value in a text: what counts stands from `start` to `end`, all of it ends at `after`."""

    start: int
    end: int
    after: int
    quoted: bool


_QUOTE: Final = re.compile(r"[bBrRuUfF]{0,2}+(\\*+)([\"'`])")
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*+\(")
_STRUCTURE: Final = re.compile(r"\\*+[\"']|[\[\](){}]")
_CLOSERS: Final = {quote: re.compile(r"(\\*+)" + quote) for quote in "\"'`"}
_PLAIN: Final = re.compile(
    r"""(?:(?i:bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256)[ \t]++(?=[^\s,;]))?
    (?:[^\s,;&"'`<>)}\]\\]              # ordinary characters
    |[>)}\]](?=[^\s,;&"'`<>)}\]\\])     # closing ones, where more follows directly
    |,(?=[^\s,;&"'`<>)}\]\\])(?![\w.\-]*+\s*+[=:])
    |&(?![\w.\-%\[\]]++=)(?=[^\s&])
    |["'`](?=\w)
    |<(?!/)
    |\\(?=[^\s"'\\nrt])
    )*""",
    re.VERBOSE,
)
_PLACEHOLDER: Final = re.compile(
    r"None|none|null|nil|undefined|NULL|\*++|\.\.\.|\[redacted\]|(?:(?i:bearer|basic|token) )?\{[\w.!]*+\}"
    r"|\{\{[^{}]*+\}\}|\$\d++|\?|%s|%\(\w++\)s"
    r"|:[A-Za-z_]\w*+|\$\{\w++\}|\$[A-Z_]++|@[a-z_]++"
)
_NUMBER: Final = re.compile(r"[+-]?\d++(?:\.\d++)?|true|false|True|False")
_STATE: Final = re.compile(
    r"\d{1,3}(?:\.\d{1,3})?(?:ms|[smh])?|v\d|s3v\d|true|false|none|null|yes|no|on|off|ok|enabled|disabled|opened|open|closed|issued"
    r"|started|ended|active|expired|valid|required|optional|basic|bearer|oauth2?|oidc|saml|ldap|sso|google|github|gitlab|microsoft"
    r"|azure|apple|facebook|twitter|discord|twitch|okta|auth0|slack|linkedin|keycloak",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"(?:[\d\s.,+\-{}\[\]()]|true|false|null|True|False|None)*")
_KEYS: Final = re.compile(r"(\\*+[\"'])[\w\- ]*+\1\s*+:")


def begins_string(text: str, start: int) -> bool:
    """Whether a quoted string begins there."""
    return _QUOTE.match(text, start) is not None


def value_at(text: str, start: int) -> Value | None:
    """The value that begins there, or None where nothing does."""
    if start >= len(text):
        return None
    quote = _QUOTE.match(text, start)
    if quote is not None:
        if not quote[1] and text.startswith(quote[2] * 2, quote.end()):  # a text of Python in three quotes
            end = text.find(quote[2] * 3, quote.end() + 2)
            if end >= 0:
                return Value(quote.end() + 2, end, end + 3, quoted=True)
        end, after = _end_of_string(text, quote.end(), len(quote[1]), quote[2])
        return Value(quote.end(), end, after, quoted=True)
    call = _CALL.match(text, start)
    if text[start] in "[{(" or call is not None:
        end = _end_of_brackets(text, start if call is None else call.end() - 1)
        return Value(start, end, end, quoted=False)
    plain = _PLAIN.match(text, start)
    end = plain.end() if plain else start
    return Value(start, end, end, quoted=False) if end > start else None


def is_placeholder(value: str) -> bool:
    """Whether nothing is told by it: a placeholder of a template or statement, a null, a mask."""
    return not value or _PLACEHOLDER.fullmatch(value) is not None


def is_number(value: str) -> bool:
    """Whether it is a number or a truth, or a structure that holds nothing else."""
    if value[:1] in {"{", "[", "("}:
        return _NUMBERS.fullmatch(_KEYS.sub("", value)) is not None
    return _NUMBER.fullmatch(value) is not None


def is_state(value: str) -> bool:
    """Whether it is a truth, a small number, or a usual word for how things stand or who signs in."""
    return _STATE.fullmatch(value) is not None


def _end_of_string(text: str, start: int, depth: int, quote: str) -> tuple[int, int]:
    """Find where the string's content ends and where what follows begins.

    At each level of escaping a quote has one backslash more than twice as many. The quote that closes has as many as
    the one that opened; one with fewer closes a string around this one, which was cut off.
    """
    for closer in _CLOSERS[quote].finditer(text, start):
        slashes = len(closer[1])
        if slashes % (2 * (depth + 1)) == depth:
            return closer.end() - 1 - depth, closer.end()
        if slashes < depth:
            return closer.start(), closer.start()
    return len(text), len(text)


def _end_of_brackets(text: str, start: int) -> int:
    depth = 0
    position = start
    while (found := _STRUCTURE.search(text, position)) is not None:
        sign = found[0]
        position = found.end()
        if sign in {"[", "{", "("}:
            depth += 1
        elif sign in {"]", "}", ")"}:
            depth -= 1
            if depth <= 0:
                return position
        else:
            _, position = _end_of_string(text, position, len(sign) - 1, sign[-1])
    return len(text)
