"""`netemu trouble`: what the ports of the app `trouble` do, and what a good client makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netemu.cli.common import Json, print_json

if TYPE_CHECKING:
    from netemu.apps.trouble.table import Trouble


def complete_trouble(incomplete: str) -> list[str]:
    from netemu.apps.trouble.table import BY_NAME

    return [name for name in BY_NAME if name.startswith(incomplete)]


def trouble(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this one.", autocompletion=complete_trouble)
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--list", help="All of them; so it is without a NAME too.")] = False,
    json: Json = False,
) -> None:
    """Ports each of which misbehaves in one known way, to try a client on: what badssl.com is for TLS.

    Each has a name, a port, and a line about what it does, what a good client does about it, and how long that takes.
    Where it is done by a rule for the packets, NAME shows the rule, as `netemu rule add` takes it.

    \b
    Examples:
      netemu trouble --list
      netemu trouble never-reads
      netemu run --app trouble -- curl -m 3 http://198.18.0.2:10001/    # whose SYNs nobody answers
      sudo netemu up --app trouble
      sudo netemu up --app trouble:20001                                # the ports from 20001 on
    """
    from netemu.apps.base import UsageError
    from netemu.apps.trouble.table import BY_NAME, TROUBLES

    if name is not None and all_of_them:
        raise UsageError("trouble: a NAME or --list, not both")
    if name is not None and name not in BY_NAME:
        raise UsageError(f"trouble {name}: {no_such_trouble(name)}")
    chosen = TROUBLES if name is None else (BY_NAME[name],)
    if json:
        rows = [row(one) for one in chosen]
        print_json(rows if name is None else rows[0])
    elif name is None:
        for one in chosen:
            print_line(one)
    else:
        print_whole(*chosen)


def port(trouble: Trouble) -> int:
    """At the app's default ports."""
    from netemu.apps.trouble.table import BASE

    return BASE + trouble.number


def row(trouble: Trouble) -> dict[str, object]:
    return {
        "name": trouble.name,
        "port": port(trouble),
        "does": trouble.does,
        "client": trouble.client,
        "time": trouble.time,
        "rules": rules(trouble),
    }


def rules(trouble: Trouble) -> list[str]:
    """What `netemu rule add` takes to have the same elsewhere; none where it is no matter of rules."""
    return [rule.format(port=port(trouble)) for rule in trouble.rules]


def print_line(trouble: Trouble) -> None:
    print(f"{port(trouble)}  {trouble.name:<16} {trouble.does}")
    print(f"{'':<24}a good client {trouble.client}; time: {trouble.time}")


def print_whole(trouble: Trouble) -> None:
    for word, text in (
        ("name", trouble.name),
        ("port", str(port(trouble))),
        ("does", trouble.does),
        ("a good client", trouble.client),
        ("time", trouble.time),
        *(("rule", rule) for rule in rules(trouble)),
        ("try", f"netemu run --app trouble -- curl -m 10 http://198.18.0.2:{port(trouble)}/"),
    ):
        print(f"{word + ':':<15}{text}")


def no_such_trouble(name: str) -> str:
    from difflib import get_close_matches

    from netemu.apps.trouble.table import BY_NAME

    near = get_close_matches(name, BY_NAME, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no such trouble; {guess}`netemu trouble --list` names them"
