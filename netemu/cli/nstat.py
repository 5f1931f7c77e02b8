"""`netemu nstat`: what was counted, and what the names mean."""

from __future__ import annotations

from typing import Annotated

import typer

from netemu.cli.common import Instance, Json, client, print_json, print_table


def nstat(
    zeros: Annotated[bool, typer.Option("-z", "--zeros", help="Also what has not happened yet.")] = False,
    name: Instance = None,
    json: Json = False,
) -> None:
    """Print the counters, with what they mean.

    Packets are counted by the rule that delivered them or the reason why they were dropped, resets and closed
    connections by their reason. The same names stand in the comments of `netemu capture`.
    """
    counters = client(name).counters()
    if not zeros:
        counters = {group: {word: n for word, n in counts.items() if n} for group, counts in counters.items()}
    if json:
        return print_json(counters)
    rows = [(group, word, n, meaning(group, word)) for group, counts in counters.items() for word, n in counts.items()]
    return print_table(("GROUP", "NAME", "COUNT", "MEANING"), rows, right=("COUNT",))


def meaning(group: str, word: str) -> str:
    from netemu.reasons import Close, Drop, Match, Reason, Reset

    groups: dict[str, type[Reason]] = {"match": Match, "drop": Drop, "reset": Reset, "close": Close}
    known = groups[group].__members__ if group in groups else {}
    return str(known[word].value) if word in known else ""
