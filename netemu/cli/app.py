"""The verbs, put together."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

VERBS: dict[str, dict[str, Any]] = {
    "up": {},
    "run": {"allow_interspersed_args": False},  # what follows its command is the command's
    "wire": {},
    "ls": {},
    "link": {},
    "rule": {"ignore_unknown_options": True},
    "router": {},
    "ss": {},
    "why": {},
    "capture": {},
    "nstat": {},
    "binds": {},
    "down": {},
    "serve": {},
    "nc": {},
    "forward": {},
    "exec": {"allow_interspersed_args": False},  # as for run
    "doctor": {},
    "story": {},
    "trouble": {},
    "profile": {},
    "scenario": {},
    "packetdrill": {"ignore_unknown_options": True},  # packetdrill's own are read by the verb
}
"""Each is a function in a module of its name, or there a ``group`` of them; with what typer is to know of it."""


def make_app(arguments: list[str]) -> typer.Typer:
    """The application. Of the verbs only the one that is asked for: all of them take 40 ms longer."""
    app = typer.Typer(
        name="netemu",
        rich_markup_mode=None,  # importing rich takes longer than most commands
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(invoke_without_command=True)(netemu)
    for verb in arguments[:1] if arguments[:1] and arguments[0] in VERBS else VERBS:
        module = import_module(f"netemu.cli.{verb}")
        group = getattr(module, "group", None)
        if group is not None:
            app.add_typer(group, name=verb, context_settings=VERBS[verb])
            continue
        app.command(verb, cls=getattr(module, "Command", None), context_settings=VERBS[verb])(getattr(module, verb))
    return app


def print_version(wanted: bool) -> None:
    if wanted:
        from netemu import __version__

        print(f"netemu {__version__}")
        raise typer.Exit


def netemu(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> int:
    """An IP host that lives in a Python process, on a Linux TUN device.

    Real clients talk to it, and it tells packet by packet which socket of which app got it, and why.

    \b
    Try it in a private network namespace (no trace is left):
      netemu run -- curl http://198.18.0.2/
    Or on this machine, and look at it from another terminal:
      sudo netemu up
      curl http://198.18.0.2/
      netemu ss -a
      netemu capture
    Does this machine have what it takes?
      netemu doctor
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        return 2
    return 0
