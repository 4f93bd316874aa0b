"""Payment cards and US social-security numbers, told by their digits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["is_card", "redact_numbers"]

_CARD: Final = re.compile(
    r"(?<![\w.+\-])[2-6](?:\d{12,18}|\d{3}([ \-])(?:\d{4}\1\d{4}\1(?:\d{4}\1\d{3}|\d{1,4})|\d{6}\1\d{4,5}))"
    r"(?![\w\-]|\.\d)"
)
_SSN: Final = re.compile(r"(?<![\w.\-/])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w\-/]|\.\d)")
_BRANDS: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|5[06-9]\d{11,17}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12,17}|35\d{14}|6\d{12,18}"
)
_OTHER_NUMBER: Final = re.compile(r"(?<![a-z])(?:phone|tel|fax|sku|part)(?: no| number)?[.:#]? ?$", re.IGNORECASE)
_BEFORE_MEMBER: Final = re.compile(r"[\[,]\s*+$")
_AFTER_MEMBER: Final = re.compile(r"\s*+[,\]]")
_BARE_IN_JSON: Final = re.compile(r"(\\*+[\"'])\s*+:\s*+$")


def is_card(number: str) -> bool:
    """Whether digits make the number of a payment card: a brand's beginning and length, and the check digit."""
    return _BRANDS.fullmatch(number) is not None and _luhn(number)


def redact_numbers(text: str, withhold: Withhold) -> str:
    """The text without numbers of payment cards and social-security numbers."""
    quotes = _Quotes(text)
    text = _CARD.sub(lambda found: _card(found, quotes, withhold), text)
    return _SSN.sub(lambda found: _social_security_number(found, withhold), text)


class _Quotes:
    """Counts quotes on the way through a text, to tell what stands inside of a string of JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_json = text.lstrip()[:1] in {"{", "["}
        self._position = 0
        self._open = False

    def none_open(self, position: int) -> bool:
        """Whether a position of a JSON text, later than the last one, is outside of strings."""
        if not self._is_json:
            return False
        count = self._text.count('"', self._position, position) - self._text.count('\\"', self._position, position)
        self._open ^= count % 2 == 1
        self._position = position
        return not self._open


def _social_security_number(found: re.Match[str], withhold: Withhold) -> str:
    before = found.string[max(0, found.start() - 16) : found.start()]
    return found[0] if _OTHER_NUMBER.search(before) else withhold(found[0], "social_security_number")


def _card(found: re.Match[str], quotes: _Quotes, withhold: Withhold) -> str:
    digits = found[0].replace(" ", "").replace("-", "")
    if not is_card(digits):
        return found[0]
    # A bare number in JSON is replaced by a string, with the quotes that its name has.
    named = _BARE_IN_JSON.search(found.string[max(0, found.start() - 16) : found.start()])
    quote = named[1] if named else ""
    if not named and _BEFORE_MEMBER.search(found.string[max(0, found.start() - 16) : found.start()]):
        quote = '"' if _AFTER_MEMBER.match(found.string, found.end()) and quotes.none_open(found.start()) else ""
    shown = withhold(found[0], "card_number")
    return found[0] if shown == found[0] else f"{quote}{shown}{quote}"


def _luhn(number: str) -> bool:
    digits = [ord(digit) - 48 for digit in reversed(number)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0
