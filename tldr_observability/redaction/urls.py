"""Secrets in URLs: who logs in, parameters of the query and the fragment, tokens in the path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from tldr_observability.redaction.match import REDACTED
from tldr_observability.redaction.names import HARMLESS
from tldr_observability.redaction.opaque import is_opaque
from tldr_observability.redaction.telling import tells_nothing
from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.redaction.match import Withhold
    from tldr_observability.redaction.names import Names

__all__ = ["redact_path", "redact_query", "redact_url", "redact_urls"]

_URL: Final = re.compile(r"(?<![\w+.\-])[A-Za-z][\w+.\-]*+://[^\s\"<>\\]*+")
_REQUEST: Final = re.compile(r"(?<!\w)(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|QUERY)[ \t]++(/[^\s\"'<>\\]*+)")
_PARAMETER: Final = re.compile(r"([&;])")
_PORT: Final = re.compile(r"\[.*\](?::\d*)?|[^:\[]*(?::\d*)?", re.DOTALL)
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f\-]+")
_TOKEN: Final = re.compile(r"[\w\-.~=+%]+")
_LEAST_OPAQUE: Final = 22
_LEAST_AFTER_WORD: Final = 16
_LEAST_AFTER_ONE_TIME_WORD: Final = 6
_ONE_TIME: Final = re.compile(
    r"reset|(?:reset|forgot)[_-]?password|password[_-]?reset|verify(?:[_-]?email)?|confirm(?:ation)?|activat(?:e|ion)|invit(?:e|ation)"
    r"|magic(?:[_-]?link)?|unsubscribe|one[_-]time|otp|login[_-]?link"
)
_SLUG_PART: Final = r"(?:[a-z]{1,12}\d{0,2}|\d{1,4})"
_SLUG: Final = re.compile(rf"(?=[a-z]){_SLUG_PART}(?:[\-_]{_SLUG_PART})*")
_ONLY_TOKENS: Final = re.compile(r"password|magic|otp|login|invit|unsubscribe")
_MEDIA: Final = re.compile(
    r".+\.(?:ts|m3u8|mpd|m4s|mp4|m4a|m4v|mkv|mov|webm|mp3|aac|wav|flac|jpe?g|png|gif|webp|avif|svg|vtt|srt)",
    re.IGNORECASE,
)
_YOUTUBE_CHANNEL: Final = re.compile(r"UC[\w\-]{22}")
_PUBLIC: Final = frozenset({"channel", "track", "album", "artist", "playlist", "episode"})
_VOUCHER: Final = re.compile(r"[A-Z]{2}|[A-Z]{4,12}\d\d")
_KEEPING: Final = re.compile(r"(?:api[_-]?)?keys?|tokens?|secrets?|sessions?|auth|share|bot")


def redact_urls(text: str, names: Names, withhold: Withhold, inner: Callable[[str], str]) -> str:
    """A text with the secrets taken out of every URL and request line in it."""
    if "://" in text:
        text = _URL.sub(lambda found: _within_text(found[0], names, withhold, inner), text)
    if " /" in text:
        text = _REQUEST.sub(
            lambda found: found[0][: -len(found[1])] + redact_url(found[1], names, withhold, inner), text
        )
    return text


def _within_text(url: str, names: Names, withhold: Withhold, inner: Callable[[str], str]) -> str:
    plain = url.rstrip("'),.;")  # what closes the sentence or the string around it
    return redact_url(plain, names, withhold, inner) + url[len(plain) :]


def redact_url(url: str, names: Names, withhold: Withhold, inner: Callable[[str], str]) -> str:
    """One URL, or only a path with its query.

    Args:
        url: it.
        names: what names tell.
        withhold: what stands in a secret's place.
        inner: redacts free text, for what is encoded in a parameter.
    """
    scheme, sign, rest = url.partition("://")
    if not sign or "/" in scheme or "?" in scheme:
        scheme, sign, rest = "", "", url
    else:
        rest = _without_userinfo(rest, withhold)
    address, hash_sign, fragment = rest.partition("#")
    address, question, query = address.partition("?")
    host, slash, path = address.partition("/")
    return "".join((
        scheme,
        sign,
        host,
        redact_path(slash + path, withhold),
        question,
        redact_query(query, names, withhold, inner),
        hash_sign,
        redact_query(fragment, names, withhold, inner),
    ))  # fmt: skip


def redact_query(query: str, names: Names, withhold: Withhold, inner: Callable[[str], str]) -> str:
    """A query string or form, and otherwise as it came."""
    if "=" not in query:
        return query
    pieces = _PARAMETER.split(query)
    pieces[::2] = [_parameter(piece, names, withhold, inner) for piece in pieces[::2]]
    return "".join(pieces)


def redact_path(path: str, withhold: Withhold) -> str:
    """A path without segments that are tokens."""
    if len(path) <= _LEAST_AFTER_ONE_TIME_WORD or "/" not in path:
        return path
    segments = path.split("/")
    before = ""
    for index, segment in enumerate(segments):
        if len(segment) >= _LEAST_AFTER_ONE_TIME_WORD and _is_token(segment, before):
            segments[index] = withhold(segment, "path")
        before = segment.lower()
    return "/".join(segments)


def _is_token(segment: str, before: str) -> bool:
    if is_placeholder(segment) or not _TOKEN.fullmatch(segment):
        return False
    if _SLUG.fullmatch(segment) and not _ONLY_TOKENS.search(before):
        return False
    hexadecimal = _HEXADECIMAL.fullmatch(segment) is not None
    digit = any(character.isdigit() for character in segment)
    if _ONE_TIME.fullmatch(before):
        return digit or len(segment) >= _LEAST_OPAQUE
    if len(segment) >= _LEAST_AFTER_WORD and digit and not segment.isdigit() and _KEEPING.fullmatch(before):
        return not hexadecimal or "-" not in segment  # a UUID is more often an id than a key
    if hexadecimal or len(segment) < _LEAST_OPAQUE or before in _PUBLIC:
        return False
    return is_opaque(segment) and not _MEDIA.fullmatch(segment) and not _YOUTUBE_CHANNEL.fullmatch(segment)


def _parameter(piece: str, names: Names, withhold: Withhold, inner: Callable[[str], str]) -> str:
    name, equals, value = piece.partition("=")
    if not equals:
        return piece
    decision = names.decide_parameter(name)
    if name == "code" and _VOUCHER.fullmatch(value):
        return piece
    if decision != HARMLESS and not tells_nothing(value, decision):
        return f"{name}={withhold(value, name)}"
    if "%" in value or "+" in value:
        plain = unquote_plus(value)
        if plain != value and inner(plain) != plain:
            return f"{name}={REDACTED}"
    return piece


def _without_userinfo(rest: str, withhold: Withhold) -> str:
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority = rest[:end]
    at = authority.rfind("@")
    if at < 0 and not _PORT.fullmatch(authority):
        at = rest.rfind("@")  # the password holds a slash, a question mark or a number sign
        if at < 0:  # cut off before the host
            user, colon, password = authority.partition(":")
            if not colon:
                return rest
            return f"{user}:{withhold(password, 'userinfo') if not is_placeholder(password) else password}{rest[end:]}"
    if at < 0:
        return rest
    userinfo = rest[:at]
    masked = userinfo == REDACTED or userinfo.partition(":")[2] in {"***", REDACTED}  # SQLAlchemy's own mask
    return rest if masked else withhold(userinfo, "userinfo") + rest[at:]
