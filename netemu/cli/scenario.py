"""`netemu scenario`: look at the file of a network before it is started."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.cli.common import Json, print_json, print_table, printable

if TYPE_CHECKING:
    from netemu.scenario.show import ScenarioRows

HELP = """Check and show the file of a network (scenario.toml).

    `sudo netemu up scenario.toml` makes it real; netemu.Simulation.load has it in virtual time.

    \b
    A laptop behind a router, and a server:
      seed = 7
      [tun.laptop]                      # a TUN device; whoever is behind it is real
      address = ["10.0.1.2/24"]
      namespace = "laptop"              # made if it is not there
      [host.server]                     # an emulated host
      address = ["10.0.2.2/24"]
      app = ["web=http:80"]
      [router.r1]
      [link.lan]                        # in: to the second end
      ends = ["laptop", "r1 10.0.1.1/24"]
      profile = "wifi"
      [link.wan]
      ends = ["r1", "server"]
      both = "delay 20ms"               # as `netemu link set` has it; also: in, out
      rules = ["in: tcp.flags.syn drop first 1"]
      [[at]]
      time = "10s"
      link = "wan"
      add = "in loss 5%"                # also: set, rule, down, up, reset
    \b
    A router may also have (its ports are called as their links):
      routes = ["10.9.0.0/16 dev wan"]  # over those that follow from the links
      nat = { inside = ["lan"], mapping = "endpoint-independent", udp_timeout = "300s" }
      firewall = ["allow state established,related", "allow in lan", "policy deny"]
    mapping and filtering are endpoint-independent, address-dependent or address-and-port-dependent (RFC 4787); also
    hairpinning, port_preservation, port_parity, port_range, inbound_refresh, tcp_established_timeout,
    tcp_transitory_timeout, icmp_timeout, unsolicited_syn, and forward = ["tcp:8080 -> 10.0.1.2:80"].
    A firewall's lines are tried in their order: allow|deny|reject [in PORT] [out PORT|self] [proto P] [src PREFIX]
    [dst PREFIX] [sport PORTS] [dport PORTS] [state new,established,related,invalid], and policy allow|deny|reject.
    \b
    Also: title = "…", script = "FILE.py:FUNCTION"; of a host: mtu, flavour, sysctl; of a link: cost (of a path).
    """
group = typer.Typer(rich_markup_mode=None, help=HELP)

File = Annotated[str, typer.Argument(metavar="FILE.toml", help="The scenario.")]


@group.command("check")
def check(file: File, json: Json = False) -> int:
    """Say all that is wrong with a scenario, a line each; nothing is started.

    The exit status is 0 when it is right, 2 when it is not, 1 when it cannot be read.

    \b
    Examples:
      netemu scenario check home.toml
      home.toml:12: link.lan.both: loss 120%: a share is between 0% and 100%
    """
    import sys

    from netemu.scenario.reader import read_scenario
    from netemu.scenario.section import ScenarioError

    try:
        scenario = read_scenario(file)
    except ScenarioError as error:
        if json:
            print_json({"ok": False, "problems": list(error.problems)})
        else:
            print("\n".join(printable(problem) for problem in error.problems), file=sys.stderr)
        return 2
    if json:
        print_json({"ok": True, "problems": []})
    else:
        counts = ((len(scenario.hosts()), "host"), (len(scenario.tuns()), "TUN"), (len(scenario.routers()), "router"))
        parts = [plural(number, what) for number, what in (*counts, (len(scenario.links), "link")) if number]
        parts += [plural(len(scenario.timeline), "change")] if scenario.timeline else []
        print(f"{printable(file)}: all right: {', '.join(parts)}")
    return 0


@group.command("show")
def show(file: File, json: Json = False) -> None:
    """Show the nodes, links, routes and timeline of a scenario."""
    from netemu.scenario.reader import read_scenario
    from netemu.scenario.show import rows

    found = rows(read_scenario(file))
    if json:
        return print_json(found)
    return print_scenario(found)


class Format(StrEnum):
    """What `export` writes."""

    toml = "toml"
    mermaid = "mermaid"
    dot = "dot"


@group.command("export")
def export(
    file: File,
    to: Annotated[
        Format,
        typer.Option(
            "--to", help="The whole file with nothing left to defaults, or a diagram (mermaid, graphviz dot)."
        ),
    ] = Format.toml,
) -> None:
    """Print a scenario in another form.

    \b
    Examples:
      netemu scenario export home.toml                            # profiles and defaults written out
      netemu scenario export home.toml --to dot | dot -Tsvg > home.svg
    """
    from netemu.scenario.reader import read_scenario
    from netemu.scenario.show import dot, mermaid, toml

    print({Format.toml: toml, Format.mermaid: mermaid, Format.dot: dot}[to](read_scenario(file)), end="")


def print_scenario(found: ScenarioRows) -> None:
    seed = "" if found.seed is None else f"(seed {found.seed})"
    print(" ".join(part for part in (printable(found.title) or "scenario", seed) if part))
    if found.script:
        print(f"script {printable(found.script)}")
    tables: list[tuple[tuple[str, ...], list[list[object]]]] = [
        (
            ("NODE", "KIND", "ADDRESSES", "MORE"),
            [[n.name, n.kind, " ".join(n.addresses), ", ".join(n.notes)] for n in found.nodes],
        ),
        (
            ("LINK", "FROM", "TO", "COST", "IN", "OUT"),
            [
                [k.name, k.first, k.second, cost(k.cost_in, k.cost_out), k.inward or "-", k.outward or "-"]
                for k in found.links
            ],
        ),
        (("LINK", "RULE"), [[link.name, rule] for link in found.links for rule in link.rules]),
        (
            ("ROUTER", "PREFIX", "LINK", "NEXT"),
            [[r.router, r.prefix, r.link or "refused", r.next or "-"] for r in found.routes],
        ),
        (("TIME", "LINK", "CHANGE"), [[c.time, c.link, c.change] for c in found.timeline]),
    ]
    for header, cells in tables:
        if cells:
            print()
            print_table(header, cells)


def cost(inward: int, outward: int) -> str:
    return str(inward) if inward == outward else f"{inward}/{outward}"


def plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
