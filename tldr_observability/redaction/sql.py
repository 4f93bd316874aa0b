"""SQL without its literals: what was asked stays readable, about whom it was asked is gone."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["without_literals"]

_TOKEN: Final = re.compile(
    r"""(?P<comment>--[^\n]*+|/\*(?:[^*]|\*(?!/))*(?:\*/)?|(?:(?<=\s)|^)\#[ ][^\n]*+)
    |(?P<dollar>\$(?:[A-Za-z_]\w*+)?\$)
    |(?P<text>(?<![\w])(?:[eEbBxXnN]|[uU]&|_\w++)?'|')
    |(?P<name>"(?:[^"]|"")*(?:"|$))
    |(?P<word>`[^`]*+`|[^\W\d]\w*+|[:@$%]++[\w(]*+)
    |(?P<number>0[xX][0-9A-Fa-f]++|(?:\d[\w]*+(?:\.\w*+)?|\.\d\w*+)(?:(?<=[eE])[+\-]\d++)?)
    """,
    re.VERBOSE,
)
_STRING: Final = re.compile(r"(?:[^'\\]|''|\\[^'])*'")
_ESCAPED: Final = re.compile(r"(?:[^'\\]|''|\\.)*'", re.DOTALL)
_LIST: Final = frozenset({"in", "values"})
_NO_LIST: Final = frozenset({
    "and", "as", "from", "group", "having", "join", "limit", "on", "or", "order", "returning", "select", "set",
    "union", "where",
})  # fmt: skip
_COMPARED: Final = re.compile(r"(?:[=<>]|\b(?i:like|in|values)\b[\s(]*+|(?i:identified by))\s*+$")


def without_literals(statement: str) -> str:
    """A statement with `?` for each text, number and comment. What can't be told apart for sure is a literal too."""
    pieces: list[str] = []
    done = position = 0
    in_list = False
    while (found := _TOKEN.search(statement, position)) is not None:
        position = found.end()
        word = found[0].lower() if found.lastgroup == "word" else ""
        in_list = word in _LIST or (in_list and word not in _NO_LIST)
        end = _end_of_literal(statement, found, in_list=in_list)
        if end is None:
            continue
        pieces += statement[done : found.start()], "?"
        done = position = max(end, position)
    return "".join((*pieces, statement[done:])) if pieces else statement


def _end_of_literal(statement: str, found: re.Match[str], *, in_list: bool) -> int | None:
    match found.lastgroup:
        case "comment" | "number":
            return found.end()
        case "text":
            string = (_ESCAPED if found[0][0] in "eE" else _STRING).match(statement, found.end())
            # A backslash before a quote means one thing in MySQL and another in PostgreSQL: the rest is withheld.
            return string.end() if string else len(statement)
        case "dollar":
            closing = statement.find(found[0], found.end())
            return closing + len(found[0]) if closing >= 0 else len(statement)
        case "name":
            # MySQL's and SQLite's second kind of text, where another database would have a name.
            before = _COMPARED.search(statement[max(0, found.start() - 24) : found.start()])
            is_text = "`" in statement or (
                (in_list or before is not None) and not statement.startswith(".", found.end())
            )
            return found.end() if is_text or not found[0].endswith('"') else None
    return None
