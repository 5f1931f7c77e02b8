"""The command line: one module per verb, and here what all of them end with."""

from __future__ import annotations

import os
import sys
from typing import cast

INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed at run time, 2 wrong usage. An error is one line on stderr."""
    import typer

    from netemu.apps.base import UsageError
    from netemu.cli.app import make_app
    from netemu.runtime.errors import RuntimeFailure

    arguments = sys.argv[1:] if arguments is None else arguments
    command_error = cast(
        "type[Exception]", typer.BadParameter.__mro__[2]
    )  # ClickException, which typer does not export
    try:
        status = make_app(arguments)(arguments, prog_name="netemu", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UsageError as error:
        return complain(str(error), 2)
    except RuntimeFailure as error:
        return complain(str(error), 1)
    except BrokenPipeError:
        return hush()
    except OSError as error:
        return complain(explain(error), 1)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes it an exit status of 1
            return hush()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except command_error as error:
        return complain(usage_line(error), 2)


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
