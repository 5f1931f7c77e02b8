"""The flow under test: between the numbers of a script and those on the wire, and from a script's line to a packet."""

from __future__ import annotations

from struct import Struct

from netemu.packetdrill import options as tcp_options
from netemu.packetdrill.icmpnames import code_of, type_of
from netemu.packetdrill.script import IcmpLine, IpWanted, Option, ScriptError, TcpLine, UdpLine
from netemu.wire import icmp, ipv4, ipv6, udp
from netemu.wire.checksum import checksum
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, MASK, SYN

TCP_FIXED = Struct(">HHIIHHHH")
TTL = 255


class Flow:
    """One connection, or one pair of UDP ports. ``offset`` turns a local sequence number of the script into the wire's."""

    def __init__(self, protocol: int, local: tuple[bytes, int], remote: tuple[bytes, int]) -> None:
        self.protocol = protocol
        self.local, self.remote = local, remote
        self.offset: int | None = None
        """None until our SYN was seen: until then numbers stand for themselves."""
        self.timestamps: dict[int, int] = {}
        """Our TSval as the script has it, to the one on the wire."""
        self.first_timestamp: tuple[int, int] | None = None

    @property
    def key(self) -> bytes:
        """As the socket table has it: remote and local address, remote and local port."""
        ports = self.remote[1].to_bytes(2, "big") + self.local[1].to_bytes(2, "big")
        return self.remote[0] + self.local[0] + ports

    @property
    def shift(self) -> int:
        return self.offset or 0

    # -- from the script to the wire ----------------------------------------------------------------------------------------

    def tcp(self, line: TcpLine, ident: int, mss: int) -> Packet:
        """The packet for an inbound line; over ``mss`` bytes of payload count as what GRO put together."""
        ack = (line.ack or 0) + self.shift if line.flags & ACK else line.ack or 0
        options = tcp_options.encode(tuple(self._option_in(option) for option in line.options or ()))
        header = TCP_FIXED.pack(
            self.remote[1],
            self.local[1],
            line.seq & MASK,
            ack & MASK,
            (5 + len(options) // 4) << 12 | line.flags,
            line.win or 0,
            0,
            line.urg or 0,
        )
        segment = header + options + bytes(line.length)
        total = checksum(segment, pseudo_sum(self.remote[0], self.local[0], TCP, len(segment)))
        segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
        gso_size = mss if mss and line.length > mss else 0
        return Packet(self._ip(TCP, len(segment), line.ip, ident) + segment, gso_size=gso_size)

    def _option_in(self, option: Option) -> Option:
        match option:
            case ("sack", tuple(blocks)):
                return "sack", tuple((left + self.shift, right + self.shift) for left, right in blocks)
            case ("TS", int(value), int(echo)):
                return "TS", value, self.timestamps.get(echo, self._shifted_echo(echo))
        return option

    def _shifted_echo(self, echo: int) -> int:
        """A TSval that the script never showed: as far from the first one as it says."""
        if self.first_timestamp is None or not echo:
            return echo
        script, wire = self.first_timestamp
        return (wire + echo - script) & MASK

    def udp(self, line: UdpLine, ident: int) -> Packet:
        payload = udp.emit(self.remote[0], self.local[0], self.remote[1], self.local[1], bytes(line.length))
        return Packet(self._ip(UDP, len(payload), line.ip, ident) + payload)

    def icmp(self, line: IcmpLine, ident: int, snd_una: int | None) -> Packet:
        """An error about a packet of ours; where the script does not say which, about the first in flight."""
        src, dst = self.remote[0], self.local[0]
        is_ipv6 = len(src) == 16
        kind = type_of(line.type, is_ipv6)
        code = code_of(line.type, line.code, is_ipv6)
        body = self._quoted(line, snd_una)
        message = icmp.emit(src, dst, kind, code, line.mtu or 0, body)
        return Packet(self._ip(ICMPV6 if is_ipv6 else ICMP, len(message), line.ip, ident) + message)

    def _quoted(self, line: IcmpLine, snd_una: int | None) -> bytes:
        """IP header and what follows of the packet that the error is about."""
        sport, dport = self.local[1], self.remote[1]
        if self.protocol == UDP:
            length = 8 + (line.udp or 0)
            start = udp.HEADER.pack(sport, dport, length, 0)
        else:
            seq, _, size = line.quoted or (None, 0, 0)
            raw = (seq + self.shift) & MASK if seq is not None else (snd_una or self.shift) & MASK
            start = TCP_FIXED.pack(sport, dport, raw, 0, 5 << 12 | ACK, 0, 0, 0)
            length = len(start) + size
        src, dst = self.local[0], self.remote[0]
        if len(src) == 4:
            return ipv4.header(src, dst, self.protocol, length) + start
        return ipv6.header(src, dst, self.protocol, length) + start

    def _ip(self, protocol: int, length: int, wanted: IpWanted, ident: int) -> bytes:
        src, dst = self.remote[0], self.local[0]
        tos = (wanted.tos or 0) | (2 if wanted.ecn == -1 else wanted.ecn or 0)
        ttl = TTL if wanted.ttl is None else wanted.ttl
        if len(src) == 4:
            if length + ipv4.SIZE > ipv4.MAX_TOTAL:
                raise ScriptError(f"{length} bytes do not fit into an IPv4 packet")
            return ipv4.header(src, dst, protocol, length, ident=ident, ttl=ttl, tos=tos)
        if length > 65535:
            raise ScriptError(f"{length} bytes do not fit into an IPv6 packet")
        return ipv6.header(src, dst, protocol, length, ttl=ttl, tos=tos, flow=wanted.flow_label or 0)

    # -- what the wire teaches ----------------------------------------------------------------------------------------------

    def learn(self, line: TcpLine, seq: int, options: tuple[Option, ...]) -> None:
        """From an outbound packet that stands for ``line``: our initial sequence number, the value of our timestamps."""
        if line.flags & SYN:
            self.offset = seq - line.seq
        wanted = next((o for o in line.options or () if o[0] == "TS"), None)
        found = next((o for o in options if o[0] == "TS"), None)
        if found is not None and isinstance(found[1], int):
            script = wanted[1] if wanted is not None and isinstance(wanted[1], int) else found[1]
            self.timestamps[script] = found[1]
            if self.first_timestamp is None and wanted is not None:
                self.first_timestamp = script, found[1]
