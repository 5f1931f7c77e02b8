"""The scenario file: what it says, and the one line that each mistake gets."""

from __future__ import annotations

import re
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.link.words import words_of
from netemu.runtime.errors import RuntimeFailure
from netemu.scenario.checks import route_tables
from netemu.scenario.files import Files
from netemu.scenario.model import Change, Host, Router, Scenario, Tun
from netemu.scenario.reader import parse_scenario, read_scenario
from netemu.scenario.routers import make_router
from netemu.scenario.section import ScenarioError

GOOD = """title = "all there is"
seed = 7
script = "more.py:prepare"

[host.web]
address = ["10.0.2.2/24"]
app = ["web=http:80", "echo=echo:7"]
flavour = "freebsd"
sysctl = { "net.ipv4.tcp_sack" = 0 }
mtu = 1400

[tun.client]
address = ["10.0.1.2/24"]
namespace = "client"

[router.r1]
nat = { inside = ["lan"] }
firewall = ["allow in lan", "policy deny"]

[router.r2]
routes = ["10.0.1.0/24 dev core"]

[link.lan]
ends = ["client", "r1 10.0.1.1/24"]
profile = "lte"
both = "loss 1%"
in = "delay 5ms"

[link.core]
ends = ["r1", "r2"]
out = "trace down.csv loop"
cost = { in = 1, out = 5 }

[link.wan]
ends = ["r2 10.0.2.1/24", "web"]
rules = ["out: tcp.flags.syn drop first 2", "udp call more.py:mangle"]

[[at]]
time = "20s"
link = "wan"
down = "in"

[[at]]
time = "10s"
link = "lan"
set = "out loss 5%"

[[at]]
time = "1min"
link = "lan"
rule = "in: icmp drop"
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "more.py").write_text("def prepare(network): ...\ndef mangle(packet): return packet\n")
    (tmp_path / "down.csv").write_text("time_s,rate_mbit\n0,10\n5,1\n9,0\n")
    (tmp_path / "lies.csv").write_text("time_s,rate_mbit\n0,10\n5,-1\n")
    (tmp_path / "broken.py").write_text("x = 1\ndef (:\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    return Files(tmp_path)


def parse(text: str, files: Files) -> Scenario:
    return parse_scenario(text, "s.toml", files)


def test_all_that_a_file_says(files: Files) -> None:
    scenario = parse(GOOD, files)
    assert (scenario.title, scenario.seed, scenario.script) == ("all there is", 7, "more.py:prepare")
    web, client, r1, r2 = scenario.nodes.values()
    assert isinstance(web, Host)
    assert web.addresses == (ip_interface("10.0.2.2/24"),)
    assert [(app.name, app.kind, app.port) for app in web.apps] == [("web", "http", 80), ("echo", "echo", 7)]
    assert (web.flavour, web.sysctl, web.mtu) == ("freebsd", {"net.ipv4.tcp_sack": "0"}, 1400)
    assert client == Tun("client", (ip_interface("10.0.1.2/24"),), "client")
    assert r1 == Router("r1", (), {"inside": ["lan"]}, ("allow in lan", "policy deny"))
    assert r2 == Router("r2", ("10.0.1.0/24 dev core",))
    lan, core, wan = scenario.links.values()
    assert words_of(lan.inward) == "delay 5ms loss 1% rate 12mbit"
    assert words_of(lan.outward) == "delay 35ms loss 1% rate 12mbit"
    assert (words_of(core.inward), words_of(core.outward)) == ("", "trace down.csv loop")
    assert (core.cost_in, core.cost_out, wan.cost_in, wan.cost_out) == (1, 5, 1, 1)
    assert [(end.node, *map(str, end.addresses)) for end in wan.ends] == [("r2", "10.0.2.1/24"), ("web", "10.0.2.2/24")]
    assert [str(rule) for rule in wan.rules] == [
        "out: tcp.flags.syn drop first 2",
        "both: udp call more.py:mangle",
    ]
    assert scenario.timeline == (
        Change(10 * 10**9, "lan", "set", "out loss 5%"),
        Change(20 * 10**9, "wan", "down", "in"),
        Change(60 * 10**9, "lan", "rule", "in: icmp drop"),
    )


def test_ports_of_routers_get_addresses_where_they_are_given_none(files: Files) -> None:
    core = parse(GOOD, files).links["core"]
    assert [[str(address) for address in end.addresses] for end in core.ends] == [["198.19.0.1/30"], ["198.19.0.2/30"]]
    text = (
        GOOD.replace('nat = { inside = ["lan"] }', "")
        .replace('"10.0.2.2/24"', '"198.19.0.6/16", "2001:db8::2/64"')
        .replace(" 10.0.2.1/24", "")
    )
    core = parse(text, files).links["core"]  # all of 198.19.0.0/16 is taken, and somebody speaks IPv6
    assert [[str(address) for address in end.addresses] for end in core.ends] == [
        ["2001:2:0:f000::1/64"],
        ["2001:2:0:f000::2/64"],
    ]


def test_addresses_of_an_app_are_no_port_s(files: Files) -> None:
    core = parse(GOOD.replace('"echo=echo:7"', '"trouble,addresses=198.19.0.0/26"'), files).links["core"]
    assert [str(address) for end in core.ends for address in end.addresses] == ["198.19.0.65/30", "198.19.0.66/30"]


def test_a_host_that_names_no_app_has_the_default_ones(files: Files) -> None:
    web = parse(GOOD.replace('app = ["web=http:80", "echo=echo:7"]\n', ""), files).nodes["web"]
    assert isinstance(web, Host)
    assert [app.name for app in web.apps] == ["http", "echo", "discard", "daytime", "chargen"]
    web = parse(GOOD.replace('app = ["web=http:80", "echo=echo:7"]\n', "app = []\n"), files).nodes["web"]
    assert isinstance(web, Host)
    assert web.apps == ()


def test_dotted_sysctl_need_no_quotes(files: Files) -> None:
    web = parse(GOOD.replace('"net.ipv4.tcp_sack" = 0', "net.ipv4.tcp_sack = 0"), files).nodes["web"]
    assert isinstance(web, Host)
    assert web.sysctl == {"net.ipv4.tcp_sack": "0"}


ENDS = 'ends = ["r1", "r2"]'
WRONG = [
    # the file
    ("seed = 7", "seed = ", "s.toml:2: no TOML: Invalid value"),
    ("seed = 7", 'seed = "x', "s.toml:2: no TOML: Illegal character '\\n'"),
    ("seed = 7", "seed = 7\nseed = 8", "s.toml:3: no TOML: Cannot overwrite a value"),
    ("seed = 7", "sede = 7", "s.toml:2: sede: no such key; did you mean 'seed'?"),
    ("seed = 7", "x = 7", "s.toml:2: x: no such key; there are title, seed, script, host, tun, router, link, at"),
    ("seed = 7", "seed = -1", f"s.toml:2: seed: -1 will not do; give a whole number from 0 to {2**64 - 1}"),
    ("seed = 7", "seed = 7.5", f"s.toml:2: seed: 7.5 will not do; give a whole number from 0 to {2**64 - 1}"),
    ("seed = 7", "seed = true", f"s.toml:2: seed: True will not do; give a whole number from 0 to {2**64 - 1}"),
    ('title = "all there is"', "title = 5", "s.toml:1: title: give a text, in quotes"),
    ("more.py:prepare", "more.py", "s.toml:3: script: 'more.py' names no function; give FILE.py:FUNCTION"),
    ("more.py:prepare", "no.py:f", "s.toml:3: script: no.py cannot be read (No such file or directory); give a file that can"),
    ("more.py:prepare", "more.py:go", "s.toml:3: script: more.py has no function 'go'; it has prepare, mangle"),
    ("more.py:prepare", "broken.py:f", "s.toml:3: script: broken.py:2: no Python: invalid syntax"),
    ("more.py:prepare", "bytes.csv:f", "s.toml:3: script: bytes.csv is no text; give a file of Python"),
    # hosts
    ("[host.web]", "[hosts.web]", "s.toml:5: hosts: no such key; did you mean 'host'?"),
    ("[host.web]", '[host."we b"]', "s.toml:5: host.we b: 'we b' is no name; give up to 31 letters, digits or '_', '-', '.'"),
    ("[host.web]", "[host.client]", "s.toml:12: tun.client: there is another node called 'client'; change one of the two"),
    ('address = ["10.0.2.2/24"]\n', "", 's.toml:5: host.web.address: it needs one; give one such as address = ["10.0.1.2/24"]'),
    ('address = ["10.0.2.2/24"]', "address = [5]", "s.toml:6: host.web.address: give texts, in quotes"),
    ('address = ["10.0.2.2/24"]', "address = 5", "s.toml:6: host.web.address: give a list of texts, in brackets and quotes"),
    (
        '"10.0.2.2/24"', '"10.0.2.2"',
        "s.toml:6: host.web.address: '10.0.2.2' has no prefix; give one such as 10.0.1.2/24 or 2001:db8::2/64",
    ),
    (
        '"10.0.2.2/24"', '"10.0.2.2/33"',
        "s.toml:6: host.web.address: '10.0.2.2/33' is no address with its prefix; give one such as 10.0.1.2/24 or 2001:db8::2/64",
    ),
    (
        '"10.0.2.2/24"]', '"10.0.2.2/24",\n"224.0.0.1/24"]',
        "s.toml:7: host.web.address: no node can have the address 224.0.0.1; give one such as 10.0.1.2/24",
    ),
    ('"10.0.2.2/24"', '"10.0.2.0/24"', "s.toml:6: host.web.address: 10.0.2.0/24 is the network itself; give one of its"),
    (
        '"10.0.2.2/24"', '"10.0.2.255/24"',
        "s.toml:6: host.web.address: 10.0.2.255/24 is the network's broadcast address; give another of its addresses",
    ),
    ("app = [", "apps = [", "s.toml:7: host.web.apps: no such key in [host.…]; did you mean 'app'?"),
    ("web=http:80", "web=htp:80", "s.toml:7: host.web.app: web=htp:80: there is no kind 'htp'; did you mean 'http'? kinds: "),
    ("web=http:80", "web=http:0", "s.toml:7: host.web.app: web=http:0: '0' is not a port; give a number from 1 to 65535"),
    ("web=http:80", "web=http:7", "s.toml:7: host.web.app: port 7 is taken twice, by web and echo; change one"),
    ("web=http:80", "web=http:80,x=1", "s.toml:7: host.web.app: http: there is no option 'x'"),
    ('"freebsd"', '"freebds"', "s.toml:8: host.web.flavour: there is no flavour 'freebds'; did you mean 'freebsd'?"),
    (
        '"net.ipv4.tcp_sack" = 0', '"net.ipv4.tcp_sak" = 0',
        "s.toml:9: host.web.sysctl.net.ipv4.tcp_sak: there is no such setting; did you mean 'net.ipv4.tcp_sack'?",
    ),
    (
        '"net.ipv4.tcp_sack" = 0', '"net.ipv4.tcp_sack" = "on"',
        "s.toml:9: host.web.sysctl.net.ipv4.tcp_sack: 'on' will not do; give a number",
    ),
    (
        '"net.ipv4.tcp_sack" = 0', "net.ipv4.tcp_sack = true",
        "s.toml:9: host.web.sysctl.net.ipv4.tcp_sack: give a number, or a text in quotes",
    ),
    ("mtu = 1400", "mtu = 100", "s.toml:10: host.web.mtu: 100 will not do; give a whole number from 576 to 65535 bytes"),
    (
        '"10.0.2.2/24"]', '"2001:db8::2/64"]\nmtu = 1000\n[host.other]\naddress = "10.7.0.1/24"',
        "s.toml:7: host.web.mtu: 1000 will not do; give a whole number from 1280 to 65535 bytes (IPv6)",
    ),
    # TUNs and routers
    (
        "[tun.client]", "[tun.a-name-of-a-device]",
        "s.toml:12: tun.a-name-of-a-device: 'a-name-of-a-device' is too long for a device; give 15 letters at most",
    ),
    ('"client"\n', '"a/b"\n', "s.toml:14: tun.client.namespace: 'a/b' will not do; give a name as `ip netns` lists them"),
    ('{ inside = ["lan"] }', "5", 's.toml:17: router.r1.nat: give a table, such as { inside = ["lan"] }'),
    ('{ inside = ["lan"] }', "{ }", 's.toml:17: router.r1.nat: say which ports are behind it, such as inside = ["lan"]'),
    ('{ inside = ["lan"] }', '{ inside = ["la"] }', "s.toml:17: router.r1.nat: no link 'la' ends at 'r1'; did you mean 'lan'?"),
    ('"allow in lan"', '"alow in lan"', "s.toml:18: router.r1.firewall: rule 'alow in lan': begins with allow, deny or reject"),
    ('"allow in lan"', '"allow in x"', "s.toml:18: router.r1.firewall: no link 'x' ends at 'r1'; there are lan, core"),
    ('"allow in lan"', '"policy allow"', "s.toml:18: router.r1.firewall: rule 'policy deny': the policy is there twice"),
    ("10.0.1.0/24 dev core", "10.0.1.0/24", "s.toml:21: router.r2.routes: route '10.0.1.0/24': a route of kind unicast needs"),
    ("10.0.1.0/24 dev core", "10.0.1.1/24 dev core", "s.toml:21: router.r2.routes: route '10.0.1.1/24 dev core': "),
    (
        "10.0.1.0/24 dev core", "10.0.1.0/24 dev lan",
        "s.toml:21: router.r2.routes: route '10.0.1.0/24 dev lan': nobody with that address is next to 'r2'; "
        "give 'dev' and one of core, wan",
    ),
    ("10.0.1.0/24 dev core", "10.0.1.0/24 via 10.9.9.9", "s.toml:21: router.r2.routes: route '10.0.1.0/24 via 10.9.9.9': nobody"),
    ('{ inside = ["lan"] }', '{ inside = ["lan", "core"] }', "s.toml:16: router.r1: nat: router r1 has no port with an IPv4"),
    # links
    (ENDS, 'ends = ["r1"]', 's.toml:30: link.core.ends: 1 of them; a link has two, such as ["laptop", "r1 10.0.1.1/24"]'),
    (ENDS, 'ends = ["r1", "r1"]', "s.toml:30: link.core.ends: both are 'r1'; a link joins two nodes"),
    (ENDS, 'ends = [\n"r1",\n"r3"]', "s.toml:32: link.core.ends: there is no node 'r3'; there are web, client, r1, r2"),
    (ENDS, 'ends = ["r1 10.0.9.1", "r2"]', "s.toml:30: link.core.ends: '10.0.9.1' has no prefix; give one such as"),
    (
        '"client", "r1 10.0.1.1/24"', '"client 10.0.1.2/24", "r1 10.0.1.1/24"',
        "s.toml:24: link.lan.ends: the addresses of 'client' stand under it, with 'address'; leave 10.0.1.2/24 out",
    ),
    ('profile = "lte"', 'profile = "ltee"', "s.toml:25: link.lan.profile: there is no profile 'ltee'; did you mean 'lte'?"),
    ('"loss 1%"', '"loss 120%"', "s.toml:26: link.lan.both: loss 120%: a share is between 0% and 100%"),
    ('"loss 1%"', '"los 1%"', "s.toml:26: link.lan.both: 'los' is no word of a link; "),
    ('"delay 5ms"', '"delay 5mm"', "s.toml:27: link.lan.in: delay 5mm: 'mm' is no unit of time; give ns, us, ms, s, min or h"),
    ('"delay 5ms"', "5", "s.toml:27: link.lan.in: give a text, in quotes"),
    ("down.csv loop", "lies.csv", "s.toml:31: link.core.out: trace lies.csv:3: rate '-1': it is negative; give 0 or more"),
    ("down.csv loop", "no.csv", "s.toml:31: link.core.out: trace no.csv: cannot be read (No such file or directory)"),
    ("down.csv loop", "bytes.csv", "s.toml:31: link.core.out: trace bytes.csv: cannot be read (is no text)"),
    ("{ in = 1, out = 5 }", "0", "s.toml:32: link.core.cost: 0 will not do; give a whole number from 1 to 65535"),
    ("{ in = 1, out = 5 }", "{ in = 1, out = -5 }", "s.toml:32: link.core.cost.out: -5 will not do; give a whole number from 1"),
    ("{ in = 1, out = 5 }", "{ up = 5 }", "s.toml:32: link.core.cost.up: no such key; there are in, out"),
    ('"out: tcp.flags.syn drop first 2"', '"out: tcp.flags.syn dorp"', "s.toml:36: link.wan.rules: rule, column "),
    ("call more.py:mangle", "call more.py:x", "s.toml:36: link.wan.rules: "),
    ("call more.py:mangle", "steer core2", "s.toml:36: link.wan.rules: steer: there is no link 'core2'; did you mean 'core'?"),
    # who is connected, and whose address is whose
    (
        '"echo=echo:7"', '"trouble,addresses=10.0.1.0/24"',
        "s.toml:7: host.web.app: 10.0.1.0/24 overlaps 10.0.1.0/24 of link 'lan'; give another prefix",
    ),
    (
        '"echo=echo:7"', '"trouble,addresses=10.0.0.0/8"',
        "s.toml:7: host.web.app: 10.0.0.0/8 overlaps 10.0.1.0/24 of link 'lan'; give another prefix",
    ),
    (
        '"echo=echo:7"', '"trouble,addresses=2001:db8::/64"',
        "s.toml:7: host.web.app: 2001:db8::/64: the host has no address of IPv6; give it one",
    ),
    (
        '"echo=echo:7"', '"trouble,addresses=10.0.3.0/30"',
        "s.toml:7: host.web.app: trouble: addresses=10.0.3.0/30: too small for the 43 addresses of troubles; give a /26",
    ),
    ("[router.r2]", "[router.r3]\n[router.r2]", "s.toml:20: router.r3: no link ends at it; give one with ends = ['r3', …]"),
    (
        "[[at]]\ntime = \"20s\"", '[link.more]\nends = ["web", "r1"]\n[[at]]\ntime = "20s"',
        "s.toml:39: link.more.ends: 'web' has more than one link, wan and more; only a router may have several: put one between",
    ),
    ('"10.0.2.2/24"]', '"10.0.2.1/24"]', "s.toml:35: link.wan.ends: 10.0.2.1 is an address of 'web' already; give another"),
    (
        '["r1", "r2"]', '["r1 10.0.2.77/25", "r2"]',
        "s.toml:35: link.wan.ends: 10.0.2.0/24 overlaps 10.0.2.0/25 of link 'core'; give it another network",
    ),
    (
        "r2 10.0.2.1/24", "r2 10.0.3.1/24",
        "s.toml:35: link.wan.ends: 10.0.3.1/24 and 10.0.2.2/24 of 'web' are not of one network; give them the same prefix",
    ),
    (
        ENDS, 'ends = ["r1", "r3"]\n[router.r3]\n[link.core2]',
        "s.toml:32: link.core2.ends: 0 of them; a link has two",
    ),
    # what happens when
    ("[[at]]\ntime = \"20s\"", "[at]\ntime = \"20s\"", "s.toml:43: no TOML: "),
    ('"20s"', "20", "s.toml:39: at.time: give a text, in quotes"),
    ('"20s"', '"soon"', "s.toml:39: at.time: 'soon': give a number with a unit, such as 20ms"),
    ('"20s"', '"-3s"', "s.toml:39: at.time: '-3s': it is negative; give 0 or more, such as 20ms"),
    ('time = "20s"\n', "", "s.toml:38: at.time: "),
    ('link = "wan"', 'link = "wam"', "s.toml:40: at.link: there is no link 'wam'; did you mean 'wan'?"),
    ('link = "wan"\n', "", "s.toml:38: at.link: which link?; there are lan, core, wan"),
    ('down = "in"', "", "s.toml:38: at: 0 changes in one [[at]]; give one of set, add, rule, down, up, reset"),
    ('down = "in"', 'down = true\nset = "loss 1%"', "s.toml:41: at.down: 2 changes in one [[at]]; give one of set, add, rule, "),
    ('down = "in"', "down = false", "s.toml:41: at.down: False will not do; give true, or one direction: 'in' or 'out'"),
    ('down = "in"', 'down = "inn"', "s.toml:41: at.down: 'inn' will not do; give true, or one direction: 'in' or 'out'"),
    ('down = "in"', 'donw = "in"', "s.toml:41: at.donw: no such key in [[at]]; did you mean 'down'?"),
    ("out loss 5%", "out loss 500%", "s.toml:46: at.set: loss 500%: a share is between 0% and 100%"),
    (
        "out loss 5%", "out trace down.csv clear",
        "s.toml:46: at.set: clear stands behind other words; put it first, they change what it says",
    ),
    ("in: icmp drop", "in: icmp steer here", "s.toml:51: at.rule: steer: there is no link 'here'; there are lan, core, wan"),
    ("in: icmp drop", "in: icmp drip", "s.toml:51: at.rule: rule, column "),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), WRONG, ids=lambda value: repr(value)[:50])
def test_a_mistake_is_one_line_with_file_line_and_key(old: str, new: str, says: str, files: Files) -> None:
    assert old in GOOD
    with pytest.raises(ScenarioError) as raised:
        parse(GOOD.replace(old, new, 1), files)
    assert raised.value.problems[0].startswith(says), raised.value.problems
    assert "\n" not in str(raised.value)


def test_all_mistakes_are_found_at_once_in_the_order_of_the_file(files: Files) -> None:
    text = (
        GOOD.replace("mtu = 1400", "mtu = 1").replace('"freebsd"', '"bsd"').replace('namespace = "client"', "mtu = 2")
    )
    with pytest.raises(ScenarioError) as raised:
        parse(text, files)
    assert [problem.split(": ")[:2] for problem in raised.value.problems] == [
        ["s.toml:8", "host.web.flavour"],
        ["s.toml:14", "tun.client.mtu"],
    ]
    assert str(raised.value).endswith(" (1 more: see `netemu scenario check`)")


def test_a_link_whose_name_means_something_else_to_a_firewall(files: Files) -> None:
    with pytest.raises(ScenarioError, match=r"s.toml:16: router.r1: router r1: a port cannot be called 'self'"):
        parse(GOOD.replace("core", "self"), files)


def test_a_gateway_is_whoever_is_at_the_other_end(files: Files) -> None:
    text = GOOD.replace("r2 10.0.2.1/24", "r2").replace("10.0.1.0/24 dev core", "10.7.0.0/16 via 10.0.2.2")
    scenario = parse(text, files)
    router = make_router(scenario, scenario.routers()[1], route_tables(scenario)[0], 1)
    route = router.routes.lookup(bytes([10, 7, 0, 1]))
    assert route is not None
    assert (router.ports[route.port].name, route.via) == ("wan", bytes([10, 0, 2, 2]))


def test_words_that_do_not_go_with_what_was_asked_before(files: Files) -> None:
    later = GOOD.replace('rule = "in: icmp drop"', 'add = "in trace down.csv"')
    with pytest.raises(ScenarioError) as raised:
        parse(later, files)
    assert raised.value.problems[0].startswith("s.toml:51: at.add: rate: the trace says how fast the link is")
    parse(later.replace('set = "out loss 5%"', 'set = "loss 5%"'), files)  # which takes the rate away before


def test_a_destination_without_a_route(files: Files) -> None:
    text = (
        GOOD.replace('ends = ["r1", "r2"]', 'ends = ["r1", "x"]')
        .replace("[router.r2]", '[host.x]\naddress = "10.7.0.1/24"\n[router.r2]')
        .replace("dev core", "dev wan")
    )
    with pytest.raises(ScenarioError) as raised:
        parse(text, files)
    assert raised.value.problems == (
        "s.toml:5: host.web: no way leads from here to 10.7.0.0/24; connect it with links and routers",
        "s.toml:12: tun.client: no way leads from here to 10.0.2.0/24; connect it with links and routers",
        "s.toml:20: host.x: no way leads from here to 10.0.2.0/24; connect it with links and routers",
    )


def test_written_routes_that_go_in_a_circle(files: Files) -> None:
    text = GOOD.replace('firewall = ["allow in lan", "policy deny"]', 'routes = ["10.8.0.0/16 dev core"]').replace(
        "10.0.1.0/24 dev core", "10.8.0.0/16 dev core"
    )
    with pytest.raises(ScenarioError) as raised:
        parse(text, files)
    assert raised.value.problems == (
        "s.toml:18: router.r1.routes: packets to 10.8.0.0/16 go round in a circle: r1 -> r2 -> r1; change one of these routes",
    )


def test_a_file_without_nodes(files: Files) -> None:
    with pytest.raises(ScenarioError, match=r"s.toml:1: there is no node; give"):
        parse("", files)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"no.toml: No such file"):
        read_scenario(str(tmp_path / "no.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"seed = 1\n\xff\xff\n")
    with pytest.raises(ScenarioError, match=r"bytes.toml:2: this is no UTF-8 text"):
        read_scenario(str(tmp_path / "bytes.toml"))


def test_what_python_cannot_take(files: Files) -> None:
    with pytest.raises(ScenarioError, match=r"s.toml:1: no TOML that we can read: it nests too deep"):
        parse("x = " + "[" * 5000, files)
    with pytest.raises(ScenarioError, match=r"s.toml:1: no TOML: "):
        parse("seed = " + "1" * 5000, files)


PIECES = st.sampled_from(
    [*GOOD.split(), '"', "[", "]", "{", "}", "=", "\n", "-1", "0", "9" * 30, "é", "\0", "''", "[[at]]", "."]
)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.lists(PIECES, max_size=4))
def test_whatever_is_done_to_a_file_it_is_a_scenario_or_lines(at: int, cut: int, pieces: list[str]) -> None:
    text = GOOD[:at] + " ".join(pieces) + GOOD[at + cut :]
    problems: tuple[str, ...] = ()
    try:
        parse_scenario(text, "s.toml", Files(Path("/nonexistent")))
    except ScenarioError as error:
        problems = error.problems
    assert all(re.match(r"s\.toml:\d+: ", problem) for problem in problems)
    assert all("\n" not in problem for problem in problems)


def test_lines_may_end_as_in_windows(files: Files) -> None:
    text = GOOD.replace("loss 1%", "loss 120%").replace("\n", "\r\n")
    with pytest.raises(ScenarioError, match=r"s.toml:26: link.lan.both: loss 120%"):
        parse(text, files)
