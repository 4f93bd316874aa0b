"""Secrets in sentences and command lines, with no sign after the name: `password 'x' refused`, `curl -u jo:x`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["redact_prose"]

_SAID: Final = re.compile(
    r"""(?P<name>passwords?|passwd|passphrase|passcode|pwd|secret|token|api[ _\-]?key
    |(?:verification|security|access|login|confirmation|one[ \-]time|backup|recovery)\ code
    |(?<![a-z])(?:pin|ssn|otp|cvv|cvc))
    (?P<between>[ \t]++(?:(?P<says>is|was|->|(?:provided|supplied|given|received):)[ \t]++)?)
    (?P<quote>\\*+["'`])?(?P<value>[^\s"'`,;()<>\[\]\\]{3,128}+)(?!\ (?:of|old|ago|seconds|minutes|hours|days)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_NUMERIC: Final = frozenset({"pin", "ssn", "otp", "cvv", "cvc"})
_LEAST_UNQUOTED: Final = 8
_COMMANDS: Final = (
    re.compile(r"(?<!\S)((?:-u|--user|--proxy-user)[ =]\\?[\"']?[^\s:\"'\\]{1,128}:)([^\s\"'\\]++)"),
    re.compile(r"((?:redis|valkey)-cli [^\n]{0,200}?-a )([^\s\"'\\]++)"),
    re.compile(r"((?:mysql|mariadb)[\w\-]{0,16} [^\n]{0,200}?-p)([^\s\"'\\]++)"),
)
_LISTS: Final = (
    re.compile(r"([\"'](?:-u|--user|--proxy-user)\\?[\"'],\s{0,8}\\?[\"'][^\s:\"'\\]{1,128}:)([^\"'\\]++)"),
    re.compile(r"((?:redis|valkey)-cli\\?[\"'],[^\n\]]{0,200}?[\"']-a\\?[\"'],\s{0,8}\\?[\"'])([^\"'\\]++)"),
    re.compile(r"((?:mysql|mariadb)[\w\-]{0,16}\\?[\"'],[^\n\]]{0,200}?[\"']-p)([^\"'\\]++)"),
)
_ADDRESS: Final = re.compile(r"((?<![\w.:/@\-])[\w.\-]{1,64}+:)([^\s:@/\"'<>,]{3,128}+)(?=@(?:[\w.\-]++:\d|\w{2,5}\())")


def redact_prose(text: str, withhold: Withhold) -> str:
    """The text without values that follow a secret's name directly, if they look like values and not like words."""
    text = _SAID.sub(lambda found: _said(found, withhold), text)
    for pattern in _COMMANDS if " -" in text else ():
        text = pattern.sub(lambda found: found[1] + _argument(found[2], withhold), text)
    for pattern in _LISTS if "'-" in text or '"-' in text else ():
        text = pattern.sub(lambda found: found[1] + _argument(found[2], withhold), text)
    return _ADDRESS.sub(lambda found: found[1] + _argument(found[2], withhold), text) if "@" in text else text


def _said(found: re.Match[str], withhold: Withhold) -> str:
    value = found["value"]
    if is_placeholder(value) or not (found["quote"] or _is_no_word(value, found)):
        return found[0]
    return found[0][: -len(value)] + withhold(value, found["name"])


def _is_no_word(value: str, found: re.Match[str]) -> bool:
    if "=" in value or ":" in value:
        return False
    has_digit = any(character.isdigit() for character in value)
    has_letter = any(character.isalpha() for character in value)
    return has_digit and (
        found["says"] is not None
        or (has_letter and len(value) >= _LEAST_UNQUOTED)
        or (not has_letter and found["name"].lower() in _NUMERIC)
    )


def _argument(value: str, withhold: Withhold) -> str:
    return value if is_placeholder(value) else withhold(value, "command")
