"""Settings under Linux' names, and what names of sockets cover."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack_bench import HOST, Bench, errno_of

from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.names import ANY, MAPPED, Name, name_of, shown
from netemu.stack.sysctl import SETTINGS, configure
from netemu.tcp.config import SECOND, Config
from netemu.wire.ip import parse_address

# -- sysctl -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_changes_its_field_and_no_other(name: str) -> None:
    field, unit = SETTINGS[name]
    default = Config()
    given = "reno" if isinstance(getattr(default, field), str) else 3
    changed = configure(default, {name: given})
    value = getattr(changed, field)
    assert value == (True if isinstance(value, bool) else given * unit)
    setattr(changed, field, getattr(default, field))
    assert changed == default


def test_settings_reach_the_wire() -> None:
    bench = Bench(sysctl={"net.ipv4.tcp_timestamps": 0, "net.ipv4.tcp_sack": 0, "net.ipv4.tcp_syn_retries": 1})
    socket = bench.tcp()
    syn = bench.connecting(socket).segment
    assert syn.ts_val is None
    assert not syn.options.sack_permitted
    assert syn.options.wscale is not None
    assert len(bench.wait(600 * SECOND)) == 1


def test_off_means_off_and_any_other_number_on() -> None:
    assert configure(Config(), {"net.ipv4.tcp_sack": 0}).sack is False
    assert configure(Config(sack=False), {"net.ipv4.tcp_sack": 2}).sack is True


def test_an_unknown_setting() -> None:
    with pytest.raises(KeyError, match=r"net\.ipv4\.nonsense"):
        Host([HOST], sysctl={"net.ipv4.nonsense": 1})


def test_a_configuration_is_not_changed_in_place() -> None:
    config = Config()
    configure(config, {"net.ipv4.tcp_fin_timeout": 1})
    assert config.fin_timeout == 60 * SECOND


# -- names --------------------------------------------------------------------------------------------------------------

V4 = st.sampled_from(["0.0.0.0", "198.18.0.1", "198.18.0.2", "255.255.255.255"])
V6 = st.sampled_from(["::", "::1", "2001:2::1", "::ffff:0.0.0.0", "::ffff:198.18.0.1", "ff02::1"])
ADDRESSES = V4 | V6
PROBES = [
    parse_address(a) for a in ("198.18.0.1", "198.18.0.2", "10.0.0.1", "::1", "2001:2::1", "2001:2::9", "ff02::1")
]


def made(address: str, v6only: bool) -> Name:
    return name_of(so.AF_INET6 if ":" in address else so.AF_INET, parse_address(address), 80, v6only)


@given(ADDRESSES, ADDRESSES, st.booleans(), st.booleans())
def test_overlap_is_symmetric_and_means_a_common_address(a: str, b: str, only_a: bool, only_b: bool) -> None:
    one, two = made(a, only_a), made(b, only_b)
    assert one.overlaps(two) == two.overlaps(one)
    assert one.overlaps(one)
    if any(one.covers(probe) and two.covers(probe) for probe in PROBES):
        assert one.overlaps(two)


def test_what_names_cover() -> None:
    four, six = parse_address("198.18.0.1"), parse_address("2001:2::1")
    for address, v6only, covers_four, covers_six in (
        ("0.0.0.0", False, True, False),
        ("::", False, True, True),
        ("::", True, False, True),
        ("198.18.0.1", False, True, False),
        ("::ffff:198.18.0.1", False, True, False),
        ("::ffff:0.0.0.0", False, True, False),
        ("2001:2::1", False, False, True),
        ("198.18.0.2", False, False, False),
    ):
        name = made(address, v6only)
        assert (name.covers(four), name.covers(six)) == (covers_four, covers_six)
    assert made("::", False) == Name(ANY, ANY, 80)


def test_how_names_are_shown() -> None:
    four = parse_address("198.18.0.1")
    assert shown(so.AF_INET, four) == "198.18.0.1"
    assert shown(so.AF_INET6, four) == "::ffff:198.18.0.1"
    assert shown(so.AF_INET6, MAPPED + four) == "::ffff:198.18.0.1"
    assert shown(so.AF_INET6, bytes(16)) == "::"


UNKNOWN_TO_PYTHON = {
    "SO_MAX_PACING_RATE": 47,
    "SO_ATTACH_REUSEPORT_CBPF": 51, "SO_DETACH_REUSEPORT_BPF": 68, "IP_BIND_ADDRESS_NO_PORT": 24, "IP_LOCAL_PORT_RANGE": 51,
    "UDP_NO_CHECK6_RX": 102, "IP_PKTINFO": 8, "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_RECVTTL": 12,
    "IP_MTU": 14, "IP_UNBLOCK_SOURCE": 37, "IP_BLOCK_SOURCE": 38, "IP_ADD_SOURCE_MEMBERSHIP": 39,
    "IP_DROP_SOURCE_MEMBERSHIP": 40, "IP_MULTICAST_ALL": 49, "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24,
    "IPV6_RECVERR": 25, "IPV6_MULTICAST_ALL": 29, "IP_PMTUDISC_DONT": 0, "IP_PMTUDISC_WANT": 1,
    "IP_PMTUDISC_DO": 2, "IP_PMTUDISC_PROBE": 3, "IP_PMTUDISC_INTERFACE": 4, "IP_PMTUDISC_OMIT": 5,
    "SO_REUSEPORT_LB": 0x10000, "SO_EXCLUSIVEADDRUSE": -5, "SOL_NETEMU": 0x4E45, "HOLD_SYNACK": 1,
}  # fmt: skip
"""From asm-generic/socket.h and linux/in.h, FreeBSD's sys/socket.h and Windows' winsock2.h; the last two are ours alone."""


def test_all_constants_are_linux_numbers() -> None:
    import socket

    for name, value in vars(so).items():
        if name.isupper():
            assert getattr(socket, name, UNKNOWN_TO_PYTHON.get(name)) == value, name
    assert errno_of(lambda: None) == 0
