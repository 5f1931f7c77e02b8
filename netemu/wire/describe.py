"""One line about a packet, in tcpdump's words.

Reads bytes and nothing else, so that it can describe what the stack itself refuses; it never raises.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from netemu.wire.buffer import Buffer

IGMP = 2
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT, DESTINATION = 0, 43, 44, 51, 59, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION)
PROTOCOLS = {ICMP: "ICMP", IGMP: "IGMP", TCP: "TCP", UDP: "UDP", 41: "IPv6", 47: "GRE", 50: "ESP", ICMPV6: "ICMP6"}
FLAGS = "FSRP.UEW"
"""TCP's flags from the lowest bit up, as tcpdump writes them."""

ICMP_NAMES = {
    (0, None): "echo reply",
    (3, 0): "net unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "unreachable - need to frag",
    (3, 13): "unreachable - admin prohibited",
    (3, None): "unreachable",
    (4, None): "source quench",
    (5, None): "redirect",
    (8, None): "echo request",
    (9, None): "router advertisement",
    (10, None): "router solicitation",
    (11, 0): "time exceeded in-transit",
    (11, 1): "ip reassembly time exceeded",
    (12, None): "parameter problem",
    (13, None): "time stamp query",
    (14, None): "time stamp reply",
}
ICMPV6_NAMES = {
    (1, 0): "unreachable route",
    (1, 1): "unreachable prohibited",
    (1, 3): "unreachable address",
    (1, 4): "unreachable port",
    (1, None): "unreachable",
    (2, None): "packet too big",
    (3, 0): "time exceeded in-transit",
    (3, 1): "time exceeded (reassembly)",
    (4, None): "parameter problem",
    (128, None): "echo request",
    (129, None): "echo reply",
    (130, None): "multicast listener query",
    (131, None): "multicast listener report",
    (132, None): "multicast listener done",
    (133, None): "router solicitation",
    (134, None): "router advertisement",
    (135, None): "neighbor solicitation",
    (136, None): "neighbor advertisement",
    (137, None): "redirect",
    (143, None): "multicast listener report v2",
}
IGMP_NAMES = {0x12: "v1 report", 0x16: "v2 report", 0x17: "leave", 0x22: "v3 report"}
RECORDS = ("is_in", "is_ex", "to_in", "to_ex", "allow", "block")
"""What a report says of a group, from type 1 on."""
MOST_LISTED = 8
"""Groups of a report and sources of a group that a line names; more are counted."""

ICMP_QUOTING = {ICMP: (3, 4, 5, 11, 12), ICMPV6: (1, 2, 3, 4)}
"""The types that carry the beginning of the packet they are about."""


class Headers(NamedTuple):
    """What the IP headers say. ``payload`` is what is there of it, ``length`` what there should be."""

    source: str
    destination: str
    protocol: int
    payload: memoryview
    length: int
    fragment: int = 0
    """Offset of this fragment in bytes."""
    more: bool = False
    identification: int = 0

    @property
    def whole(self) -> bool:
        return not self.fragment and not self.more


class _Malformed(Exception):
    """The text says what is wrong, in a few words."""


def describe(packet: Buffer) -> str:
    """One line for people: addresses, ports, flags, options, lengths in bytes."""
    try:
        return _describe(memoryview(packet), quoted=False)
    except _Malformed as problem:
        return f"{problem}, length {len(packet)}"


def _describe(packet: memoryview, quoted: bool) -> str:
    ip = _headers(packet)
    if ip.fragment:
        text = f"{ip.source} > {ip.destination} {_protocol(ip.protocol)}"
    else:
        try:
            text = _transport(ip, quoted)
        except _Malformed as problem:
            text = f"{ip.source} > {ip.destination} {problem}, length {ip.length}"
    if not ip.whole:
        end = ip.fragment + ip.length
        text += (
            f" [fragment {ip.identification:#x}, bytes {ip.fragment}-{end}, {'more follow' if ip.more else 'the last'}]"
        )
    if len(ip.payload) < ip.length and not quoted:
        text += f" [truncated: {ip.length - len(ip.payload)} bytes missing]"
    return text


def _headers(packet: memoryview) -> Headers:
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _ipv4(packet)
    if version == 6:
        return _ipv6(packet)
    raise _Malformed(f"not IP (version {version})" if packet else "not IP (empty)")


def _ipv4(packet: memoryview) -> Headers:
    if len(packet) < 20:
        raise _Malformed("IP truncated")
    first, _, total, identification, offset, _, protocol, _, source, destination = struct.unpack_from(
        "!BBHHHBBH4s4s", packet
    )
    header = (first & 15) * 4
    if header < 20 or total < header:
        raise _Malformed(f"IP with a bad header (header length {header}, total length {total})")
    return Headers(
        str(IPv4Address(source)),
        str(IPv4Address(destination)),
        protocol,
        packet[header:total],
        total - header,
        (offset & 0x1FFF) * 8,
        bool(offset & 0x2000),
        identification,
    )


