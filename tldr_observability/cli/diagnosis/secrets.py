"""Texts without the credentials that people put into URLs and, by mistake, into other variables."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["describe", "hide", "host"]

_USER_INFO = re.compile(r"//[^/\s]*@")
_LOGFIRE_TOKEN = re.compile(r"pylf_v\d+_\w+")
_REGION = re.compile(r"pylf_v\d+_([a-z]+)_")


def hide(text: str) -> str:
    """`text` with the user and password of URLs, and whatever looks like a Logfire token, withheld."""
    return _LOGFIRE_TOKEN.sub("[withheld]", _USER_INFO.sub("//[withheld]@", text))


def host(url: str) -> str:
    """The host and port that `url` names: neither user and password nor the path, which may hold a key."""
    return urlsplit(url).netloc.rpartition("@")[2]


def describe(secret: str) -> str:
    """That a token, or several separated by commas, is set, and for which regions; nothing of what it is."""
    tokens = [token for token in map(str.strip, secret.split(",")) if token]
    regions = list(dict.fromkeys(match[1] for token in tokens if (match := _REGION.match(token))))
    facts = [
        *([f"{len(tokens)} tokens"] if len(tokens) > 1 else []),
        *([f"region {' and '.join(regions)}"] if regions else []),
    ]
    return f"set ({', '.join(facts)})" if facts else "set"
