"""Troubles by address: each has one of its own out of a prefix, for clients whose port cannot be changed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from netemu.apps.base import Network, UsageError
from netemu.wire.ip import is_impossible_source

Address = IPv4Address | IPv6Address

PREFIX = "198.18.1.0/24"
"""For whom has no other wish: of what RFC 2544 C.2.2 sets aside for tests, beside the default host's own."""
PORT = 80
DOMAIN = "trouble"
"""Their names end with it: truncated.trouble."""


def parse_prefixes(text: str, most: int) -> tuple[Network, ...]:
    """PREFIX[+PREFIX]..., each with room for number ``most``. UsageError."""
    prefixes = tuple(_prefix(part, most) for part in text.split("+"))
    for index, prefix in enumerate(prefixes):
        if any(prefix.overlaps(other) for other in prefixes[:index]):
            raise UsageError(f"trouble: addresses={text}: {prefix} overlaps another; give one of the two")
    return prefixes


def _prefix(text: str, most: int) -> Network:
    wrong = f"trouble: addresses={text}:"
    try:
        prefix = ip_network(text, strict=False)
    except ValueError:
        prefix = None
    if prefix is None or "/" not in text:
        raise UsageError(f"{wrong} not a prefix; give one such as {PREFIX}")
    if ip_interface(text).ip != prefix.network_address:
        raise UsageError(f"{wrong} bits are set behind the prefix; did you mean {prefix}?")
    last = _offset(prefix, most)
    if prefix.num_addresses <= last + 1:  # IPv4's last one is for broadcasts
        longest = prefix.max_prefixlen - (last + 1).bit_length()
        raise UsageError(f"{wrong} too small for the {most} addresses of troubles; give a /{longest} or larger")
    if any(is_impossible_source(address_in(prefix, number).packed) for number in (1, most)):
        raise UsageError(f"{wrong} no host can have such addresses; give a prefix such as {PREFIX}")
    return prefix


def address_in(prefix: Network, number: int) -> Address:
    """That of trouble ``number``: 198.18.1.21, and in IPv6 with the same digits, 2001:2:0:1::21."""
    return prefix[_offset(prefix, number)]


def _offset(prefix: Network, number: int) -> int:
    return number if prefix.version == 4 else int(str(number), 16)
