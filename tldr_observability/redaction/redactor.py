"""The rules together: whatever is recorded, without its secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tldr_observability.errors import ConfigurationError
from tldr_observability.redaction import suspicion
from tldr_observability.redaction.database_errors import redact_database_errors
from tldr_observability.redaction.keys import Reading, reading_of
from tldr_observability.redaction.match import REDACTED, RedactionMatch
from tldr_observability.redaction.multipart import redact_multipart
from tldr_observability.redaction.names import HARMLESS, SECRET, Names
from tldr_observability.redaction.numbers import is_card, redact_numbers
from tldr_observability.redaction.pairs import redact_pairs
from tldr_observability.redaction.prose import redact_prose
from tldr_observability.redaction.redis_commands import redact_redis
from tldr_observability.redaction.shapes import redact_shapes
from tldr_observability.redaction.sql import without_literals
from tldr_observability.redaction.telling import tells_nothing
from tldr_observability.redaction.urls import redact_path, redact_query, redact_url, redact_urls
from tldr_observability.redaction.validation import redact_validation
from tldr_observability.redaction.values import is_placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tldr_observability.redaction.match import Withhold

__all__ = ["Redactor"]

MAX_LENGTH: Final = 262_144
"""Characters of a value that are looked through; what is beyond is withheld."""

_LONGEST_TOKEN: Final = 8_192
_NOTE: Final = "... [{} more characters withheld: too long to look through]"
_ROOM_FOR_NOTE: Final = 128
_DEPTH: Final = 32
_SMALLEST_CARD: Final = 10**12
_MOST_LOOKS: Final = 8
_MOST_CLEAN: Final = 2_048
_SHORT: Final = 256
_LONGEST_CLEAN: Final = 2_048
_MOST_LONG_CLEAN: Final = 256
_COMMAND_WITH_PASSWORD: Final = re.compile(r"(?:.*/)?(?:mysql|mariadb)[\w\-]*")
_COMMAND_WITH_AUTH: Final = re.compile(r"(?:.*/)?(?:redis|valkey)-cli")
_USER: Final = frozenset({"-u", "--user", "--proxy-user"})
_FORM: Final = re.compile(r"[\w.%\-\[\]+*~]++=[^\s\"'{<]*+")

_logger = logging.getLogger("tldr_observability")


class Redactor:
    """Takes secrets out of attributes and texts; what is redacted once stays as it is the second time.

    Nothing here raises after construction: what can't be looked through is withheld.

    Args:
        patterns: regular expressions for more secrets, without regard to case. What one matches in a value is taken
            out; a value whose name one matches is taken out whole.
        callback: is asked about each secret found; returns what to leave in its place, or None to withhold it.

    Raises:
        ConfigurationError: a pattern is no regular expression, or matches the empty text.
    """

    def __init__(
        self, *, patterns: Sequence[str] = (), callback: Callable[[RedactionMatch], object] | None = None
    ) -> None:
        self._patterns = _compiled(patterns)
        self._names = Names(self._patterns)
        self._callback = callback
        self._callback_failed = False
        self._readings: dict[str, tuple[Reading, int]] = {}
        # Texts without secrets are told again at the price of a look-up; a text with one is never kept.
        self._clean: dict[Reading, set[str]] = {reading: set() for reading in Reading}
        self._long_clean: dict[Reading, set[str]] = {reading: set() for reading in Reading}

    def attribute(self, key: str, value: Any) -> Any:
        """The value of an attribute, or of a log record's body, in the form in which it came."""
        try:
            known = self._readings.get(key)
            reading, decision = known if known is not None else self._learn(key)
            if reading is Reading.TECHNICAL:
                return value
            if decision != HARMLESS:
                return self._whole(key, value, decision)
            return self._any(key, value, reading, 0)
        except Exception:  # noqa: BLE001 - closed: what can't be looked through doesn't leave
            return REDACTED

    def text(self, text: str) -> str:
        """Free text: a name, a message, a description, a stack trace."""
        return self._string("", text, Reading.TEXT)

    def query(self, query: str) -> str:
        """A query string or URL-encoded form, without the question mark."""
        return self._string("", query, Reading.QUERY)

    def path(self, path: str) -> str:
        """The path of a URL."""
        return self._string("", path, Reading.PATH)

    def header(self, name: str, value: str) -> str:
        """The value of an HTTP header."""
        try:
            if self._names.is_secret_header(name):
                return value if is_placeholder(value) else self._withhold(name, value, name)
        except Exception:  # noqa: BLE001 - closed
            return REDACTED
        return self._string(name, value, Reading.TEXT)

    def _learn(self, key: str) -> tuple[Reading, int]:
        reading, decision = reading_of(key), HARMLESS
        if reading is Reading.HEADER:
            secret = self._names.is_secret_header(key.partition(".header.")[2])
            reading, decision = Reading.TEXT, SECRET if secret else HARMLESS
        elif reading is Reading.NAMED:
            reading, decision = Reading.TEXT, self._names.decide_key(key)
        elif reading is Reading.PARAMETERS:
            reading, decision = Reading.TEXT, SECRET
        if len(self._readings) >= _MOST_CLEAN:
            self._readings.clear()
        self._readings[key] = (reading, decision)
        return reading, decision

    def _whole(self, key: str, value: Any, decision: int) -> Any:
        """A value whose key says that it is a secret, as a whole."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (list, tuple)):
            return type(value)([self._whole(key, each, decision) for each in value])
        text = value if isinstance(value, str) else str(value)
        return value if tells_nothing(text, decision) else self._withhold(key, text, key)

    def _any(self, key: str, value: Any, reading: Reading, depth: int) -> Any:
        match value:
            case str():
                return self._string(key, value, reading)
            case None | bool() | float():
                return value
            case int():
                found = value >= _SMALLEST_CARD and _is_card(value)
                return self._withhold(key, str(value), "card_number") if found else value
            case bytes():
                text = self._string(key, value.decode("utf-8", "surrogateescape"), reading)
                return text.encode("utf-8", "surrogateescape")
            case list() | tuple() | Mapping():
                return REDACTED if depth > _DEPTH else self._items(key, value, reading, depth + 1)
        return self._string(key, str(value), reading)

    def _items(self, key: str, value: Any, reading: Reading, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {name: self._member(str(name), each, depth) for name, each in value.items()}
        before, parts = "", []
        command = value[0] if value and isinstance(value[0], str) else ""
        for each in value:
            shown = self._argument(key, command, before, each) if isinstance(each, str) else each
            parts.append(shown if shown != each else self._any(key, each, reading, depth))
            before = each if isinstance(each, str) else ""
        return type(value)(parts)

    def _argument(self, key: str, command: str, before: str, value: str) -> str:
        """The part of a command line, by the part before it: `['--password', 'x']`, `['mysql', '-px']`."""
        if before.startswith("-"):
            decision = self._names.decide(before.strip("-")) if "=" not in before else HARMLESS
            if decision != HARMLESS and not value.startswith("--") and not tells_nothing(value, decision):
                return self._withhold(key, value, before)
            user, colon, password = value.partition(":")
            if before in _USER and colon and not is_placeholder(password):
                return f"{user}:{self._withhold(key, password, before)}"
            if before == "-a" and _COMMAND_WITH_AUTH.fullmatch(command) and not is_placeholder(value):
                return self._withhold(key, value, before)
        if value.startswith("-p") and _COMMAND_WITH_PASSWORD.fullmatch(command) and not is_placeholder(value[2:]):
            return f"-p{self._withhold(key, value[2:], '-p')}"
        if before == "AUTH" and not is_placeholder(value):
            return self._withhold(key, value, before)
        return value

    def _member(self, name: str, value: Any, depth: int) -> Any:
        decision = self._names.decide_key(name)
        return (
            self._any(name, value, Reading.TEXT, depth) if decision == HARMLESS else self._whole(name, value, decision)
        )

    def _string(self, key: str, value: str, reading: Reading) -> str:
        try:
            is_short = len(value) <= _SHORT
            clean = self._clean[reading] if is_short else self._long_clean[reading]
            if value in clean:
                return value
            shown = self._settled(_bounded(value), reading, partial(self._withhold, key))
            if shown == value and len(value) <= _LONGEST_CLEAN:
                if len(clean) >= (_MOST_CLEAN if is_short else _MOST_LONG_CLEAN):
                    clean.clear()
                clean.add(value)
        except Exception:  # noqa: BLE001 - closed
            return REDACTED
        return shown

    def _settled(self, value: str, reading: Reading, withhold: Withhold) -> str:
        """Redact until nothing changes: where one secret's end was another's beginning, a second look finds more."""
        if self._callback is not None:  # it may put something in a secret's place that is found again
            return self._shown(value, reading, withhold)
        for _ in range(_MOST_LOOKS):
            shown = self._shown(value, reading, withhold)
            if shown == value:
                return shown
            value = shown
        return REDACTED

    def _shown(self, value: str, reading: Reading, withhold: Withhold) -> str:
        match reading:
            case Reading.STATEMENT if not value.lstrip().startswith(("{", "[")):
                value = without_literals(redact_redis(value, withhold, is_command=True))
            case Reading.QUERY:
                value = redact_query(value, self._names, withhold, self.text)
            case Reading.BODY if _FORM.fullmatch(value):
                value = redact_query(value, self._names, withhold, self.text)
            case Reading.URL:
                value = redact_url(value, self._names, withhold, self.text)
            case Reading.PATH:
                value = redact_path(value, withhold)
        return self._free(value, withhold)

    def _free(self, text: str, withhold: Withhold) -> str:
        if suspicion.has_error(text):
            text = redact_validation(redact_database_errors(text, withhold), self._names, withhold)
        if "orm-data" in text or "ORM-DATA" in text:
            text = redact_multipart(text, self._names, withhold)
        if suspicion.has_shape(text):
            text = redact_shapes(text, withhold)
        if suspicion.has_url(text):
            text = redact_urls(text, self._names, withhold, self.text)
        if suspicion.has_name(text) or (self._patterns and suspicion.has_sign(text)):
            text = redact_prose(redact_pairs(text, self._names, withhold), withhold)
        if "AUTH" in text or "auth" in text or "SETUSER" in text or "setuser" in text or "requirepass" in text:
            text = redact_redis(text, withhold)
        if suspicion.has_number(text):
            text = redact_numbers(text, withhold)
        for pattern in self._patterns:
            # What stands for a secret is never looked at again, or a pattern that matches it would redact for ever.
            pieces = [
                pattern.sub(lambda found: withhold(found[0], found.re.pattern), each) for each in text.split(REDACTED)
            ]
            text = REDACTED.join(pieces)
        return text

    def _withhold(self, key: str, value: str, pattern: str) -> str:
        if self._callback is None or value == REDACTED:
            return REDACTED
        try:
            kept = self._callback(RedactionMatch(key, value, pattern))
        except Exception:
            if not self._callback_failed:
                self._callback_failed = True
                _logger.exception("The redaction callback failed; what it is asked about is withheld.")
            return REDACTED
        return kept if isinstance(kept, str) else REDACTED


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    problems: list[str] = []
    compiled: list[re.Pattern[str]] = []
    if isinstance(patterns, str):
        problems.append(
            f"redaction patterns: expected a list of regular expressions, got the text {patterns!r}; put it in a list"
        )
        patterns = ()
    for pattern in patterns:
        try:
            regex = re.compile(pattern, re.IGNORECASE)
            if regex.search("") is not None:
                problems.append(
                    f"redaction pattern {pattern!r} matches the empty text, and so everything; write what must be there"
                )
            compiled.append(regex)
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            problems.append(f"redaction pattern {pattern!r} is not a regular expression of Python's re: {error}")
    if problems:
        raise ConfigurationError(*problems)
    return tuple(compiled)


def _bounded(value: str) -> str:
    """The beginning of a value that is too long, without the word in which it was cut: that may be half a secret."""
    if len(value) <= MAX_LENGTH:
        return value
    end = MAX_LENGTH - _ROOM_FOR_NOTE
    space = max(value.rfind(" ", end - _LONGEST_TOKEN, end), value.rfind("\n", end - _LONGEST_TOKEN, end))
    end = space if space >= 0 else end - _LONGEST_TOKEN
    return value[:end] + _NOTE.format(len(value) - end)


def _is_card(value: int) -> bool:
    return value < 10**19 and is_card(str(value))
