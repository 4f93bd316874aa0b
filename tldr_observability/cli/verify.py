"""`tldr-obs verify`: run the checklist of a deployment against an app at work and what it exports.

It listens where a collector would, sends the app requests whose trace ids it knows, and says of each line of the
checklist whether it holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.cli.verification import Report

__all__ = ["add_to"]

_EXIT_CODES = """\
exit codes:
  0  every check holds
  1  one doesn't, or nothing happened by which it could be told
  2  it couldn't be run: bad arguments, the port is taken, the app doesn't answer
"""
_LISTEN = "127.0.0.1:4318"
_BROKEN, _NOT_RUN = 1, 2
_MOST_SECONDS = 86_400.0


def add_to(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="run the checklist of a deployment against a running app and its telemetry",
        description="Run the checklist of a deployment: endpoints generate traces, tasks appear in traces, business "
        "metrics are recorded, errors include stack traces. Listens for the telemetry of an app and its workers, which "
        "export to it when started with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318, and sends the app requests.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="the app; without it, what others cause is waited for and judged"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=_LISTEN,
        help=f"where to take the telemetry in, on loopback (default {_LISTEN})",
    )
    parser.add_argument(
        "--request",
        metavar="REQUEST",
        action="append",
        default=[],
        help="'METHOD /path [JSON body]', may be repeated; default: every GET route of the app's /openapi.json that "
        "has no parameters in its path",
    )
    parser.add_argument(
        "--header",
        metavar="HEADER",
        action="append",
        default=[],
        help="'Name: value', sent with every request; may be repeated",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="how long to wait for telemetry once the requests are answered (default 60)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    from tldr_observability.cli.verification import page
    from tldr_observability.cli.verification.trouble import CannotRunError

    try:
        report = _verify(arguments, _progress())
    except CannotRunError as error:
        if arguments.json:
            print(json.dumps(page.document(None, str(error)), indent=2))
        else:
            print(f"tldr-obs verify: {error}", file=sys.stderr)
        return _NOT_RUN
    if arguments.json:
        print(json.dumps(page.document(report), indent=2))
    else:
        print(page.render(report, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    return 0 if report.ok else _BROKEN


def _verify(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Report:
    from tldr_observability.cli.verification import exercise, judge
    from tldr_observability.cli.verification.sources import ReceiverSource
    from tldr_observability.cli.verification.trouble import CannotRunError

    requests = [exercise.parse_request(text) for text in arguments.request]
    headers = exercise.parse_headers(arguments.header)
    url = None if arguments.url is None else exercise.parse_url(arguments.url)
    if url is None and (requests or headers):
        raise CannotRunError("--request and --header need the app's URL, such as http://127.0.0.1:8000")
    with ReceiverSource(arguments.listen) as source:
        try:
            progress(f"listening on {source.endpoint}")
            exercised = exercise.Exercised()
            if url is not None:
                app = exercise.App(url, headers)
                exercised = exercise.exercise(app, requests, seconds=arguments.timeout, progress=progress)
            return judge(source, exercised, seconds=arguments.timeout, progress=progress)
        finally:
            progress("")


def _progress() -> Callable[[str], None]:
    """One line of standard error, written over and over, on terminals only."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(text: str) -> None:
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return show
