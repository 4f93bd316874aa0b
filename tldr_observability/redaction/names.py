"""Whether a value is a secret by the name that it goes by.

A name is taken apart into words (`X-Api-Key`, `apiKey` and `API_KEY` are the words api and key), so that `author` is no
auth and `monkey` no key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COUNT", "HARMLESS", "SECRET", "WEAK", "Names"]

HARMLESS: Final = 0
COUNT: Final = 1
"""A number under this name is harmless, anything else is a secret: `tokens`, `has_password`."""
WEAK: Final = 2
"""A state, a kind or a small number under this name is harmless, all else a secret: `session`, `auth`, `pass`."""
SECRET: Final = 3

_MAX_LENGTH: Final = 128
_MOST_NAMES: Final = 4096


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ANYWHERE: Final = _set(
    "password passwords passwd passwds passphrase passphrases passcode pwd secret secrets credential credentials token "
    "tokens apikey apikeys cookie cookies csrf xsrf jwt jws bearer authorization dpop ssn cvv cvc csc otp totp hotp "
    "privatekey mnemonic sessid sessionid phpsessid jsessionid signature hmac accesskey secretkey authtoken authkey "
    "requirepass masterauth sasl"
)
_AT_THE_END: Final = _set("auth oauth pass pin session sid sig cred creds pw psk userinfo")
_WEAK: Final = _set("auth oauth pass session sid sig signature")
_ENDINGS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "tokens",
    "apikey",
    "apikeys",
    "secretkey",
    "accesskey",
    "accountkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authkey",
    "masterkey",
    "sharedkey",
    "licensekey",
    "accesskeyid",
    "sessionid",
    "sessid",
    "cookie",
    "credentials",
    "cardnumber",
    "socialsecurity",
)
"""Of a word written without separators: `PGPASSWORD`, `clientsecret`."""
_BEGINNINGS: Final = ("password", "passwd", "passphrase")
_KINDS_OF_KEY: Final = _set(
    "api secret access private signing signature encryption decryption crypt hmac master license licence auth account "
    "shared ssh service admin deploy subscription stream ingest write root rsa aes pgp gpg tls ssl function security "
    "webhook jwt storage-account connection vapid app application consumer bot host-account publish"
)
_PHRASES: Final = (
    "access key id",
    "secret id",
    "session id",
    "session key",
    "session data",
    "session hash",
    "session cookie",
    "card number",
    "card no",
    "cc number",
    "credit card",
    "debit card",
    "social security",
    "social security number",
    "security code",
    "verification code",
    "access code",
    "auth code",
    "authorization code",
    "one time code",
    "recovery code",
    "recovery codes",
    "backup code",
    "backup codes",
    "mfa code",
    "pin code",
    "seed phrase",
    "recovery phrase",
    "code verifier",
    "client assertion",
    "saml response",
    "connect sid",
    "application default credentials",
)
_ABOUT_IT: Final = _set(
    "accepted age alg algorithm at attempt attempts budget changed class complexity consent count counts counter date "
    "days disabled domain duration enabled end ended endpoint error errors exception exist exists expire expired "
    "expires expiration expiry failures field fields file format hours id ids index issuer kind length len limit "
    "limits location lifetime "
    "method methods minutes mode ms name names on path policy present provider provided rate remaining requests "
    "required resets rotated rotation scope scopes seconds set size source start started stats status stdin strength "
    "style supported timeout time total ttl type types uri url usage used user valid validated validity verified "
    "version warning"
)
"""As the last word of a name: it tells of the secret, and is not the secret."""
_COUNTS: Final = _set("tokens cookies credentials passwords secrets keys sessions")
_BEFORE_COUNTS: Final = _set("has is no num number count max min total avg average needs requires use uses with")
_CONTAINERS: Final = _set("credentials secrets passwords cookies cookie authorization")
_VAGUE: Final = _set("value values raw text plain plaintext data current old new previous next id key string str hash")

_HEADER_WORDS: Final = _set("auth authentication session sign signed sig")
_HARMLESS_KEY_HEADERS: Final = _set("idempotency websocket cache surrogate partition routing sort object primary")
_HARMLESS_HEADERS: Final = _set("www-authenticate proxy-authenticate")
_PARAMETERS: Final = _set(
    "code key otp pin pwd sig pass auth ticket assertion samlresponse samlrequest sid hdnts hdnea"
)
"""Of query strings and forms only: too common as words to be looked for elsewhere."""

_CLASSES: Final = ("Error", "Exception", "Warning")
_ESCAPED: Final = re.compile(r"\\u00([0-7][0-9A-Fa-f])")
_WORD: Final = re.compile(r"[A-Z]++(?![a-z])|[A-Z]?[a-z]++|[^\W\d_A-Za-z]++")


class Names:
    """What names tell.

    Args:
        patterns: regular expressions; a name that one of them matches is a secret's.
    """

    def __init__(self, patterns: Sequence[re.Pattern[str]] = ()) -> None:
        self._patterns = tuple(patterns)
        # The caches are bounded, for names come from outside as well.
        self.decide = lru_cache(_MOST_NAMES)(self._decide)
        self.decide_key = lru_cache(_MOST_NAMES)(self._decide_key)
        self.is_secret_header = lru_cache(_MOST_NAMES)(self._is_secret_header)
        self.decide_parameter = lru_cache(_MOST_NAMES)(self._decide_parameter)

    def _decide(self, name: str) -> int:
        """Judge a name of one level: a field, a variable, a keyword."""
        name = name[-_MAX_LENGTH:]
        if "%" in name:
            name = unquote_plus(name)
        if "\\u00" in name:
            name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
        if any(pattern.search(name) for pattern in self._patterns):
            return SECRET
        if name.endswith(_CLASSES):
            return HARMLESS
        return max(_of_words(_words(name)), _of_words(_words(name.lower())) if not name.islower() else HARMLESS)

    def _decide_key(self, key: str) -> int:
        """Judge a dotted attribute key by its last part, and by the ones before where that says little."""
        if any(pattern.search(key) for pattern in self._patterns):
            return SECRET
        parts = [part for part in key.split(".") if part]
        if not parts:
            return HARMLESS
        last = self._decide(parts[-1])
        if last or len(parts) == 1:
            return last
        before = parts[-2]
        if parts[-1].lower() in _VAGUE or parts[-1].isdigit():
            return max(self._decide(f"{before}_{parts[-1]}"), self._decide(before) if parts[-1].lower() != "id" else 0)
        tells = (_words(parts[-1].lower()) or [""])[-1] in _ABOUT_IT
        return COUNT if not tells and not _CONTAINERS.isdisjoint(part.lower() for part in parts) else HARMLESS

    def _is_secret_header(self, name: str) -> bool:
        """Judge the name of an HTTP header, with whatever separators."""
        name = name.lower().replace("_", "-")[-_MAX_LENGTH:]
        if name in _HARMLESS_HEADERS:
            return any(pattern.search(name) for pattern in self._patterns)
        words = _words(name)
        if words and words[-1] == "key":
            return _HARMLESS_KEY_HEADERS.isdisjoint(words)
        return self._decide(name) >= WEAK or not _HEADER_WORDS.isdisjoint(words)

    def _decide_parameter(self, name: str) -> int:
        """Judge the name of a parameter of a query string or form, percent-encoded or not."""
        plain = unquote_plus(name[-_MAX_LENGTH:])
        if plain.lower() in _PARAMETERS:
            return WEAK if plain.lower() in _WEAK else SECRET
        return max(self._decide(plain), self._decide_key(plain))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _of_words(words: list[str]) -> int:
    if not words:
        return HARMLESS
    phrase = " ".join(words)
    last = words[-1]
    if phrase.endswith(_PHRASES):
        return SECRET
    if last in _ABOUT_IT and not last.endswith(_ENDINGS):
        return HARMLESS
    if not _names_a_secret(words):
        return HARMLESS
    if last in _COUNTS or words[0] in _BEFORE_COUNTS:
        return COUNT
    strong = [word for word in words if word not in _WEAK]
    return SECRET if strong and _names_a_secret(strong) else WEAK if last in _WEAK else SECRET


def _names_a_secret(words: list[str]) -> bool:
    last = words[-1]
    return (
        not _ANYWHERE.isdisjoint(words)
        or last in _AT_THE_END
        or (last in {"key", "keys"} and len(words) > 1 and words[-2] in _KINDS_OF_KEY)
        or any(word.endswith(_ENDINGS) or word.startswith(_BEGINNINGS) for word in words)
        or ("api", "key") in pairwise(words)
    )
