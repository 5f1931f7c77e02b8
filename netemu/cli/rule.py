"""`netemu rule`: rules before the links of a running instance, which packets they met, and what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, Json, client, print_json, print_table
from netemu.cli.link import LinkName
from netemu.cli.quantities import bytes_text, packets_text

if TYPE_CHECKING:
    from netemu.runtime.messages import RuleRow

group = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=False,
    help="Do something to certain packets before a link gets them: drop, delay, change, answer …",
)
HELP = """Add a rule to a link: which packets, and what becomes of them.

    \b
    RULE is [in: | out: | both:] EXPRESSION ACTION[, ACTION]... [LIMIT]...
    An expression is a display filter of Wireshark, such as
      tcp.flags.syn and tcp.dstport == 80      ip.src == 10.0.0.0/8 or udp.port in {53, 8000..8010}
      tcp.payload contains "GET"               not tcp      frame (every packet)
    with fields of frame, ip, ipv6, tcp, udp, icmp and icmpv6, and those of a flow (one direction of a connection):
      flow.packet, flow.data      which packet, and which packet with payload, this is      flow.new
      flow.bytes                  payload bytes before this packet      flow.age, flow.idle   such as > 2s
      flow.retransmission, flow.retransmission.count      it was sent before; the how many-eth time that happens
      flow.attempt                1 when it is sent first, 2 when it is sent again …      flow.pure_ack, flow.syn_count
    A flag by itself means that it is set. Flows are counted from the first rule on that asks for them.

    \b
    Actions:
      drop | delay TIME | duplicate [N] | corrupt [good] | truncate BYTES | mark
      set FIELD=VALUE (or += -=); checksums follow      reset [sender|receiver|both] [out-of-window]
      unreachable [net|host|port|admin] | frag-needed MTU | steer LINK | pass | count
    Limits: of those that match, skip N, every N, probability P%, first N, for TIME
    Rules are tried in their order, until one drops, answers, steers or passes the packet.

    \b
    Examples:
      netemu rule add 'in: tcp.flags.syn and tcp.dstport == 80 drop first 2'
      netemu rule add 'out: flow.retransmission.count == 3 drop'
      netemu rule add 'in: tcp and flow.bytes >= 100000 reset both first 1'
      netemu rule add 'udp delay 200ms probability 10%'
    """


@group.command("add", help=HELP, context_settings={"ignore_unknown_options": True})
def add(
    words: Annotated[list[str], typer.Argument(metavar="RULE...", help="Best in one pair of quotes.")],
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", help="Try it before that rule [default: last].")
    ] = None,
    link: LinkName = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    from netemu.runtime.messages import RuleChange

    text = " ".join(words)
    if not text.strip():
        raise UsageError("a rule is missing, such as 'in: tcp.flags.syn drop first 2'")
    show_rows(client(name).change_rules(RuleChange(rule=text, before=before, link=link)), json)


@group.command("del")
def del_(
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="NUMBER...", help="Of rules, as `netemu rule show` has them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All rules of the link.")] = False,
    link: LinkName = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    """Delete rules of a link. What they did to packets under way is not undone."""
    from netemu.runtime.messages import RuleChange

    if bool(numbers) == every:
        raise UsageError("give the numbers of rules (`netemu rule show`), or --all")
    show_rows(client(name).change_rules(RuleChange(numbers=numbers or [], link=link)), json)


@group.command("show")
def show(link: LinkName = None, name: Instance = None, json: Json = False) -> None:
    """Show the rules of each link in their order, with what they met and did.

    A rule for both directions has a line for each. One whose limit is used up rests, and counts no more packets. Those of
    the app trouble belong to its ports, and to no link: `netemu trouble NAME` shows them, `netemu why` where they match.
    """
    running = client(name)
    rows = running.rules()
    if link is not None:
        known = running.status().links
        if link not in known:
            raise UsageError(f"there is no link {link!r}: give --link with one of {', '.join(known)}")
        rows = [row for row in rows if row.link == link]
    show_rows(rows, json)


def show_rows(rows: list[RuleRow], json: bool) -> None:
    if json:
        print_json(rows)
        return
    header = ("LINK", "WAY", "NUMBER", "MATCH", "ACTION", "MATCHED", "ACTED ON")
    print_table(
        header,
        [
            (
                row.link,
                row.direction,
                str(row.number),
                row.match,
                f"{row.action} {row.limits}".rstrip(),
                f"{packets_text(row.packets)} ({bytes_text(row.bytes)})",
                packets_text(row.acted) + (", rests" if row.rests else ""),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.errors:
            print(f"  rule {row.number}: {packets_text(row.errors)} failed, the last: {row.error}")
