"""`tldr-obs`, the command line. A command is one module here with an `add_to(subparsers)`, named in `_COMMANDS`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tldr_observability import __version__
from tldr_observability.cli import doctor, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = (doctor, verify)
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tldr-obs` with these arguments, by default those of the process, and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    _never_fail_on_characters()
    try:
        if arguments.run is None:
            parser.print_help()
            return 0
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; what is still buffered must not fail at interpreter exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tldr-obs", description="Look after the observability of a Python service.")
    parser.add_argument("--version", action="version", version=f"tldr-obs {__version__}")
    parser.set_defaults(run=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(subparsers)
    return parser


def _never_fail_on_characters() -> None:
    """Escape what the terminal's encoding lacks: a service may have any name."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
