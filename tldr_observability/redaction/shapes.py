"""Credentials that are told by their looks, whatever they are called: one table, one regular expression."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from tldr_observability.redaction.opaque import is_opaque

if TYPE_CHECKING:
    from tldr_observability.redaction.match import Withhold

__all__ = ["has_sign_of_shape", "redact_shapes"]

_SHAPES: Final = {
    "aws_access_key": ("AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)(?<!\w\w\w\w\w)[A-Z0-9]{16}(?!\w)"),
    "aws_bedrock_key": ("ABSK", r"ABSK[A-Za-z0-9+/]{60,}+=*+"),
    "github": ("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"gh[pousr]_[A-Za-z0-9]{16,}+|github_pat_\w{20,}+"),
    "gitlab": (
        "glpat- gloas- gldt- glrt- glcbt- glptt- glft- glimt- glagent- glsoat- glffct- GR1348941",
        r"gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[\w\-.]{16,}+|GR1348941[\w\-]{16,}+",
    ),
    "bitbucket": ("ATBB ATCTT3", r"ATBB[A-Za-z0-9]{24,}+|ATCTT3[\w\-=]{40,}+"),
    "atlassian": ("ATATT3", r"ATATT3[\w\-=]{40,}+"),
    "slack": ("xox xapp-", r"xox[a-z](?:\.xox[a-z])?-[\w\-]{10,}+|xapp-\d-[\w\-]{10,}+"),
    "stripe": ("k_live_ k_test_ whsec_", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[\w+/=\-]{16,}+"),
    "google": ("AIza ya29. GOCSPX- 1//0", r"AIza[\w\-]{30,}+|ya29\.[\w\-]{16,}+|GOCSPX-[\w\-]{16,}+|1//0[\w\-]{24,}+"),
    "openai_anthropic": ("sk-", r"sk-(?<!\wsk-)(?=[A-Za-z_\-]{0,60}+\d)[\w\-]{20,}+"),
    "sendgrid": ("SG.", r"SG\.[\w\-]{16,}+\.[\w\-]{16,}+"),
    "twilio": ("SK", r"SK(?<!\w\w\w)[0-9a-f]{32}(?!\w)"),
    "npm": ("npm_", r"npm_[A-Za-z0-9]{30,}+"),
    "pypi": ("pypi-", r"pypi-[\w\-]{24,}+"),
    "logfire": ("pylf_v", r"pylf_v\d++_[\w\-]{8,}+"),
    "digitalocean": ("_v1_", r"do[opr]_v1_[0-9a-f]{32,}+"),
    "shopify": ("shpat_ shpss_ shpca_ shppa_", r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}"),
    "square": ("sq0", r"sq0[a-z]{3}-[\w\-]{20,}+"),
    "facebook": ("EAA", r"EAA[A-Za-z0-9]{60,}+"),
    "vault": ("hvs. hvb. hvr.", r"hv[sbr]\.[\w\-]{20,}+"),
    "terraform": ("atlasv1.", r"atlasv1\.[\w\-]{40,}+"),
    "grafana": ("glsa_ glc_", r"glsa_\w{30,}+|glc_[\w+/=]{30,}+"),
    "huggingface": ("hf_", r"hf_[A-Za-z0-9]{28,}+"),
    "replicate": ("r8_", r"r8_[A-Za-z0-9]{30,}+"),
    "groq_xai": ("gsk_ xai- pplx-", r"gsk_[A-Za-z0-9]{30,}+|xai-[A-Za-z0-9]{40,}+|pplx-[A-Za-z0-9]{30,}+"),
    "linear": ("lin_", r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}+"),
    "notion": ("ntn_ secret_", r"ntn_[A-Za-z0-9]{30,}+|secret_[A-Za-z0-9]{40,}+"),
    "mailgun": ("key-", r"key-(?<!\wkey-)[0-9a-f]{32}(?!\w)"),
    "mailchimp": ("-us", r"(?<=[0-9a-f]{32})-us\d{1,2}+(?!\w)"),
    "telegram": (":AA", r"AA[\w\-]{33}(?<=\d{6}:AA[\w\-]{33})(?![\w\-])"),
    "databricks": ("dapi", r"dapi[0-9a-f]{32}"),
    "docker": ("dckr_pat_", r"dckr_pat_[\w\-]{20,}+"),
    "supabase": ("sbp_ sb_secret_", r"sbp_[0-9a-f]{30,}+|sb_secret_[\w\-]{20,}+"),
    "planetscale": ("pscale_", r"pscale_(?:tkn|pw|oauth)_[\w\-.]{20,}+"),
    "postman": ("PMAK-", r"PMAK-[0-9a-f\-]{40,}+"),
    "new_relic": ("NRAK- NRJS- NRII- NRRA-", r"NR(?:AK|JS|II|RA)-[\w\-]{20,}+"),
    "brevo": ("xkeysib-", r"xkeysib-[0-9a-f\-]{40,}+"),
    "sentry": ("sntry", r"sntry[su]_[\w+/=\-]{30,}+"),
    "rubygems": ("rubygems_", r"rubygems_[0-9a-f]{40,}+"),
    "figma": ("figd_", r"figd_[\w\-]{20,}+"),
    "doppler": ("dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w\-.]{30,}+"),
    "age": ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{30,}+"),
    "extended_private_key": ("xprv", r"xprv[A-Za-z0-9]{80,}+"),
    "twitch": ("oauth: live_", r"oauth:[a-z0-9]{30}(?!\w)|live_\d{5,12}_[A-Za-z0-9]{20,}+"),
    "slack_webhook": ("/T", r"/T[A-Z0-9]{6,}+/B[A-Z0-9]{6,}+/\w{16,}+"),
    "discord_webhook": ("/webhooks/", r"/webhooks/\d{15,20}+/[\w\-]{40,}+"),
    "azure_account_key": ("==", r"==(?<![\w+/][\w+/]{86}==)(?<=[\w+/]{86}==)(?![\w+/=])"),
}
"""By name: texts of which one must be there, separated by spaces, and the regular expression for the whole.

