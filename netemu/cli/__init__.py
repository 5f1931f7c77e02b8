"""The command line: one module per verb, and here what all of them end with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import cast

INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed at run time, 2 wrong usage."""
    return guarded(lambda: command(sys.argv[1:] if arguments is None else arguments))


def guarded(call: Callable[[], int]) -> int:
    """The exit status of ``call``. Its errors become one line on stderr; ^C, also while it imports, a shell's status of it."""
    prepare_standard_streams()
    try:
        return told(call)
    except KeyboardInterrupt:
        return INTERRUPTED


def told(call: Callable[[], int]) -> int:
    from netemu.apps.base import UsageError
    from netemu.runtime.errors import RuntimeFailure

    try:
        status = call()
        sys.stdout.flush()
        return status
    except UsageError as error:
        return complain(str(error), 2)
    except RuntimeFailure as error:
        return complain(str(error), 1)
    except BrokenPipeError:
        return hush()
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            hush()  # or Python tries once more at its end, and complains itself
        return complain(explain(error), 1)
    except UnicodeEncodeError as error:  # of a word on the command line
        return complain(f"{error.object!r} is no text in {error.encoding}", 2)


def command(arguments: list[str]) -> int:
    """What typer makes of the words."""
    import typer

    from netemu.cli.app import make_app

    command_error = cast(
        "type[Exception]", typer.BadParameter.__mro__[2]
    )  # ClickException, which typer does not export
    try:
        status = make_app(arguments)(arguments, prog_name="netemu", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes it an exit status of 1
            return hush()
        raise
    except typer.Abort:
        return INTERRUPTED
    except command_error as error:
        return complain(usage_line(error), 2)


def prepare_standard_streams() -> None:
    """Where one of the three is closed, put /dev/null: the next socket would get its number, and what we print. What a terminal
    has no letters for (an app's name, say) is escaped."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def complain(text: str, status: int) -> int:
    print(f"netemu: {text}", file=sys.stderr)
    return status


def hush() -> int:
    """Whoever read our output has seen enough: the rest goes nowhere, and that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def explain(error: OSError) -> str:
    """One line about the machine's refusal. Errors of `tun` say themselves what to do."""
    if type(error).__str__ is not OSError.__str__ or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def usage_line(error: Exception) -> str:
    """typer's complaint in one line, with where to read more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "netemu"
    text = " ".join(getattr(error, "format_message", error.__str__)().split()).rstrip(".")
    return f"{text} (`{command} --help` explains)"
