"""`netemu trouble`: what the ports of the app `trouble` do, and what a good client makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.trouble.addresses import DOMAIN, PORT, PREFIX, address_in, parse_prefixes
from netemu.cli.common import Json, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netemu.apps.base import Network
    from netemu.apps.trouble.table import Trouble


def complete_trouble(incomplete: str) -> list[str]:
    from netemu.apps.trouble.table import BY_NAME

    return [name for name in BY_NAME if name.startswith(incomplete)]


def trouble(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this one.", autocompletion=complete_trouble)
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--list", help="All of them; so it is without a NAME too.")] = False,
    hosts: Annotated[
        bool, typer.Option("--hosts", help=f"Their addresses and names, as /etc/hosts has them: NAME.{DOMAIN}.")
    ] = False,
    addresses: Annotated[
        str | None,
        typer.Option("--addresses", metavar="PREFIX", help=f"As in the app's option of that name [default: {PREFIX}]."),
    ] = None,
    json: Json = False,
) -> None:
    """Ports each of which misbehaves in one known way, to try a client on: what badssl.com is for TLS.

    Each has a name, a port, and a line about what it does, what a good client does about it, and how long that takes.
    Where it is done by a rule for the packets, NAME shows the rule, as `netemu rule add` takes it.

    With addresses=PREFIX each has an address of its own too, at which port 80 (or port=PORT) misbehaves in that way: for
    clients whose port cannot be changed. Several prefixes are joined by '+'.

    \b
    Examples:
      netemu trouble --list
      netemu trouble never-reads
      netemu run --app trouble -- curl -m 3 http://198.18.0.2:10001/    # whose SYNs nobody answers
      sudo netemu up --app trouble
      sudo netemu up --app trouble:20001                                # the ports from 20001 on
      sudo netemu up --app trouble,addresses=198.18.1.0/24              # and http://198.18.1.21/ is truncated
      netemu trouble --hosts | sudo tee -a /etc/hosts                   # so is http://truncated.trouble/
    """
    from netemu.apps.base import UsageError
    from netemu.apps.trouble.table import BY_NAME, SPAN, TROUBLES

    if name is not None and all_of_them:
        raise UsageError("trouble: a NAME or --list, not both")
    if hosts and json:
        raise UsageError("trouble: --hosts or --json, not both; --json has the addresses too")
    if name is not None and name not in BY_NAME:
        raise UsageError(f"trouble {name}: {no_such_trouble(name)}")
    chosen = TROUBLES if name is None else (BY_NAME[name],)
    prefixes = parse_prefixes(PREFIX if addresses is None else addresses, SPAN)
    if hosts:
        print_hosts(chosen, prefixes)
    elif json:
        rows = [row(one, prefixes) for one in chosen]
        print_json(rows if name is None else rows[0])
    elif name is None:
        print_list(chosen, None if addresses is None else prefixes)
    else:
        print_whole(chosen[0], prefixes)


def port(trouble: Trouble) -> int:
    """At the app's default ports."""
    from netemu.apps.trouble.table import BASE

    return BASE + trouble.number


def addresses_of(trouble: Trouble, prefixes: Sequence[Network]) -> list[str]:
    return [str(address_in(prefix, trouble.number)) for prefix in prefixes]


def row(trouble: Trouble, prefixes: Sequence[Network]) -> dict[str, object]:
    return {
        "name": trouble.name,
        "port": port(trouble),
        "addresses": addresses_of(trouble, prefixes),
        "does": trouble.does,
        "client": trouble.client,
        "time": trouble.time,
        "rules": rules(trouble),
    }


def rules(trouble: Trouble) -> list[str]:
    """What `netemu rule add` takes to have the same elsewhere; none where it is no matter of rules."""
    return [rule.format(port=port(trouble)) for rule in trouble.rules]


def print_list(troubles: Sequence[Trouble], prefixes: Sequence[Network] | None) -> None:
    """By port, or by address."""
    places = [str(port(one)) if prefixes is None else " ".join(addresses_of(one, prefixes)) for one in troubles]
    width = max(map(len, places))
    for one, place in zip(troubles, places, strict=True):
        start = f"{place:<{width}}  {one.name:<16} "
        print(f"{start}{one.does}")
        print(f"{'':<{len(start)}}a good client {one.client}; time: {one.time}")


def print_hosts(troubles: Sequence[Trouble], prefixes: Sequence[Network]) -> None:
    for one in troubles:
        for address in addresses_of(one, prefixes):
            print(f"{address} {one.name}.{DOMAIN}")


def print_whole(trouble: Trouble, prefixes: Sequence[Network]) -> None:
    app = f"trouble,addresses={'+'.join(map(str, prefixes))}"
    addresses = addresses_of(trouble, prefixes)
    where = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    for word, text in (
        ("name", trouble.name),
        ("port", str(port(trouble))),
        ("address", f"{' and '.join(addresses)}, port {PORT}, with --app {app}"),
        ("does", trouble.does),
        ("a good client", trouble.client),
        ("time", trouble.time),
        *(("rule", rule) for rule in rules(trouble)),
        ("try", f"netemu run --app trouble -- curl -m 10 http://198.18.0.2:{port(trouble)}/"),
        ("try", f"netemu run --app {app} -- curl -g -m 10 http://{where}/"),
    ):
        print(f"{word + ':':<15}{text}")


def no_such_trouble(name: str) -> str:
    from difflib import get_close_matches

    from netemu.apps.trouble.table import BY_NAME

    near = get_close_matches(name, BY_NAME, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no such trouble; {guess}`netemu trouble --list` names them"