Looking for the texts first is what keeps a long text cheap: a regular expression of all shapes would try each of them
at each character.
"""

_TABLE: Final = [(name, tuple(signs.split()), re.compile(pattern)) for name, (signs, pattern) in _SHAPES.items()]
_SIGNS: Final = ("eyJ", "AWS4", *(sign for _, signs, _ in _TABLE for sign in signs))

_JWT: Final = re.compile(r"(?<![\w\-])([\w\-]{9,}+)\.[\w\-.]{6,}+")
_SCHEME: Final = re.compile(r"(?<!\w)(?:[Bb]earer|BEARER|[Bb]asic|BASIC)[ \t]++([\w+/.~\-]{6,}+={0,2}+)")
_FIELD: Final = r"\w++=(?:\\?\"[^\"\n]*+\"|[^\s\"]++)"
_DIGEST: Final = re.compile(rf"(?<!\w)(?:Digest|AWS4-HMAC-SHA256)[ \t]++({_FIELD}(?:,?[ \t]*+{_FIELD})*)")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"[\w+/=\s\\:,.()@\-]*+")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_AWS_SECRET: Final = re.compile(r"(?<![\w/+])[A-Za-z0-9/+]{40}(?![\w/+])=?")
_DISCORD: Final = re.compile(r"(?<![\w.\-])[MNO][\w\-]{22,27}+\.[\w\-]{6}\.[\w\-]{25,}+")
_DISCORD_MIDDLE: Final = re.compile(r"\.[\w\-]{6}\.")
_SMALL_BEARER: Final = 16


def has_sign_of_shape(text: str) -> bool:
    """Whether one of the shapes may be in a text."""
    return any(map(text.__contains__, _SIGNS)) or _DISCORD_MIDDLE.search(text) is not None


def redact_shapes(text: str, withhold: Withhold) -> str:
    """The text without what looks like a credential."""
    if "PRIVATE KEY" in text:
        text = _without_private_keys(text, withhold)
    text = _SCHEME.sub(lambda found: _scheme(found, withhold), text)
    if "Digest" in text or "AWS4" in text:
        text = _DIGEST.sub(lambda found: found[0][: -len(found[1])] + withhold(found[1], "authorization"), text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: _jwt(found, withhold), text)
    for name, signs, pattern in _TABLE:
        if any(map(text.__contains__, signs)):
            text = pattern.sub(lambda found, name=name: withhold(found[0], name), text)  # type: ignore[misc]
    text = _DISCORD.sub(lambda found: withhold(found[0], "discord"), text)
    return _AWS_SECRET.sub(
        lambda found: withhold(found[0], "aws_secret_key") if is_opaque(found[0]) else found[0], text
    )


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
