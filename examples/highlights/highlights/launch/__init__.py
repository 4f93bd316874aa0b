"""`highlights`: the whole service on one machine, for a look (`demo`) and for work on it (`up`)."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn

__all__ = ["main"]

_SERVICES = ("valkey", "s3", "customer", "api", "worker")
_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    asked = _parser().parse_args(arguments)
    # Whoever starts a command in the background may have made it deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)
    try:
        return _run(asked)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is ended.", file=sys.stderr)
        return _INTERRUPTED


def _run(asked: argparse.Namespace) -> int:
    from highlights.launch.client import ApiError
    from highlights.launch.stack import StackError

    try:
        asked.data_dir.mkdir(parents=True, exist_ok=True)
        if asked.command == "up":
            from highlights.launch.up import up

            return up(asked.services, asked.data_dir)
        from highlights.launch.demo import Demo, Options

        return Demo(Options(asked.url, asked.keep, asked.max_seconds, asked.data_dir)).run()
    except (StackError, ApiError, OSError) as error:
        print(f"\nhighlights: {error}", file=sys.stderr)
        return 1


def _end(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(_TERMINATED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="highlights", description="The whole service on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="start everything, take a video through it, show what happened, and end")
    demo.add_argument("url", nargs="?", type=_url, metavar="URL", help="a video or HLS playlist; default: the sample")
    demo.add_argument("--keep", action="store_true", help="leave the services up until Ctrl-C")
    demo.add_argument("--max-seconds", type=_seconds, metavar="N", help="read no more of the stream than this")
    up = commands.add_parser("up", help="run services in the foreground until Ctrl-C")
    listed = f"{', '.join(_SERVICES)}; default: all but customer"
    up.add_argument("services", nargs="*", type=_service, metavar="SERVICE", help=listed)
    for command in (demo, up):
        command.add_argument("--data-dir", type=Path, default=Path("var"), metavar="DIR", help="default: var")
    return parser


def _url(text: str) -> str:
    if urlsplit(text).scheme not in {"http", "https"}:
        raise argparse.ArgumentTypeError(f"expected an address with http:// or https://, got {text!r}")
    return text


def _service(text: str) -> str:
    if text not in _SERVICES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(_SERVICES)}, got {text!r}")
    return text


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
