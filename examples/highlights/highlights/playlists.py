"""HLS playlists as FFmpeg shall see them: absolute addresses, one quality, and no long sleeps while live."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import urljoin

from highlights.addresses import ForbiddenAddress
from highlights.failures import StreamFailure

__all__ = ["Playlist", "rewrite"]

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_URI = re.compile(r'(?<=\bURI=")[^"]*')
_MOST_LINES = 1080


class Playlist(NamedTuple):
    """A playlist's text, and for one that still grows the seconds between two looks at it."""

    text: str
    look_every: float | None


def rewrite(text: str, base: str) -> Playlist:
    """Give the playlist that came from `base` to FFmpeg.

    A relative entry is resolved here, for FFmpeg doesn't learn of redirects; an entry that isn't http or https raises
    ForbiddenAddress, and encryption StreamFailure. Of several qualities one stays, for FFmpeg would open and read them
    all. A live playlist claims segments of one second, because FFmpeg sleeps for as long as a segment without a chance
    to wake it: whoever opens the playlist again is kept waiting for `look_every` seconds instead.
    """
    lines = [_absolute(line.strip(), base) for line in text.splitlines() if line.strip()]
    keys = [_attributes(line) for line in lines if line.startswith("#EXT-X-KEY:")]
    if any(key.get("METHOD") != "NONE" for key in keys):
        raise StreamFailure("not_a_video", "The stream is encrypted.")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return Playlist("\n".join(_one_quality(lines)) + "\n", None)
    if "#EXT-X-ENDLIST" in lines:
        return Playlist("\n".join(lines) + "\n", None)
    target = next((line.partition(":")[2] for line in lines if line.startswith("#EXT-X-TARGETDURATION:")), "")
    lines = [_hurried(line) for line in lines]
    return Playlist("\n".join(lines) + "\n", min(max(float(target) if target.isdigit() else 2.0, 1.0), 20.0) / 2)


def _absolute(line: str, base: str) -> str:
    if line.startswith("#"):
        return _URI.sub(lambda found: _allowed(urljoin(base, found[0])), line)
    return _allowed(urljoin(base, line))


def _allowed(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ForbiddenAddress("The playlist has an entry that is neither an http nor an https address.")
    return url


def _hurried(line: str) -> str:
    if line.startswith("#EXT-X-TARGETDURATION:"):
        return "#EXT-X-TARGETDURATION:1"
    return "#EXTINF:1," if line.startswith("#EXTINF:") else line


def _attributes(line: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in _ATTRIBUTE.findall(line.partition(":")[2])}


def _one_quality(lines: list[str]) -> list[str]:
    """The best picture of at most 1080 lines, with the one sound track that belongs to it."""
    variants = [
        (_attributes(line), line, uri)
        for line, uri in pairwise(lines)
        if line.startswith("#EXT-X-STREAM-INF:") and not uri.startswith("#")
    ]
    if not variants:
        return lines
    chosen, header, uri = max(variants, key=lambda variant: _preference(variant[0]))
    tracks = [
        (attributes, line)
        for line in lines
        if line.startswith("#EXT-X-MEDIA:")
        and (attributes := _attributes(line))
        and attributes.get("TYPE") == "AUDIO"
        and attributes.get("GROUP-ID") == chosen.get("AUDIO")
    ]
    tracks.sort(key=lambda track: track[0].get("DEFAULT") != "YES")
    return ["#EXTM3U", *(line for _, line in tracks[:1]), header, uri]


def _preference(variant: dict[str, str]) -> tuple[bool, bool, int]:
    lines = variant.get("RESOLUTION", "").partition("x")[2]
    bandwidth = int(variant["BANDWIDTH"]) if variant.get("BANDWIDTH", "").isdigit() else 0
    small = not lines.isdigit() or int(lines) <= _MOST_LINES
    return bool(lines), small, bandwidth if small else -bandwidth