def _ipv6(packet: memoryview) -> Headers:
    if len(packet) < 40:
        raise _Malformed("IP6 truncated")
    _, length, protocol, _, source, destination = struct.unpack_from("!IHBB16s16s", packet)
    ip = Headers(str(IPv6Address(source)), str(IPv6Address(destination)), protocol, packet[40 : 40 + length], length)
    while ip.protocol in EXTENSIONS or ip.protocol == FRAGMENT:
        if len(ip.payload) < 8 or ip.fragment:
            break
        ip = _extension(ip)
    return ip


def _extension(ip: Headers) -> Headers:
    following, size = ip.payload[0], ip.payload[1]
    if ip.protocol == FRAGMENT:
        _, offset, identification = struct.unpack_from("!HHI", ip.payload)
        ip = ip._replace(fragment=offset & 0xFFF8, more=bool(offset & 1), identification=identification)
        size = 8
    else:
        size = (size + 2) * 4 if ip.protocol == AUTHENTICATION else (size + 1) * 8
    return ip._replace(protocol=following, payload=ip.payload[size:], length=max(0, ip.length - size))


def _transport(ip: Headers, quoted: bool) -> str:
    if ip.protocol == TCP:
        return _tcp(ip, quoted)
    if ip.protocol == UDP:
        return _udp(ip)
    if ip.protocol in (ICMP, ICMPV6):
        return _icmp(ip, quoted)
    if ip.protocol == IGMP:
        return _igmp(ip)
    return f"{ip.source} > {ip.destination} {_protocol(ip.protocol)}, length {ip.length}"


def _tcp(ip: Headers, quoted: bool) -> str:
    if len(ip.payload) < 8:
        raise _Malformed("TCP truncated")
    source, destination, sequence = struct.unpack_from("!HHI", ip.payload)
    flow = f"{_end(ip.source, source)} > {_end(ip.destination, destination)}"
    if len(ip.payload) < 20:  # an ICMP error may quote no more than this
        return f"{flow} TCP seq {sequence}" if quoted else f"{flow} TCP truncated, length {ip.length}"
    _, _, _, ack, offset, flags, window, _, urgent = struct.unpack_from("!HHIIBBHHH", ip.payload)
    header = (offset >> 4) * 4
    if header < 20 or header > ip.length:
        return f"{flow} TCP with a bad header length of {header} bytes, length {ip.length}"
    size = ip.length - header
    words = [f"Flags [{''.join(letter for bit, letter in enumerate(FLAGS) if flags >> bit & 1) or 'none'}]"]
    if size or flags & 0b0111:  # data, FIN, SYN or RST: the sequence number says something
        words.append(f"seq {sequence}:{(sequence + size) & 0xFFFFFFFF}" if size else f"seq {sequence}")
    if flags & 0x10:
        words.append(f"ack {ack}")
    words.append(f"win {window}")
    if flags & 0x20:
        words.append(f"urg {urgent}")
    if header > 20:
        words.append(f"options [{','.join(_tcp_options(ip.payload[20:header]))}]")
    return f"{flow} {', '.join(words)}, length {size}"


def _tcp_options(data: memoryview) -> list[str]:
    words, at = [], 0
    while at < len(data):
        kind = data[at]
        if kind < 2:
            words.append("nop" if kind else "eol")
            at += 1
            if not kind:
                break
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            words.append(f"malformed option {kind}")
            break
        words.append(_tcp_option(kind, bytes(data[at + 2 : at + size])))
        at += size
    return words


def _tcp_option(kind: int, value: bytes) -> str:
    size = len(value)
    if kind == 2 and size == 2:
        return f"mss {int.from_bytes(value, 'big')}"
    if kind == 3 and size == 1:
        return f"wscale {value[0]}"
    if kind == 4 and size == 0:
        return "sackOK"
    if kind == 5 and size and size % 8 == 0:
        edges = struct.unpack(f"!{size // 4}I", value)
        blocks = "".join(f"{{{left}:{right}}}" for left, right in zip(edges[::2], edges[1::2], strict=True))
        return f"sack {size // 8} {blocks}"
    if kind == 8 and size == 8:
        return "TS val {} ecr {}".format(*struct.unpack("!II", value))
    return f"unknown-{kind} 0x{value.hex()}" if value else f"unknown-{kind}"


def _udp(ip: Headers) -> str:
    if len(ip.payload) < 8:
        raise _Malformed("UDP truncated")
    source, destination, length, _ = struct.unpack_from("!HHHH", ip.payload)
    flow = f"{_end(ip.source, source)} > {_end(ip.destination, destination)} UDP"
    if length < 8 or (ip.whole and length > ip.length):
        return f"{flow} with a bad length of {length} bytes, length {ip.length}"
    return f"{flow}, length {length - 8}"


