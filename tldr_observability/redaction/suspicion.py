"""A first look that lets most strings pass: nothing in them could be a secret."""

from __future__ import annotations

import re
from typing import Final

from tldr_observability.redaction.database_errors import SIGNS
from tldr_observability.redaction.shapes import has_sign_of_shape

__all__ = ["has_error", "has_name", "has_number", "has_shape", "has_sign", "has_url"]

_SIGN: Final = re.compile(r"[=:>,\-\"'\d]")
_NAME: Final = re.compile(
    r"pass|pwd|pw|secret|token|key|auth|cookie|csrf|xsrf|jwt|jws|bearer|dpop|ssn|cv[vc]|csc|otp|mnemonic|sess|sid|sig|hmac|cred|pin|psk|sasl"
    r"|card|security|code|phrase|assertion|saml|number|userinfo|%|@|\\u00|curl|-cli |mysql|mariadb"
)
_TECHNICAL: Final = re.compile(r"[0-9a-f\-: .TZ+]*+")
_RUN: Final = re.compile(r"[^\s,;'\"(){}\[\]<>|]{15}")
_SCHEMES: Final = ("earer ", "asic ", "EARER ", "ASIC ", "Digest ", "AWS4", "PRIVATE KEY")
_AWS_SECRET: Final = re.compile(r"[A-Za-z0-9/+]{40}")
_LENGTH_OF_AWS_SECRET: Final = 40
_NUMBER: Final = re.compile(r"\d\d\d(?:-\d\d-\d{4}|\d[ \-]?\d{4})")
_QUOTES: Final = re.compile(r"[(\[\"'$:=`]")
_ERROR: Final = re.compile(SIGNS)


def has_name(text: str) -> bool:
    """A secret's name may be in it, with something after it."""
    return has_sign(text) and _NAME.search(text.lower()) is not None


def has_sign(text: str) -> bool:
    """Something may stand under some name."""
    return _SIGN.search(text) is not None


def has_shape(text: str) -> bool:
    """A credential may be in it, by its looks."""
    if _TECHNICAL.fullmatch(text) is not None:  # an id or a time
        return False
    if any(map(text.__contains__, _SCHEMES)):
        return True
    return _RUN.search(text) is not None and (
        has_sign_of_shape(text) or (len(text) >= _LENGTH_OF_AWS_SECRET and _AWS_SECRET.search(text) is not None)
    )


def has_number(text: str) -> bool:
    """Enough digits are in it for a card or a social-security number."""
    return _NUMBER.search(text) is not None


def has_url(text: str) -> bool:
    """A URL or a request line may be in it."""
    return "://" in text or " /" in text


def has_error(text: str) -> bool:
    """A database's error or a validation's may be in it."""
    return _QUOTES.search(text) is not None and _ERROR.search(text) is not None
