"""What the host sent, in the words of a script, and where that differs from what the script says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from netemu.packetdrill import icmpnames
from netemu.packetdrill import options as tcp_options
from netemu.packetdrill.flow import TCP_FIXED, Flow
from netemu.packetdrill.script import IcmpLine, IpWanted, Option, TcpLine, UdpLine
from netemu.packetdrill.settings import Settings
from netemu.reasons import Drop
from netemu.wire import ipv4, ipv6
from netemu.wire.checksum import is_valid
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, pseudo_sum, text_port
from netemu.wire.tcp import ACK, FIN, HALF, MASK, PSH, RST, SYN

PacketLine = TcpLine | UdpLine | IcmpLine
_ECN = {0: "noecn", 1: "ect1", 2: "ect0", 3: "ce", -1: "ect01"}


@dataclass(slots=True)
class Live:
    """One packet that left the host at ``now``. ``why``: the host's own reason, where it had one."""

    now: int
    data: bytes
    ip: IpPacket
    why: str = ""

    def ports(self) -> tuple[int, int]:
        at = self.ip.start
        return int.from_bytes(self.data[at : at + 2], "big"), int.from_bytes(self.data[at + 2 : at + 4], "big")

    @property
    def is_icmp(self) -> bool:
        return self.ip.protocol in (ICMP, ICMPV6)

    def belongs_to(self, flow: Flow) -> bool:
        """Is it of this flow, or an ICMP message to its peer?"""
        if self.ip.dst != flow.remote[0]:
            return False
        if self.is_icmp:
            return True
        return self.ip.protocol == flow.protocol and self.ports() == (flow.local[1], flow.remote[1])

    @property
    def ends(self) -> str:
        source, destination = self.ports()
        return f"{text_port(self.ip.src, source)} > {text_port(self.ip.dst, destination)}"


def live(now: int, data: bytes, why: str) -> Live | str:
    """A packet of the host's; or what is wrong with its headers."""
    parsed = ipv4.parse(data) if data[0] >> 4 == 4 else ipv6.parse(data)
    if isinstance(parsed, Drop):
        return f"the host sent a bad packet: {parsed.value}"
    if not parsed.is_fragment and not _checksum_is_right(parsed, data):
        return "the host sent a packet with a wrong checksum"
    return Live(now, data, parsed, why)


def _checksum_is_right(ip: IpPacket, data: bytes) -> bool:
    whole = data[ip.start : ip.end]
    if ip.protocol == ICMP:
        return is_valid(whole)
    if ip.protocol in (TCP, UDP, ICMPV6):
        return is_valid(whole, pseudo_sum(ip.src, ip.dst, ip.protocol, len(whole)))
    return True


def observed(packet: Live, flow: Flow | None) -> PacketLine | None:
    """The packet as a script would write it; None for a protocol that scripts have no words for."""
    ip, data = packet.ip, packet.data
    wanted = IpWanted(
        ip.tos & 3, ip.tos, ip.hop_limit, int.from_bytes(data[:4], "big") & 0xFFFFF if ip.version == 6 else None
    )
    if ip.protocol == TCP:
        return _tcp(packet, flow.shift if flow else 0, wanted)
    if ip.protocol == UDP:
        return UdpLine(False, wanted, ip.end - ip.start - 8)
    return _icmp(packet, flow.shift if flow else 0, wanted) if packet.is_icmp else None


def _tcp(packet: Live, shift: int, wanted: IpWanted) -> TcpLine:
    data, start, end = packet.data, packet.ip.start, packet.ip.end
    _, _, seq, ack, offset_flags, win, _, urg = TCP_FIXED.unpack_from(data, start)
    body = start + (offset_flags >> 12) * 4
    flags, length = offset_flags & 0xFFF, end - body
    if not (flags & RST and not seq):  # of a connection that nobody knows: the number stands for itself
        seq = unshifted(seq, shift)
    options = tcp_options.decode(data[start + 20 : body])
    return TcpLine(False, wanted, flags, seq, seq + length, length, ack, win, urg, options)


def unshifted(raw: int, shift: int) -> int:
    """The number of a script: below 2^31 away from 0, or as it is."""
    value = (raw - shift) & MASK
    return value - (1 << 32) if value >= 0xFFFF0000 else value


