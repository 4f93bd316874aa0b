"""Values that a name beside them tells to be secrets: `password=x`, `"token": "x"`, `--api-key x`, `<pin>1</pin>`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.code import is_code
from tldr_observability.redaction.names import HARMLESS
from tldr_observability.redaction.nesting import end_of_json_string, is_json
from tldr_observability.redaction.telling import tells_nothing
from tldr_observability.redaction.values import Value, begins_string, is_placeholder, value_at

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold
    from tldr_observability.redaction.names import Names

__all__ = ["redact_pairs"]

_FORM: Final = r"""(?<![\w.%\-])(NAME(?:\[[\w.\-]*+\])*)   # a name, looked at once: at its beginning
    (\\*+["'`])?
    (?:(?(2)\]?+)(\s*+(?:=>|->|:=|!?={1,3}+|:)[^\S\n]*+)   # name = value, d["name"] = value
    |(\s*+,\s*+)                                       # ("name", "value")
    |([^\S\n]++))                                      # --name value
    """
_PAIR: Final = re.compile(_FORM.replace("NAME", r"[\w.%\-]++"), re.VERBOSE)
_PAIR_WITH_ESCAPES: Final = re.compile(_FORM.replace("NAME", r"(?:[\w.%\-]|\\u00[0-7][0-9A-Fa-f])+"), re.VERBOSE)
_ELEMENT: Final = re.compile(r"<((?:[\w\-]++:)?[\w.\-]++)(?:\s[^<>]*+)?>([^<]++)")
_ELEMENT_IN_JSON: Final = re.compile(r"<((?:[\w\-]++:)?[\w.\-]++)(?:\s[^<>]*+)?>((?:[^<\"\\]|\\[^<])+)")
_ASSIGNED: Final = re.compile(r"(?:[^\S\n]*+\|[^\S\n]*+None)?[^\S\n]*+=[^\S\n]*+")
_OPENED: Final = re.compile(r"([(\[])\s*+[bru]?\\*+[\"']$")
_WORDS_BEFORE: Final = re.compile(r"(?<![A-Za-z])([A-Za-z]++(?: [A-Za-z]++)?) $")
_LINE: Final = re.compile(r"(?:[^\r\n\"'\\]|\\[^rn\"'\\])*")
_VALUE_FIELD: Final = re.compile(r"\s*+,?\s*+\\*+[\"']?(?:value|Value|val)\\*+[\"']?\s*+[:=]\s*+")
_TYPES: Final = frozenset(
    {"str", "bytes", "int", "float", "bool", "dict", "list", "tuple", "object", "Any", "SecretStr"}
)
_PROSE: Final = re.compile(
    r"cannot|denied|disabled|empty|enabled|expired|failed|field|incorrect|invalid|is|may|missing|must|needs|not|ok|required|should|too|unknown|valid"
    r"|was|wrong",
    re.IGNORECASE,
)
_NEEDS_MORE_WORDS: Final = frozenset({"key", "keys", "id", "phrase", "number", "code", "codes", "security"})
_NAME_FIELDS: Final = frozenset({"name", "key", "Name", "Key", "field", "header"})
_HEADERS_OF_MANY_WORDS: Final = ("cookie", "authorization")
_SPACES: Final = re.compile(r"\s*+")
_SECOND_OF_TWO: Final = re.compile(r"\s*+\]")


def redact_pairs(text: str, names: Names, withhold: Withhold) -> str:
    """The text without the values of secrets' names; JSON stays JSON."""
    if "<" in text:
        text = (_ELEMENT_IN_JSON if is_json(text) else _ELEMENT).sub(
            lambda found: _element(found, names, withhold), text
        )
    pieces: list[str] = []
    done = position = 0
    in_json = is_json(text)
    pair = _PAIR_WITH_ESCAPES if "\\u00" in text else _PAIR
    while (found := pair.search(text, position)) is not None:
        position = found.end() if found.lastindex != 5 else found.end(1)  # noqa: PLR2004 - the group of --name value
        value, is_secret = _named_value(text, found, names)
        if value is None:
            continue
        if in_json and value.quoted and text[value.start - 1] in "'`":
            end = end_of_json_string(text, value.start)
            value = value if value.end <= end else Value(value.start, end, end, quoted=True)
        shown = withhold(text[value.start : value.end], found[1]) if is_secret else text[value.start : value.end]
        if shown != text[value.start : value.end]:
            around = (found[2] or "") if not value.quoted and found[2] != "`" else ""
            pieces += text[done : value.start], around, shown, around
            done = value.end
        position = max(value.after, position)
    return text if not pieces else "".join((*pieces, text[done:]))


def _element(found: re.Match[str], names: Names, withhold: Withhold) -> str:
    name, content = found[1].rpartition(":")[2], found[2]
    decision = names.decide(name)
    if decision == HARMLESS or tells_nothing(content.strip(), decision):
        return found[0]
    return found[0][: -len(content)] + withhold(content, name)


def _named_value(text: str, found: re.Match[str], names: Names) -> tuple[Value | None, bool]:  # noqa: PLR0911 - each says why there is none
    """The value that a name stands for, and whether it is a secret; None where it is to be looked into."""
    name, quote, equals, comma, _ = found.groups()
    start = found.end()
    if equals is None and not _is_pair_without_sign(text, found):
        return None, False
    decision = _decide(text, found, names)
    if decision == HARMLESS:
        return (_value_beside(text, start, names) if equals and name in _NAME_FIELDS else None), True
    if quote and equals:
        start = _next_line(text, start)
    if comma and not begins_string(text, start):
        return None, False
    value = value_at(text, start)
    if value is None or (comma and not name.startswith("-") and not _ends_the_pair(text, found, value)):
        return None, False
    if not value.quoted and not quote and equals and ":" in equals and name.lower().endswith(_HEADERS_OF_MANY_WORDS):
        line = _LINE.match(text, start)
        end = max(value.end, line.end() if line else 0)
        value = Value(start, end, end, quoted=False)
    if not _tells_nothing(text, value, name, decision, equals or ""):
        return value, True
    assigned = _ASSIGNED.match(text, value.end) if equals and ":" in equals and not value.quoted else None
    if assigned is None or not begins_string(text, assigned.end()):
        return value, False
    value = value_at(text, assigned.end())  # password: str = "x"
    return value, value is not None and not tells_nothing(text[value.start : value.end], decision)


def _next_line(text: str, start: int) -> int:
    """Where the value begins: JSON may have it on the line after its name."""
    spaces = _SPACES.match(text, start)
    return spaces.end() if spaces else start


def _is_pair_without_sign(text: str, found: re.Match[str]) -> bool:
    name, quote, _, comma, _ = found.groups()
    if comma:
        return bool(quote) and (name.startswith("--") or _opened(text, found) is not None)
    return name.startswith("-")


def _opened(text: str, found: re.Match[str]) -> re.Match[str] | None:
    return _OPENED.search(text[max(0, found.start() - 8) : found.start()])


def _ends_the_pair(text: str, found: re.Match[str], value: Value) -> bool:
    """Whether the value is the second of a tuple, or of a list of two."""
    opened = _opened(text, found)
    return opened is not None and (opened[1] == "(" or _SECOND_OF_TWO.match(text, value.after) is not None)


def _decide(text: str, found: re.Match[str], names: Names) -> int:
    name = found[1].strip(".-%")
    decision = names.decide_key(name) if "." in name else names.decide(name)
    if decision == HARMLESS and name.lower() in _NEEDS_MORE_WORDS:
        before = _WORDS_BEFORE.search(text[max(0, found.start() - 40) : found.start()])
        if before is not None:
            return names.decide(f"{before[1]}_{name}")
    return decision


def _value_beside(text: str, start: int, names: Names) -> Value | None:
    """The value of `{"name": "password", "value": "x"}`."""
    if not begins_string(text, start):
        return None
    named = value_at(text, start)
    if named is None or not named.quoted or names.decide(text[named.start : named.end][:128]) == HARMLESS:
        return None
    field = _VALUE_FIELD.match(text, named.after)
    value = value_at(text, field.end()) if field else None
    return None if value is None or is_placeholder(text[value.start : value.end]) else value


def _tells_nothing(text: str, value: Value, name: str, decision: int, equals: str) -> bool:
    content = text[value.start : value.end]
    if tells_nothing(content, decision):
        return True
    if value.quoted:
        return False
    last = name.rpartition(".")[2]
    # The lines of code in a stack trace: `password: str`, `token=token`, `password=self.password`.
    # And the words of a refusal: `password: must be longer`.
    if ":" in equals and (content in _TYPES or _PROSE.fullmatch(content)):
        return True
    if is_code(content, last, equals):
        return True
    return content == last or content.endswith(f".{last}")
