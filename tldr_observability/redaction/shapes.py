"""Credentials that are told by their looks, whatever they are called: one table, one regular expression."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.opaque import is_opaque

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["BEGINNINGS", "redact_shapes"]

_SHAPES: Final = {
    "aws_access_key": r"(?:AKIA|ASIA|ABIA|ACCA)(?<!\w\w\w\w\w)[A-Z0-9]{16}(?!\w)",
    "aws_bedrock_key": r"ABSK[A-Za-z0-9+/]{60,}+=*+",
    "github": r"gh[pousr]_[A-Za-z0-9]{16,}+|github_pat_\w{20,}+",
    "gitlab": r"gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[\w\-.]{16,}+|GR1348941[\w\-]{16,}+",
    "bitbucket": r"ATBB[A-Za-z0-9]{24,}+|ATCTT3[\w\-=]{40,}+",
    "atlassian": r"ATATT3[\w\-=]{40,}+",
    "slack": r"xox[a-z](?:\.xox[a-z])?-[\w\-]{10,}+|xapp-\d-[\w\-]{10,}+",
    "stripe": r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[\w+/=\-]{16,}+",
    "google": r"AIza[\w\-]{30,}+|ya29\.[\w\-]{16,}+|GOCSPX-[\w\-]{16,}+|1//0[\w\-]{24,}+",
    "openai_anthropic": r"sk-(?<!\wsk-)(?=[A-Za-z_\-]{0,60}+\d)[\w\-]{20,}+",
    "sendgrid": r"SG\.[\w\-]{16,}+\.[\w\-]{16,}+",
    "twilio": r"SK(?<!\w\w\w)[0-9a-f]{32}(?!\w)",
    "npm": r"npm_[A-Za-z0-9]{30,}+",
    "pypi": r"pypi-[\w\-]{24,}+",
    "logfire": r"pylf_v\d++_[\w\-]{8,}+",
    "digitalocean": r"do[opr]_v1_[0-9a-f]{32,}+",
    "shopify": r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}",
    "square": r"sq0[a-z]{3}-[\w\-]{20,}+",
    "facebook": r"EAA[A-Za-z0-9]{60,}+",
    "vault": r"hv[sbr]\.[\w\-]{20,}+",
    "terraform": r"atlasv1\.[\w\-]{40,}+",
    "grafana": r"glsa_\w{30,}+|glc_[\w+/=]{30,}+",
    "huggingface": r"hf_[A-Za-z0-9]{28,}+",
    "replicate": r"r8_[A-Za-z0-9]{30,}+",
    "groq_xai": r"gsk_[A-Za-z0-9]{30,}+|xai-[A-Za-z0-9]{40,}+|pplx-[A-Za-z0-9]{30,}+",
    "linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}+",
    "notion": r"ntn_[A-Za-z0-9]{30,}+|secret_[A-Za-z0-9]{40,}+",
    "mailgun": r"key-(?<!\wkey-)[0-9a-f]{32}(?!\w)",
    "mailchimp": r"(?<=[0-9a-f]{32})-us\d{1,2}+(?!\w)",
    "telegram": r"AA[\w\-]{33}(?<=\d{6}:AA[\w\-]{33})(?![\w\-])",
    "databricks": r"dapi[0-9a-f]{32}",
    "docker": r"dckr_pat_[\w\-]{20,}+",
    "supabase": r"sbp_[0-9a-f]{30,}+|sb_secret_[\w\-]{20,}+",
    "planetscale": r"pscale_(?:tkn|pw|oauth)_[\w\-.]{20,}+",
    "postman": r"PMAK-[0-9a-f\-]{40,}+",
    "new_relic": r"NR(?:AK|JS|II|RA)-[\w\-]{20,}+",
    "brevo": r"xkeysib-[0-9a-f\-]{40,}+",
    "sentry": r"sntry[su]_[\w+/=\-]{30,}+",
    "rubygems": r"rubygems_[0-9a-f]{40,}+",
    "figma": r"figd_[\w\-]{20,}+",
    "doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w\-.]{30,}+",
    "age": r"AGE-SECRET-KEY-1[A-Z0-9]{30,}+",
    "extended_private_key": r"xprv[A-Za-z0-9]{80,}+",
    "twitch": r"oauth:[a-z0-9]{30}(?!\w)|live_\d{5,12}_[A-Za-z0-9]{20,}+",
    "slack_webhook": r"/T[A-Z0-9]{6,}+/B[A-Z0-9]{6,}+/\w{16,}+",
    "discord_webhook": r"/webhooks/\d{15,20}+/[\w\-]{40,}+",
    "azure_account_key": r"==(?<![\w+/][\w+/]{86}==)(?<=[\w+/]{86}==)(?![\w+/=])",
}
_SHAPE: Final = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _SHAPES.items()))
BEGINNINGS: Final = (
    r"eyJ|A(?:KIA|SIA|BIA|CCA|BSK|Iza|TBB|T[AC]TT3|A[\w\-]{33}|WS4|GE-)|gh[pousr]_|github_pat|gl[a-z]{2,5}-|GR1348941|xox[a-z]"
    r"|xapp-|sk[\-_]|rk_|whsec_|ya29\.|GOCSPX|1//0|SG\.|SK[0-9a-f]{8}|npm_|pypi-|pylf_|do[opr]_v1|shp[a-z]{2}_|sq0|EAA|hv[sbr]\."
    r"|atlasv1|gl(?:sa|c)_|hf_|r8_|gsk_|xai-|pplx-|lin_|ntn_|secret_|key-|-us\d|dapi|dckr_|sbp_|sb_secret|pscale_|PMAK|NR[A-Z]{2}-"
    r"|xkeysib|sntry|rubygems_|figd_|dp\.|xprv|oauth:|live_|/T[A-Z0-9]|/webhooks/|=="
    r"|\.[\w\-]{6}\."
)
"""What one of the shapes may begin with, for a first look."""

_JWT: Final = re.compile(r"(?<![\w\-])([\w\-]{9,}+)\.[\w\-.]{6,}+")
_SCHEME: Final = re.compile(r"(?<!\w)(?:[Bb]earer|BEARER|[Bb]asic|BASIC)[ \t]++([\w+/.~\-]{6,}+={0,2}+)")
_FIELD: Final = r"\w++=(?:\\?\"[^\"\n]*+\"|[^\s\"]++)"
_DIGEST: Final = re.compile(rf"(?<!\w)(?:Digest|AWS4-HMAC-SHA256)[ \t]++({_FIELD}(?:,?[ \t]*+{_FIELD})*+)")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"[\w+/=\s\\:,.()@\-]*+")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_AWS_SECRET: Final = re.compile(r"(?<![\w/+])[A-Za-z0-9/+]{40}(?![\w/+])=?")
_DISCORD: Final = re.compile(r"(?<![\w.\-])[MNO][\w\-]{22,27}+\.[\w\-]{6}\.[\w\-]{25,}+")
_SMALL_BEARER: Final = 16


def redact_shapes(text: str, withhold: Withhold) -> str:
    """The text without what looks like a credential."""
    if "PRIVATE KEY" in text:
        text = _without_private_keys(text, withhold)
    text = _SCHEME.sub(lambda found: _scheme(found, withhold), text)
    if "Digest" in text or "AWS4" in text:
        text = _DIGEST.sub(lambda found: found[0][: -len(found[1])] + withhold(found[1], "authorization"), text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: _jwt(found, withhold), text)
    text = _SHAPE.sub(lambda found: _shape(found, withhold), text)
    text = _DISCORD.sub(lambda found: withhold(found[0], "discord"), text)
    return _AWS_SECRET.sub(
        lambda found: withhold(found[0], "aws_secret_key") if is_opaque(found[0]) else found[0], text
    )


def _shape(found: re.Match[str], withhold: Withhold) -> str:
    return withhold(found[0], str(found.lastgroup))


def _jwt(found: re.Match[str], withhold: Withhold) -> str:
    at = found[1].find("eyJ")
    return found[0] if at < 0 else found[0][:at] + withhold(found[0][at:], "jwt")


def _scheme(found: re.Match[str], withhold: Withhold) -> str:
    value = found[1]
    if found[0][0] in "Bb" and found[0][1] in "eE":
        plausible = len(value) >= _SMALL_BEARER or any(character.isdigit() for character in value)
    else:
        plausible = _is_user_and_password(value)
    return found[0][: -len(value)] + withhold(value, "authorization") if plausible else found[0]


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in b64decode(
            value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4), altchars=b"-_" if "-" in value else None
        )
    except (binascii.Error, ValueError):
        return False


def _without_private_keys(text: str, withhold: Withhold) -> str:
    pieces: list[str] = []
    done = 0
    while (begin := _PEM.search(text, done)) is not None:
        body = _PEM_BODY.match(text, begin.end())
        limit = body.end() if body else begin.end()
        end = _PEM_END.search(text, begin.end(), limit)
        after = end.end() if end else limit
        pieces += text[done : begin.start()], withhold(text[begin.start() : after], "private_key")
        done = after
    return "".join((*pieces, text[done:]))