def _icmp(ip: Headers, quoted: bool) -> str:
    if len(ip.payload) < 8:
        raise _Malformed(f"{_protocol(ip.protocol)} truncated")
    kind, code, _, first, second = struct.unpack_from("!BBHHH", ip.payload)
    names = ICMP_NAMES if ip.protocol == ICMP else ICMPV6_NAMES
    name = names.get((kind, code)) or names.get((kind, None)) or f"type {kind} code {code}"
    text = f"{ip.source} > {ip.destination} {_protocol(ip.protocol)} {name}"
    if name.startswith("echo"):
        text += f", id {first}, seq {second}"
    elif name == "unreachable - need to frag":
        text += f" (mtu {second})"
    elif name == "packet too big":
        text += f", mtu {first << 16 | second}"
    elif ip.protocol == ICMPV6 and kind == 130:
        text += f" v{2 if ip.length > 24 else 1}{_asked(ip.payload[8:], 16, _floating(first, 16) / 1000)}"
    elif ip.protocol == ICMPV6 and kind in (131, 132):
        text += _group(ip.payload[8:24])
    elif ip.protocol == ICMPV6 and kind == 143:
        text += _records(ip.payload[8:], second, 16)
    if kind in ICMP_QUOTING[ip.protocol] and not quoted:
        text += f" about ({_quote(ip.payload[8:])})"
    return f"{text}, length {ip.length}"


def _igmp(ip: Headers) -> str:
    if len(ip.payload) < 8:
        raise _Malformed("IGMP truncated")
    kind, code, _, count = struct.unpack_from("!BBHxxH", ip.payload)
    text = f"{ip.source} > {ip.destination} IGMP "
    if kind == 0x11:
        version = 3 if ip.length > 8 else 2 if code else 1
        seconds = _floating(code, 8) / 10 if version == 3 else code / 10
        text += f"query v{version}{_asked(ip.payload[4:], 4, seconds)}"
    elif kind == 0x22:
        text += IGMP_NAMES[kind] + _records(ip.payload[8:], count, 4)
    elif kind in IGMP_NAMES:
        text += IGMP_NAMES[kind] + _group(ip.payload[4:8])
    else:
        text += f"type {kind:#x}"
    return f"{text}, length {ip.length}"


def _asked(data: memoryview, size: int, seconds: float) -> str:
    """A query: which group, and which sources of it."""
    text = f" [max resp time {seconds:.1f}s]"
    if any(data[:size]):
        count = int.from_bytes(data[size + 2 : size + 4], "big")
        text += _group(data[:size]) + (f" {_sources(data[size + 4 :], count, size)}" if count else "")
    return text


def _records(data: memoryview, count: int, size: int) -> str:
    """A report's: the group, what is said of it, the sources."""
    words = [f", {count} group record{'' if count == 1 else 's'}"]
    for _ in range(min(count, MOST_LISTED)):
        if len(data) < 4 + size:
            words.append("[truncated]")
            break
        kind, auxiliary, sources = struct.unpack_from("!BBH", data)
        name = RECORDS[kind - 1] if 1 <= kind <= len(RECORDS) else f"type {kind}"
        words.append(f"[{_group(data[4 : 4 + size]).strip()} {name} {_sources(data[4 + size :], sources, size)}]")
        data = data[4 + size * (1 + sources) + 4 * auxiliary :]
    return " ".join(words)


def _group(group: memoryview) -> str:
    return f" gaddr {_address(group)}" if len(group) in (4, 16) else " gaddr truncated"


def _sources(data: memoryview, count: int, size: int) -> str:
    listed = [_address(data[at : at + size]) for at in range(0, min(count, MOST_LISTED) * size, size)]
    return "{" + " ".join(listed) + (f" and {count - MOST_LISTED} more" if count > MOST_LISTED else "") + "}"


def _address(address: memoryview) -> str:
    if len(address) not in (4, 16):
        return "truncated"
    return str(IPv4Address(bytes(address)) if len(address) == 4 else IPv6Address(bytes(address)))


def _floating(code: int, bits: int) -> int:
    """A number as queries code it (RFC 3376 4.1.1)."""
    if code < 1 << bits - 1:
        return code
    return (code & (1 << bits - 4) - 1 | 1 << bits - 4) << (code >> bits - 4 & 7) + 3


def _quote(packet: memoryview) -> str:
    try:
        return _describe(packet, quoted=True)
    except _Malformed as problem:
        return str(problem)


def _protocol(number: int) -> str:
    return PROTOCOLS.get(number) or f"protocol {number}"


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
