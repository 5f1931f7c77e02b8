"""`netemu link`: what the links of a running instance do to packets, and what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, Json, client, print_json, print_table
from netemu.cli.quantities import bit_rate, bytes_text, milliseconds, packets_text

if TYPE_CHECKING:
    from netemu.runtime.messages import DirectionRow

group = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=False,
    help="Show and change links while they run: delay, loss, rate, queues …",
)
LinkName = Annotated[
    str | None,
    typer.Option("--link", metavar="NAME", help="Which link; not needed while the instance has only one."),
]
WORDS = """

    \b
    Directions: in is towards the link's second end (with `netemu up`, towards the emulated host), out from it; both is
    what is meant where none is named.
    Words are those of tc-netem(8), and some more:
      delay TIME [JITTER [CORR]] [distribution uniform|normal|pareto|paretonormal|FILE]   keep-order
      loss [random] P [CORR] | loss state P13 [P31 [P32 [P23 [P14]]]] | loss gemodel P [R [1-H [1-K]]]   ecn
      corrupt P [CORR]   duplicate P [CORR]   reorder P [CORR] [gap N]
      rate RATE [OVERHEAD [CELLSIZE [CELLOVERHEAD]]]   trace FILE [loop|hold]   limit PACKETS
      queue droptail|drophead|red|codel|fq_codel|pie [PARAMETER VALUE]... [limit Np|SIZE] [ecn]
      slot MIN [MAX] | slot distribution NAME DELAY JITTER   mtu BYTES [silent]   down   flap UP DOWN
      profile NAME (`netemu profile list`)   seed N   clear"""


@group.command("show")
def show(link: LinkName = None, name: Instance = None, json: Json = False) -> None:
    """Show what is asked of each direction of each link, and what became of the packets.

    A direction of which nothing is asked, and that has no rules, does not look at packets, and counts none.
    """
    rows = client(name).links()
    if link is not None:
        known = ", ".join(dict.fromkeys(row.link for row in rows))
        rows = [row for row in rows if row.link == link]
        if not rows:
            raise UsageError(f"there is no link {link!r}: give --link with one of {known}")
    print_json(rows) if json else print_links(rows)


@group.command("set", context_settings={"ignore_unknown_options": True}, help=f"""Have a link do what WORDS say, and nothing else.

    A direction that is not named stays as it is. What is under way is not lost.{WORDS}

    \b
    Examples:
      netemu link set delay 50ms loss 1%
      netemu link set out rate 10mbit delay 20ms queue fq_codel
      netemu link set in delay 10ms out delay 90ms 10ms distribution normal
      netemu link set profile lte-bad
    """)  # fmt: skip
def set_(
    words: Annotated[list[str], typer.Argument(metavar="[in|out|both] WORDS...", help="What it shall do.")],
    link: LinkName = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    change("set", words, link, name, json)


@group.command("add", help=f"""Have a link do what WORDS say, and what it did before where they say nothing.{WORDS}""")
def add(
    words: Annotated[list[str], typer.Argument(metavar="[in|out|both] WORDS...", help="What it shall do too.")],
    link: LinkName = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    change("add", words, link, name, json)


@group.command("reset")
def reset(
    directions: Annotated[
        list[str] | None, typer.Argument(metavar="[in|out|both]", help="Which direction [default: both].")
    ] = None,
    link: LinkName = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    """Have a link do nothing any more, and its counters begin at zero. Rules stay (`netemu rule del`).

    What is asked of it next begins anew, too: with the same seed, the same packets meet the same.
    """
    change("reset", directions or [], link, name, json)


def change(action: str, words: list[str], link: str | None, name: str | None, json: bool) -> None:
    from netemu.runtime.messages import LinkChange

    files = files_of(words) if action != "reset" else {}
    rows = client(name).change_link(LinkChange(action, words, link, files))
    print_json(rows) if json else print_links(rows)


def files_of(words: list[str]) -> dict[str, str]:
    """The texts of the files that words of a link name. UsageError where the words are wrong."""
    from netemu.cli.settings import read_text
    from netemu.link.reader import WordsError
    from netemu.link.ways import parse_ways

    files: dict[str, str] = {}

    def read_file(path: str) -> str:
        files[path] = text = read_text(path)
        return text

    try:
        parse_ways(words, read_file=read_file)
    except WordsError as error:
        raise UsageError(str(error)) from None
    return files


def print_links(rows: list[DirectionRow]) -> None:
    header = ("LINK", "WAY", "FROM", "TO", "IN", "OUT", "DROPPED", "QUEUED", "ASKED")
    print_table(
        header,
        [
            (
                row.link,
                row.direction,
                row.source,
                row.destination,
                amount(row.packets_in, row.bytes_in),
                amount(row.packets_out, row.bytes_out),
                packets_text(sum(row.dropped.values())),
                amount(row.queued_packets + row.in_flight, None),
                asked(row),
            )
            for row in rows
        ],
    )
    for row in rows:
        for line in details(row):
            print(f"  {row.link} {row.direction}: {line}")


def asked(row: DirectionRow) -> str:
    if not row.rules:
        return row.words or "nothing (packets pass by, uncounted)"
    rules = "1 rule" if row.rules == 1 else f"{row.rules} rules"
    return f"{rules}, then {row.words}" if row.words else rules


def amount(packets: int, size: int | None) -> str:
    return packets_text(packets) + (f" ({bytes_text(size)})" if size else "")


def details(row: DirectionRow) -> list[str]:
    """What happened to packets, where something did."""
    lines = []
    if row.dropped:
        lines.append("dropped " + ", ".join(f"{count} {reason}" for reason, count in sorted(row.dropped.items())))
    counted = ("duplicated", "corrupted", "reordered", "marked", "fragmented", "answered")
    if happened := [f"{getattr(row, word)} {word}" for word in counted if getattr(row, word)]:
        lines.append(", ".join(happened))
    if row.delay_asked is not None and row.delay_measured is not None and row.delay_asked:
        error = f"; error p50 {milliseconds(row.delay_error.p50)}, p99 {milliseconds(row.delay_error.p99)}"
        lines.append(f"delay {milliseconds(row.delay_asked)} asked, {milliseconds(row.delay_measured)} measured{error}")
    if row.sojourn.p50 is not None:
        waits = " ".join(f"p{n} {milliseconds(getattr(row.sojourn, f'p{n}'))}" for n in (50, 95, 99))
        lines.append(f"waited in the queue: {waits}")
    if row.rate_asked is not None and row.rate_measured is not None:
        lines.append(
            f"rate {bit_rate(row.rate_asked)} asked, {bit_rate(row.rate_measured)} measured while packets waited"
        )
    if row.unread:
        lines.append(
            f"{packets_text(row.unread)} never came to the link: the kernel's queue was full, since more came than this "
            "machine does in time"
        )
    if row.late:
        lines.append(
            f"{packets_text(row.late)} left more than 1 ms late: it is asked for more than this machine does in time"
        )
    return lines
