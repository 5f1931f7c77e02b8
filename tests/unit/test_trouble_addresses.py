"""Troubles by address: which address is whose, and that a host has them beside whatever holds the same port by a wildcard."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_network

import pytest
from stack_bench import errno_of

from netemu.apps.base import UsageError
from netemu.apps.registry import AppSpec, make_app, parse_app
from netemu.apps.trouble.addresses import address_in, parse_prefixes
from netemu.apps.trouble.table import SPAN, TROUBLES
from netemu.runtime.engine import Engine
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.serving import serve
from netemu.stack import constants as so
from netemu.stack.flavours import FLAVOURS
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.packet import Packet

OWN, ASIDE, OTHER = "198.18.0.2", "198.18.1.21", "198.18.0.3"


class Nowhere:
    def write(self, packet: Packet) -> bool:
        return True


@pytest.mark.parametrize(
    ("prefix", "number", "address"),
    [
        ("198.18.1.0/24", 21, "198.18.1.21"),
        ("10.0.0.64/26", 21, "10.0.0.85"),
        ("2001:2:0:1::/64", 21, "2001:2:0:1::21"),
        ("2001:db8::80/121", 43, "2001:db8::c3"),
    ],
)
def test_its_number_is_in_its_address(prefix: str, number: int, address: str) -> None:
    assert parse_prefixes(prefix, SPAN) == (ip_network(prefix),)
    assert address_in(ip_network(prefix), number) == ip_address(address)


@pytest.mark.parametrize(("version", "most"), [(4, 43), (4, 61), (4, 62), (4, 63), (6, 43), (6, 79), (6, 80), (6, 99)])
def test_the_prefix_that_is_advised_will_do_and_a_longer_one_will_not(version: int, most: int) -> None:
    start = "10.0.0.0" if version == 4 else "2001:db8::"
    with pytest.raises(UsageError) as caught:
        parse_prefixes(f"{start}/{30 if version == 4 else 126}", most)
    length = int(str(caught.value).rpartition("give a /")[2].split()[0])
    (prefix,) = parse_prefixes(f"{start}/{length}", most)
    assert address_in(prefix, most) in prefix
    assert version == 6 or address_in(prefix, most) != prefix.broadcast_address
    with pytest.raises(UsageError, match="too small"):
        parse_prefixes(f"{start}/{length + 1}", most)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("addresses=198.18.1.0", "trouble: addresses=198.18.1.0: not a prefix; give one such as 198.18.1.0/24"),
        ("addresses=", "trouble: addresses=: not a prefix; give one such as 198.18.1.0/24"),
        ("addresses=a/24", "trouble: addresses=a/24: not a prefix; give one such as 198.18.1.0/24"),
        ("addresses=10.0.0.0/33", "trouble: addresses=10.0.0.0/33: not a prefix; give one such as 198.18.1.0/24"),
        ("addresses=10.0.0.9/24", "trouble: addresses=10.0.0.9/24: bits are set behind the prefix; did you mean 10.0.0.0/24?"),
        ("addresses=::/120", "trouble: addresses=::/120: no host can have such addresses; give a prefix such as 198.18.1.0/24"),
        ("addresses=9::/16+9::/64", "trouble: addresses=9::/16+9::/64: 9::/64 overlaps another; give one of the two"),
        ("addresses=10.0.0.0/24,port=0", "trouble: port=0 is not a port; give a number from 1 to 65535"),
        ("port=8080", "trouble: port= is for addresses; give addresses=198.18.1.0/24 with it, or trouble:PORT"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(options: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_app(parse_app(f"trouble,{options}"), engine(Host([OWN], seed=1)))
    assert str(caught.value) == message


# -- set aside ------------------------------------------------------------------------------------------------------------------


def host(flavour: str = "linux") -> Host:
    made = Host([OWN, OTHER, "2001:2::2", ASIDE], seed=1, flavour=flavour)
    made.set_aside.add(ip_address(ASIDE).packed)
    return made


def listening(host: Host, address: str, family: int = so.AF_INET, uid: int = 0) -> StreamSocket:
    socket = StreamSocket(host, family, "t", uid)
    socket.bind((address, 80))
    socket.listen()
    return socket


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("wildcard", [("0.0.0.0", so.AF_INET), ("::", so.AF_INET6)])
def test_a_wildcard_and_an_address_that_is_set_aside_share_a_port(flavour: str, wildcard: tuple[str, int]) -> None:
    for order in ((wildcard, (ASIDE, so.AF_INET)), ((ASIDE, so.AF_INET), wildcard)):
        made = host(flavour)
        for address, family in order:
            listening(made, address, family)


def test_the_same_address_is_still_taken() -> None:
    made = host()
    listening(made, ASIDE)
    assert errno_of(listening, made, ASIDE) == errno.EADDRINUSE
    assert errno_of(listening, made, f"::ffff:{ASIDE}", so.AF_INET6) == errno.EADDRINUSE
    listening(made, "0.0.0.0")
    assert errno_of(listening, made, OWN) == errno.EADDRINUSE, "the wildcard has all others"
    assert errno_of(listening, made, "0.0.0.0") == errno.EADDRINUSE


def test_nobody_speaks_from_it_by_chance() -> None:
    made = host()
    assert made.source_for(ip_address("198.18.1.20").packed) == ip_address(OWN).packed


# -- serving --------------------------------------------------------------------------------------------------------------------


def engine(host: Host) -> Engine:
    return Engine(host, Nowhere())


def run(engine: Engine, text: str) -> None:
    spec = parse_app(text)
    serve(engine, spec, make_app(spec, engine))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_they_are_served_beside_a_wildcard(order: tuple[int, int]) -> None:
    made = Host([OWN, "2001:2::2"], seed=1)
    on = engine(made)
    for index in order:
        run(on, ("web=http:80", "trouble,addresses=198.18.1.0/24+2001:2:0:1::/64")[index])
    served = {row.local: row.app for row in made.sockets() if row.state == "LISTEN" and row.local.endswith(":80")}
    assert served.pop("0.0.0.0:80") == served.pop("[::]:80") == "web"
    numbers = [trouble.number for trouble in TROUBLES if trouble.stream is not None]
    assert set(served) == {f"198.18.1.{n}:80" for n in numbers} | {f"[2001:2:0:1::{n}]:80" for n in numbers}
    assert set(served.values()) == {"trouble"}
    assert len(made.addresses) == 2 + 2 * len(TROUBLES)
    assert len(made.set_aside) == 2 * len(TROUBLES)


def test_another_port_at_the_addresses() -> None:
    made = Host([OWN], seed=1)
    run(engine(made), "trouble:20001,addresses=10.0.0.0/24,port=5432")
    listening = [row.local for row in made.sockets() if row.state == "LISTEN"]
    assert "10.0.0.21:5432" in listening
    assert "0.0.0.0:20021" in listening


def test_without_the_option_a_host_has_its_own_addresses_only() -> None:
    made = Host([OWN], seed=1)
    run(engine(made), "trouble")
    assert len(made.addresses) == 1
    assert not made.set_aside


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trouble,addresses=2001:db8::/64", "--app trouble: 2001:db8::1: the host has no address of that family"),
        ("trouble,addresses=198.18.0.0/24", "--app trouble: 198.18.0.2 is an address of the host already; change the prefix"),
    ],
)  # fmt: skip
def test_a_host_that_cannot_have_them(text: str, message: str) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        run(engine(Host([OWN], seed=1)), text)
    assert str(caught.value) == message


def test_a_spec_says_what_its_app_wants() -> None:
    assert parse_app("trouble").prefixes == ()
    assert parse_app("http").prefixes == ()
    assert AppSpec("t", "trouble", 10001, {"addresses": "10.0.0.0/24"}).prefixes == (ip_network("10.0.0.0/24"),)
