"""HLS playlists as FFmpeg shall see them: absolute addresses, one quality, and no long sleeps while live."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import urljoin

from highlights.addresses import ForbiddenAddress
from highlights.failures import StreamFailure

__all__ = ["Playlist", "rewrite"]

_PLAIN = ("#EXTINF:", "#EXT-X-BYTERANGE:", "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-PLAYLIST-TYPE:", "#EXT-X-TARGETDURATION:")
_WITH_ATTRIBUTES = ("#EXT-X-KEY:", "#EXT-X-MAP:", "#EXT-X-MEDIA:", "#EXT-X-STREAM-INF:")
# A name begins where nothing that could be part of it is before: else a long word takes time by its length's square.
_ATTRIBUTE = re.compile(r'(?<![A-Z0-9-])([A-Z0-9-]+)=("[^"]*"|[^",\s]*)')
_MOST_PICTURE_LINES = 1080
_MOST_LINES = 200_000
_MOST_CHARACTERS = 32 * 1024**2
_MOST_DIGITS = 12


class Playlist(NamedTuple):
    """A playlist's text, and for one that still grows the seconds between two looks at it."""

    text: str
    look_every: float | None


def rewrite(text: str, base: str) -> Playlist:
    """Give the playlist that came from `base` to FFmpeg.

    FFmpeg gets the tags that it needs, written anew from what was understood of them. A relative entry is resolved
    here, for FFmpeg doesn't learn of redirects; an entry that isn't http or https raises ForbiddenAddress, encryption
    and a playlist without end StreamFailure. Of several qualities one stays, for FFmpeg would open and read them
    all. A live playlist claims segments of one second, because FFmpeg sleeps for as long as a segment without a chance
    to wake it: whoever opens the playlist again is kept waiting for `look_every` seconds instead.
    """
    lines = _understood(text, base)
    if any(_attributes(line).get("METHOD") != "NONE" for line in lines if line.startswith("#EXT-X-KEY:")):
        raise StreamFailure("not_a_video", "The stream is encrypted.")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return Playlist("\n".join(_one_quality(lines)) + "\n", None)
    if "#EXT-X-ENDLIST" in lines:
        return Playlist("\n".join(lines) + "\n", None)
    target = next((line.partition(":")[2] for line in lines if line.startswith("#EXT-X-TARGETDURATION:")), "")
    lines = [_hurried(line) for line in lines]
    return Playlist("\n".join(lines) + "\n", min(max(float(_number(target) or 2), 1.0), 20.0) / 2)


def _understood(text: str, base: str) -> list[str]:
    """The entries and the tags that FFmpeg reads, as long as there are not too many."""
    made: list[str] = []
    characters = 0
    for number, line in enumerate(text.splitlines()):
        if rewritten := _rewritten(line.strip(), base):
            made.append(rewritten)
            characters += len(rewritten)
        # The address of the playlist is part of each relative entry: a short text can become a very long one.
        if number > _MOST_LINES or characters > _MOST_CHARACTERS:
            raise StreamFailure("not_a_video", "The playlist is too long.")
    return made


def _rewritten(line: str, base: str) -> str:
    if not line.startswith("#"):
        return _absolute(line, base) if line else ""
    if line.startswith(_WITH_ATTRIBUTES):
        attributes = _attributes(line)
        if "URI" in attributes:
            attributes["URI"] = _absolute(attributes["URI"], base)
        return line.partition(":")[0] + ":" + ",".join(f'{name}="{value}"' for name, value in attributes.items())
    return line if line in {"#EXTM3U", "#EXT-X-ENDLIST"} or line.startswith(_PLAIN) else ""


def _absolute(entry: str, base: str) -> str:
    try:
        url = urljoin(base, entry)
    except ValueError as error:
        raise StreamFailure("not_a_video", "The playlist has an entry that is no address.") from error
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
    lines = _number(variant.get("RESOLUTION", "").partition("x")[2])
    bandwidth = _number(variant.get("BANDWIDTH", "")) or 0
    small = lines is None or lines <= _MOST_PICTURE_LINES
    return lines is not None, small, bandwidth if small else -bandwidth


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
