"""`highlights`: the whole service on one machine, for a look (`demo`) and for work on it (`up`)."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    # Whoever starts a command in the background may have made it deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)

    from highlights.launch.customers import ApiError
    from highlights.launch.stack import StackError

    try:
        if asked.command == "up":
            from highlights.launch.services import SERVICES
            from highlights.launch.up import up

            if unknown := set(asked.services) - SERVICES.keys():
                parser.error(f"no such service: {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
            return up(asked.services, asked.data_dir)
        from highlights.launch.demo import Demo, Options

        return Demo(Options(asked.url, asked.keep, asked.max_seconds, asked.data_dir)).run()
    except (StackError, ApiError) as error:
        print(f"\nhighlights: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything is ended.", file=sys.stderr)
        return _INTERRUPTED


def _end(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(_TERMINATED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="highlights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="start everything, take a video through it, show what happened, and end")
    demo.add_argument("url", nargs="?", metavar="URL", help="a video or HLS playlist; default: the sample, as HLS")
    demo.add_argument("--keep", action="store_true", help="leave the services up until Ctrl-C")
    demo.add_argument("--max-seconds", type=float, metavar="N", help="read no more of the stream than this")
    up = commands.add_parser("up", help="run services in the foreground until Ctrl-C")
    up.add_argument(
        "services", nargs="*", metavar="SERVICE", help="valkey, s3, api, worker, customer; default: all but the last"
    )
    for command in (demo, up):
        command.add_argument("--data-dir", type=Path, default=Path("var"), metavar="DIR", help="default: var")
    return parser
