"""Redis commands that carry passwords, as one string or as the parts of a list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["redact_redis"]

_NEXT: Final = r"(?:\\?[\"'])?+(?:\s*+,\s*+|[^\S\n]++)[bB]?(?:\\?[\"'])?+"
_PART: Final = r"[^\s\"',\])}]++"
_AUTH: Final = re.compile(rf"(?<![\w\-.])(AUTH2?|auth2?(?=\\?[\"']))({_NEXT})({_PART})(?:({_NEXT})({_PART}))?+")
_REQUIREPASS: Final = re.compile(
    rf"(?<!\w)(requirepass|masterauth|masteruser|tls-key-file-pass)({_NEXT})({_PART})", re.IGNORECASE
)
_SETUSER: Final = re.compile(r"(?<=SETUSER )[^\n\"]*+|(?<=setuser )[^\n\"]*+")
_RULE: Final = re.compile(r"(?<=[\s>#<!])[>#<!]?(?<=[>#<!])\S++")
_PROSE: Final = re.compile(r"and|called|command|error|failed|has|is|not|or|required|returned|was|with|<password>")


def redact_redis(text: str, withhold: Withhold) -> str:
    """The text without the passwords of AUTH, HELLO, MIGRATE, CONFIG SET and ACL SETUSER."""
    text = _AUTH.sub(lambda found: _auth(found, withhold), text)
    text = _REQUIREPASS.sub(lambda found: found[1] + found[2] + _part(found[3], withhold), text)
    if "SETUSER" in text or "setuser" in text:
        text = _SETUSER.sub(lambda found: _RULE.sub(lambda rule: withhold(rule[0], "redis"), found[0]), text)
    return text


def _auth(found: re.Match[str], withhold: Withhold) -> str:
    if _PROSE.fullmatch(found[3].lower()):
        return found[0]
    rest = found[4] + _part(found[5], withhold) if found[5] else ""
    return found[1] + found[2] + _part(found[3], withhold) + rest


def _part(part: str, withhold: Withhold) -> str:
    return part if is_placeholder(part) or part == "[redacted" else withhold(part, "redis")
