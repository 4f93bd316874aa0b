"""Redis commands that carry passwords, as one string or as the parts of a list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["redact_redis"]

_NEXT: Final = r"(?:\\?[\"'])?(?:\s*+,\s*+|[^\S\n]++)[bB]?(?:\\?[\"'])?"
_PART: Final = r"[^\s\"',\])}]++"
_AUTH: Final = re.compile(rf"(?<![\w\-.])(AUTH2?|auth2?(?=\\?[\"']))({_NEXT})({_PART})(?:({_NEXT})({_PART}))?")
_REQUIREPASS: Final = re.compile(
    rf"(?<!\w)(requirepass|masterauth|masteruser|tls-key-file-pass)({_NEXT})({_PART})", re.IGNORECASE
)
_SETUSER: Final = re.compile(r"(?<=SETUSER )[^\n\"]*+|(?<=setuser )[^\n\"]*+")
_RULE: Final = re.compile(r"(?<=[\s>#<!])[>#<!]?(?<=[>#<!])\S++")
_PROSE: Final = re.compile(r"and|called|command|error|failed|has|is|not|or|required|returned|was|with|<password>")
_WORD: Final = re.compile(r"[A-Za-z]{1,12}[.:;]?")


def redact_redis(text: str, withhold: Withhold, *, is_command: bool = False) -> str:
    """The text without the passwords of AUTH, HELLO, MIGRATE, CONFIG SET and ACL SETUSER.

    Args:
        text: it.
        withhold: what stands in a secret's place.
        is_command: whether it is a command for sure: in other texts, ordinary words after AUTH are left.
    """
    text = _AUTH.sub(lambda found: _auth(found, withhold, is_command=is_command), text)
    text = _REQUIREPASS.sub(lambda found: found[1] + found[2] + _part(found[3], withhold), text)
    if "SETUSER" in text or "setuser" in text:
        text = _SETUSER.sub(lambda found: _RULE.sub(lambda rule: withhold(rule[0], "redis"), found[0]), text)
    return text


def _auth(found: re.Match[str], withhold: Withhold, *, is_command: bool) -> str:
    if _PROSE.fullmatch(found[3].lower()) or not (is_command or _has_password(found)):
        return found[0]
    rest = found[4] + _part(found[5], withhold) if found[5] else ""
    return found[1] + found[2] + _part(found[3], withhold) + rest


def _has_password(found: re.Match[str]) -> bool:
    """Whether what follows is more than words: for a part of a list is one in capital letters enough."""
    if found[3] == "default" or (found[1].isupper() and "," in found[2]):
        return True
    return not (_WORD.fullmatch(found[3]) and (found[5] is None or _WORD.fullmatch(found[5]) is not None))


def _part(part: str, withhold: Withhold) -> str:
    return part if is_placeholder(part) or part in {"[redacted", "is"} else withhold(part, "redis")
