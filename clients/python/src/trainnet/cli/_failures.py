"""What a failed command prints and answers: one line on stderr, an exit code that tells."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from trainnet.client import (
    ConfigurationError,
    ConnectionFailed,
    InvalidArgument,
    InvalidFile,
    NotFound,
    PermissionDenied,
    TrainNetError,
    TransferError,
    Unauthenticated,
)

FAILED = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
UNREACHABLE = 5
INTERRUPTED = 130

EPILOG = (
    "Exit codes: 0 done, 1 failed (a job, a verification, a state that does not allow it), 2 wrong usage or value, "
    "3 no such thing, 4 token missing or refused, 5 coordinator or store out of reach, 130 interrupted."
)

_CODES: tuple[tuple[type[TrainNetError] | tuple[type[TrainNetError], ...], int], ...] = (
    ((InvalidArgument, InvalidFile, ConfigurationError), USAGE),
    (NotFound, NOT_FOUND),
    ((Unauthenticated, PermissionDenied), DENIED),
    ((ConnectionFailed, TransferError), UNREACHABLE),
)


def complain(what: str, remedy: str = "") -> None:
    """`error: what — remedy`, on one line of stderr."""
    line = " ".join(f"error: {what}".split()).removesuffix(".")
    print(f"{line} — {remedy}" if remedy else line, file=sys.stderr, flush=True)


def explain(error: TrainNetError) -> int:
    """Prints an error of the client and answers the exit code."""
    complain(error.message, error.hint)
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def explain_usage(error: typer.TyperException) -> int:
    """Prints what is wrong with the command line and answers the exit code. Bare groups have shown their help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return USAGE
    path = context.command_path if context is not None else "trainnet"
    complain(error.format_message().rstrip("."), f"see `{path} --help`")
    return USAGE


def explain_interrupt(message: str = "") -> int:
    """Says what Ctrl-C did and answers the exit code."""
    if not message and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal's own ^C stands in this line
    print(message or "interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED


def explain_bug(error: Exception) -> int:
    """For what nobody foresaw: one line for people, the traceback for who asks for it."""
    if os.environ.get("TRAINNET_DEBUG"):
        traceback.print_exception(error)
    complain(f"unexpected {type(error).__name__}: {error}", "TRAINNET_DEBUG=1 shows where; please report it")
    return FAILED