def _icmp(packet: Live, shift: int, wanted: IpWanted) -> IcmpLine:
    data, start, end = packet.data, packet.ip.start, packet.ip.end
    is_ipv6 = packet.ip.version == 6
    kind, code = icmpnames.show(data[start], data[start + 1], is_ipv6)
    rest = int.from_bytes(data[start + 4 : start + 8], "big")
    inner = data[start + 8 : end]
    parsed = ipv6.upper_layer(inner) if is_ipv6 else (inner[9], (inner[0] & 15) * 4) if len(inner) >= 20 else (0, 0)
    quoted = udp = None
    if parsed[0] == TCP and len(inner) >= parsed[1] + 8:
        at = parsed[1]
        total = int.from_bytes(inner[4:6], "big") + 40 if is_ipv6 else int.from_bytes(inner[2:4], "big")
        header = (inner[at + 12] >> 4) * 4 if len(inner) > at + 12 else 20
        seq, size = int.from_bytes(inner[at + 4 : at + 8], "big"), total - at - header
        quoted = (seq, seq + size, size)
    elif parsed[0] == UDP and len(inner) >= parsed[1] + 8:
        udp = int.from_bytes(inner[parsed[1] + 4 : parsed[1] + 6], "big") - 8
    return IcmpLine(False, wanted, kind, code or None, rest or None, quoted, udp)


def joined(first: TcpLine, second: TcpLine) -> TcpLine | None:
    """Two segments as the one that a device cut into them; None where they are none."""
    alike = (first.ack, first.options, first.ip) == (second.ack, second.options, second.ip)
    special = (first.flags | second.flags) & (SYN | RST) or first.flags & FIN
    if not alike or special or not first.length or not second.length or second.seq != first.end:
        return None
    if (first.flags ^ second.flags) & ~(PSH | FIN):
        return None
    return first._replace(flags=second.flags, end=second.end, length=first.length + second.length, urg=first.urg)


# -- comparing ----------------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A field as it is shown; ``wrong``: it differs."""

    text: str
    wrong: bool = False


def compare(
    wanted: PacketLine, found: PacketLine | None, flow: Flow | None, settings: Settings
) -> tuple[list[Part], list[Part], bool]:
    """Both as parts side by side, and whether they agree."""
    if isinstance(wanted, TcpLine) and isinstance(found, TcpLine):
        pairs = _tcp_pairs(wanted, found, flow, settings)
    elif isinstance(wanted, UdpLine) and isinstance(found, UdpLine):
        pairs = [*_ip_pairs(wanted.ip, found.ip), _pair(f"udp ({wanted.length})", f"udp ({found.length})")]
    elif isinstance(wanted, IcmpLine) and isinstance(found, IcmpLine):
        pairs = [*_ip_pairs(wanted.ip, found.ip), *_icmp_pairs(wanted, found)]
    else:
        pairs = [(Part(show(wanted), True), Part(show(found), True))]
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    return left, right, not any(part.wrong for part in right)


def _pair(wanted: str, found: str, wrong: bool | None = None) -> tuple[Part, Part]:
    different = wanted != found if wrong is None else wrong
    return Part(wanted, different), Part(found, different)


def _ip_pairs(wanted: IpWanted, found: IpWanted) -> list[tuple[Part, Part]]:
    """Only what the script says something about."""
    pairs = []
    if wanted.ecn is not None:
        wrong = found.ecn not in ((1, 2) if wanted.ecn == -1 else (wanted.ecn,))
        pairs.append(_pair(f"[{_ECN[wanted.ecn]}]", f"[{_ECN[found.ecn or 0]}]", wrong))
    if wanted.tos is not None:
        pairs.append(_pair(f"(tos {wanted.tos:#x})", f"(tos {found.tos or 0:#x})"))
    if wanted.ttl is not None:
        pairs.append(_pair(f"(ttl {wanted.ttl})", f"(ttl {found.ttl})"))
    if wanted.flow_label is not None:
        pairs.append(_pair(f"(flowlabel {wanted.flow_label:#x})", f"(flowlabel {found.flow_label or 0:#x})"))
    return pairs


