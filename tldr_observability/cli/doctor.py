"""`tldr-obs doctor`: what is configured, on, off and why, what to type to turn it on, whether the endpoint answers.

It reads the environment as `setup()` would, but sets nothing up and sends nothing but empty requests.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

__all__ = ["add_to"]

_EXIT_CODES = """\
exit codes:
  0  all that is configured works (nothing configured to send is fine)
  1  something configured does not work: a rejected token, no answer, a version conflict
  2  bad settings
"""


def add_to(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what is configured, on, off and why, and whether the endpoint answers",
        description="Say what is configured, on, off and why, what to type to turn it on, and whether the endpoint "
        "answers. Reads the environment as setup() does; sends nothing but empty requests.",
        epilog=_EXIT_CODES,
        formatter_class=_formatter(),
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.set_defaults(run=_run)


def _formatter() -> type[argparse.HelpFormatter]:
    from argparse import RawDescriptionHelpFormatter

    return RawDescriptionHelpFormatter


def _run(arguments: argparse.Namespace) -> int:
    from tldr_observability.cli.diagnosis import diagnose  # loads logfire and the SDK, which no other command needs
    from tldr_observability.cli.diagnosis.page import render

    diagnosis = diagnose()
    if arguments.json:
        print(json.dumps(diagnosis.document(), indent=2))
    else:
        print(render(diagnosis, colour=sys.stdout.isatty()))
    return diagnosis.exit_code
