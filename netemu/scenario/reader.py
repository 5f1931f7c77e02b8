"""A scenario from its file (TOML). All that can be wrong with it is found here, and said with file, line and key.

    title = "a home behind NAT"         # for people
    seed = 7                            # of everything random
    script = "more.py:prepare"          # a function that is given the network once it is built (network.call_at: a timeline)

    [host.web]                          # an emulated host
    address = ["10.0.2.2/24"]
    app = ["web=http:80"]               # as --app has it; without this key, the default apps; [] for none
    flavour = "linux"
    sysctl = { "net.ipv4.tcp_sack" = 0 }
    mtu = 1500

    [tun.client]                        # a TUN device; whoever is behind it is real
    address = ["10.0.1.2/24"]           # of the kernel's side
    namespace = "client"                # a named network namespace, made if it is not there; else the present one
    mtu = 1500

    [router.r1]
    routes = ["10.9.0.0/16 dev core"]   # over those of the graph: netemu.router.routes; a port is called as its link
    nat = { inside = ["lan"] }          # netemu.router.nat_config
    firewall = ["allow in lan", "policy deny"]  # netemu.router.firewall

    [link.lan]                          # 'in' is to the second end, 'out' to the first
    ends = ["client", "r1 10.0.1.1/24"] # NODE, and a router's addresses there (without, it gets some of 198.19.0.0/16)
    profile = "lte"                     # `netemu profile list`; the subscriber is at the first end
    both = "delay 5ms"                  # the words of `netemu link set`, on top of the profile
    in = "loss 1%"                      # on top of both
    out = "rate 10mbit"
    rules = ["out: tcp.flags.syn and tcp.dstport == 80 drop first 2"]
    cost = { in = 1, out = 5 }          # of a path through it; or one number

    [[at]]
    time = "10s"
    link = "lan"
    set = "both loss 5%"                # as `netemu link set` takes it; or add = "…", rule = "…", down = true, up = "in",
                                        # reset = true: as it was at the start

Traces and flapping begin with the network. Files that it names (traces, scripts) are looked for where its own file lies.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from netemu.runtime.errors import RuntimeFailure
from netemu.scenario.checks import check_topology, route_tables, with_default_addresses
from netemu.scenario.files import Files
from netemu.scenario.lines import key_lines
from netemu.scenario.links import read_links
from netemu.scenario.model import Scenario
from netemu.scenario.nodes import read_nodes
from netemu.scenario.routers import make_router
from netemu.scenario.section import ScenarioError, Section, Source
from netemu.scenario.timeline import read_timeline

KEYS = ("title", "seed", "script", "host", "tun", "router", "link", "at")
MAX_SEED = 2**64 - 1
MAX_BYTES = 16 << 20
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_scenario(path: str) -> Scenario:
    """The scenario in a file. RuntimeFailure when it cannot be read, ScenarioError when it is wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RuntimeFailure(f"{path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise RuntimeFailure(f"{path}: more than {MAX_BYTES >> 20} MiB: that is no scenario")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScenarioError([f"{path}:{line}: this is no UTF-8 text; give a TOML file"]) from None
    return parse_scenario(text, path, Files(Path(path).parent))


def parse_scenario(text: str, name: str = "scenario.toml", files: Files | None = None) -> Scenario:
    """The scenario in ``text``, which came from the file ``name``; ScenarioError when it is wrong."""
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
        source = Source(name, data, key_lines(text))
    except ValueError as error:  # also of a number that is too long for Python
        raise ScenarioError([_syntax(text, name, str(error))]) from None
    except RecursionError:
        raise ScenarioError([f"{name}:1: no TOML that we can read: it nests too deep"]) from None
    return _read(source, files or Files(Path()))


def _syntax(text: str, name: str, said: str) -> str:
    """tomllib's words, with the line in front."""
    place = _PLACE.search(said)
    line = place[1] if place and place[1] else str(text.count("\n") + 1)
    return f"{name}:{line}: no TOML: {said[: place.start()] if place else said}"


def _read(source: Source, files: Files) -> Scenario:
    seed, title, script = None, "", ""
    document = None
    with source.collecting():
        document = Section(source, (), source.data, keys=KEYS)
    source.check()
    assert document is not None
    with source.collecting():
        title = document.text("title")
    with source.collecting():
        seed = document.integer("seed", 0, 0, MAX_SEED) if "seed" in document else None
    with source.collecting():
        script = _script(document, files)
    nodes = read_nodes(source, document)
    source.check()
    if not nodes:
        raise ScenarioError([f"{source.name}:1: there is no node; give [host.NAME], [tun.NAME] or [router.NAME]"])
    links = read_links(source, document, nodes, files)
    source.check()
    timeline = read_timeline(source, document, links, files)
    scenario = Scenario(source.name, title, seed, nodes, links, timeline, script or None, files)
    check_topology(source, scenario)
    source.check()
    scenario = with_default_addresses(scenario)
    tables, _ = route_tables(scenario)
    for router in scenario.routers():
        with source.collecting():
            try:
                make_router(scenario, router, tables, 0)
            except ValueError as error:
                raise source.wrong(("router", router.name), str(error)) from None
    source.check()
    return scenario


def _script(document: Section, files: Files) -> str:
    script = document.text("script")
    if "script" in document:
        try:
            files.promise(script)
        except ValueError as error:
            raise document.wrong("script", str(error)) from None
    return script