def _tcp_pairs(wanted: TcpLine, found: TcpLine, flow: Flow | None, settings: Settings) -> list[tuple[Part, Part]]:
    pairs = [*_ip_pairs(wanted.ip, found.ip), _pair(_letters(wanted.flags), _letters(found.flags))]
    same = ((wanted.seq - found.seq) & MASK, wanted.length) == (0, found.length)
    pairs.append(_pair(_range(wanted), _range(found), not same))
    if wanted.ack is not None or wanted.flags & ACK or found.flags & ACK:
        wrong = (wanted.ack or 0) & MASK != (found.ack or 0) & MASK
        pairs.append(_pair(f"ack {wanted.ack or 0}", f"ack {found.ack}", wrong))
    elif found.ack:
        pairs.append(_pair("", f"ack {found.ack}"))
    if wanted.win is not None:
        pairs.append(_pair(f"win {wanted.win}", f"win {found.win}"))
    if wanted.urg is not None or found.urg:
        pairs.append(_pair(f"urg {wanted.urg or 0}", f"urg {found.urg}"))
    if wanted.options is None:
        pairs.append(_pair("<...>", tcp_options.show(found.options), False))
    elif wanted.options or found.options:
        pairs.append(_options_pair(wanted, found, flow, settings))
    return pairs


def _options_pair(wanted: TcpLine, found: TcpLine, flow: Flow | None, settings: Settings) -> tuple[Part, Part]:
    """The options in order. Of a timestamp's value only the progress is compared, and only where a tick's length is known."""
    ours, theirs = wanted.options or (), found.options or ()
    comparable = tuple(_without_value(o) for o in ours), tuple(_without_value(o) for o in theirs)
    wrong = comparable[0] != comparable[1]
    if not wrong and flow is not None and settings.tcp_ts_tick_usecs and flow.first_timestamp is not None:
        wrong = any(
            a[0] == "TS" and _is_off(int(str(a[1])), int(str(b[1])), flow.first_timestamp, settings)
            for a, b in zip(ours, theirs, strict=True)
        )
    return _pair(tcp_options.show(ours) or "<>", tcp_options.show(theirs) or "<>", wrong)


def _without_value(option: Option) -> Option:
    return ("TS", option[2]) if option[0] == "TS" else option


def _is_off(script: int, wire: int, first: tuple[int, int], settings: Settings) -> bool:
    """Has our timestamp clock gone further, or less far, than the script's, by more than the tolerance?"""
    ahead = ((wire - first[1] + HALF) & MASK) - HALF - (script - first[0])
    return abs(ahead) * settings.tcp_ts_tick_usecs > max(settings.tolerance_usecs, settings.tcp_ts_tick_usecs)


def _icmp_pairs(wanted: IcmpLine, found: IcmpLine) -> list[tuple[Part, Part]]:
    pairs = [_pair(f"icmp {wanted.type}", f"icmp {found.type}")]
    if wanted.code is not None or found.code is not None:
        pairs.append(_pair(wanted.code or "", found.code or ""))
    if wanted.mtu is not None:
        pairs.append(_pair(f"mtu {wanted.mtu}", f"mtu {found.mtu or 0}"))
    if wanted.quoted is not None:
        pairs.append(_pair(str(wanted.quoted), str(found.quoted)))
    if wanted.udp is not None:
        pairs.append(_pair(f"[udp ({wanted.udp})]", f"[udp ({found.udp})]"))
    return pairs


# -- showing ------------------------------------------------------------------------------------------------------------------

_FLAGS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."), (32, "U"), (64, "E"), (128, "W"), (256, "a"))


def _letters(flags: int) -> str:
    return "".join(letter for bit, letter in _FLAGS if flags & bit) or "-"


def _range(line: TcpLine) -> str:
    return f"{line.seq}:{line.end}({line.length})"


def show(line: PacketLine | None) -> str:
    """A packet as a script writes it, without direction and time."""
    match line:
        case TcpLine():
            words = [_letters(line.flags), _range(line)]
            words += [f"ack {line.ack}"] if line.flags & ACK else []
            words += [f"win {line.win}"] if line.win is not None else []
            words += [f"urg {line.urg}"] if line.urg else []
            options = tcp_options.show(line.options)
            return " ".join([*words, options] if options else words)
        case UdpLine():
            return f"udp ({line.length})"
        case IcmpLine():
            return " ".join(filter(None, ("icmp", line.type, line.code, f"mtu {line.mtu}" if line.mtu else "")))
    return "a packet of another protocol"
