"""Two who answer UDP's calls, the kernel and netemu, each with lo and a device d0 whose wire is in our hands; and the words
that the walk through facts U1 to U8 is written in."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Protocol

import pytest
from bsd import Answer, Kernel, Netemu, family_of

from netemu.reasons import Match
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import Host
from netemu.wire import icmp, ipv4, ipv6, udp
from netemu.wire.ip import ICMP, ICMPV6, UDP, parse_address

HOST, HOST6, PEER, PEER6 = "198.18.0.2", "2001:2::2", "198.18.0.1", "2001:2::1"
BROADCAST = "198.18.0.255"
GROUP, GROUP6 = "239.1.1.1", "ff05::1:1"
PORT = 7000
LO, D0 = 1, 2
"""Their ifindex, in a fresh namespace as in netemu."""
ITEM = tuple[int, int, str]
IP, IP6 = so.IPPROTO_IP, so.IPPROTO_IPV6


class Side(Protocol):
    def call(self, method: str, *arguments: object) -> Answer: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class KernelUdp(Kernel):
    def __init__(self) -> None:
        super().__init__("kernel_udp_helper.py")


class NetemuUdp(Netemu):
    def __init__(self) -> None:
        super().__init__()
        self.host = Host([f"{HOST}/24", f"{HOST6}/64"], seed=1, device="d0")
        self.host.now = self.now
        self._wire: list[str] = []

    def pump(self) -> None:
        self.host.icmp.allowance = icmp.Allowance(rate=1_000_000_000, burst=1_000_000)  # the walk is no flood
        while (packet := self.host.transmit(self.now)) is not None or self.host.news:
            # what is told of groups is left out as on the kernel's side (kernel_udp_helper.py, take)
            if packet is not None and self.host.sent_for is not Match.MEMBERSHIP_CHANGE:
                self._wire.append(bytes(packet).hex())
            self.host.dispatch()
        assert not self.host.faults

    def close(self) -> None:
        self.reset()

    def _give(self, packet: str) -> None:
        self.host.receive(bytes.fromhex(packet), self.now)

    def _take(self) -> list[str]:
        taken, self._wire = self._wire, []
        return taken

    def _sendto(self, number: int, data: str, address: str, port: int) -> int:
        return self._udp(number).sendto(bytes.fromhex(data), (address, port))

    def _sendmsg(self, number: int, data: str, items: list[ITEM], flags: int, to: tuple[str, int] | None) -> int:
        ancillary = [(level, kind, bytes.fromhex(text)) for level, kind, text in items]
        return self._udp(number).sendmsg(bytes.fromhex(data), ancillary, flags, to)

    def _recvmsg(self, number: int, limit: int, room: int, flags: int) -> list[object]:
        data, items, found, address = self._udp(number).recvmsg(limit, room, flags)
        return [data.hex(), [[level, kind, text.hex()] for level, kind, text in items], found, list(address)]

    def _getbytes(self, number: int, level: int, option: int, size: int) -> str:
        found = self.sockets[number].getsockopt(level, option, size)
        assert isinstance(found, bytes)
        return found.hex()

    def _disconnect(self, number: int) -> None:
        self._udp(number).disconnect()

    def _poll(self, number: int) -> int:
        return self._udp(number).poll() & 1

    def _udp(self, number: int) -> DatagramSocket:
        found = self.sockets[number]
        assert isinstance(found, DatagramSocket)
        return found


class Walk:
    """What is done and seen on one side. Sockets are numbers; an errno of 0 is success."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.open: list[int] = []

    def ok(self, method: str, *arguments: object) -> object:
        number, result = self.side.call(method, *arguments)
        assert not number, f"{method}{arguments}: {errno.errorcode.get(number, number)}"
        return result

    def fails(self, method: str, *arguments: object) -> str:
        """The errno's name; 'ok'."""
        number = self.side.call(method, *arguments)[0]
        return errno.errorcode.get(number, str(number)) if number else "ok"

    def socket(
        self, options: str = "--", *, v6: bool = False, uid: int = 0, device: str = "", v6only: bool = False
    ) -> int:
        made = self.ok("open", so.AF_INET6 if v6 else so.AF_INET, so.SOCK_DGRAM, uid)
        assert isinstance(made, int)
        self.open.append(made)
        for letter, option in (("A", so.SO_REUSEADDR), ("P", so.SO_REUSEPORT)):
            if letter in options:
                self.ok("setsockopt", made, so.SOL_SOCKET, option, 1)
        if device:
            self.ok("setsockopt", made, so.SOL_SOCKET, so.SO_BINDTODEVICE, device.encode().hex())
        if v6only:
            self.ok("setsockopt", made, so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1)
        return made

    def bound(self, address: str, options: str = "--", *, port: int = PORT, uid: int = 0, device: str = "",
              v6only: bool = False) -> int:  # fmt: skip
        made = self.socket(options, v6=family_of(address) == so.AF_INET6, uid=uid, device=device, v6only=v6only)
        self.ok("bind", made, address, port)
        return made

    def name(self, number: int) -> tuple[str, int]:
        found = self.ok("getsockname", number)
        assert isinstance(found, tuple)
        return found

    def set(self, number: int, level: int, option: int, value: int | bytes) -> str:
        return self.fails("setsockopt", number, level, option, value.hex() if isinstance(value, bytes) else value)

    def get(self, number: int, level: int, option: int) -> object:
        return self.ok("getsockopt", number, level, option)

    # -- the wire ---------------------------------------------------------------------------------------------------------

    def give(self, packet: bytes) -> None:
        self.ok("give", packet.hex())

    def taken(self) -> list[bytes]:
        found = self.ok("take")
        assert isinstance(found, list | tuple)
        return [bytes.fromhex(packet) for packet in found]

    def arrives(self, dst: str = HOST, sport: int = 40000, src: str = "", port: int = PORT, data: bytes = b"x") -> None:
        self.give(datagram(data, sport, port, src or (PEER6 if ":" in dst else PEER), dst))

    def heard(self) -> dict[int, int]:
        """How many datagrams each socket has now, drained."""
        counts = {}
        for number in self.open:
            count = 0
            while self.side.call("recvmsg", number, 65535, 0, 0)[0] == 0:
                count += 1
            if count:
                counts[number] = count
        return counts

    def winners(self, dst: str = HOST, sport: int = 40000, src: str = "") -> list[int]:
        """Who gets one datagram from the wire."""
        self.arrives(dst, sport, src)
        found = self.heard()
        assert set(found.values()) <= {1}
        return sorted(found)

    def recvmsg(self, number: int, limit: int = 65535, room: int = 512, flags: int = 0) -> tuple[object, ...]:
        found = self.ok("recvmsg", number, limit, room, flags)
        assert isinstance(found, list | tuple)
        data, items, seen, address = found
        return bytes.fromhex(data), [(a, b, bytes.fromhex(c)) for a, b, c in items], seen, tuple(address)


def datagram(data: bytes, sport: int, dport: int, src: str, dst: str, *, ttl: int = 64, tos: int = 0) -> bytes:
    a, b = parse_address(src), parse_address(dst)
    return wrapped(a, b, UDP, udp.emit(a, b, sport, dport, data), ttl=ttl, tos=tos)


def wrapped(a: bytes, b: bytes, protocol: int, payload: bytes, *, ttl: int = 64, tos: int = 0) -> bytes:
    head = ipv4.header if len(a) == 4 else ipv6.header
    return head(a, b, protocol, len(payload), ttl=ttl, tos=tos) + payload


def icmp_error(kind: int, code: int, quoted: bytes, *, rest: int = 0, src: str = "") -> bytes:
    v4 = quoted[0] >> 4 == 4
    a, b = parse_address(src or (PEER if v4 else PEER6)), parse_address(HOST if v4 else HOST6)
    return wrapped(a, b, ICMP if v4 else ICMPV6, icmp.emit(a, b, kind, code, rest, quoted[:512]))


def joined(walk: Walk, socket: int, group: str = GROUP, device: int = D0, option: int = 0) -> str:
    """IP_ADD_MEMBERSHIP or IPV6_JOIN_GROUP, or another ``option`` of that shape."""
    packed = parse_address(group)
    if len(packed) == 16:
        return walk.set(socket, IP6, option or so.IPV6_JOIN_GROUP, struct.pack("=16si", packed, device))
    return walk.set(socket, IP, option or so.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", packed, bytes(4), device))


@pytest.fixture(scope="module", params=[NetemuUdp, KernelUdp], ids=["netemu", "kernel"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    made: Side = request.param()
    yield made
    made.close()


@pytest.fixture
def walk(side: Side) -> Iterator[Walk]:
    made = Walk(side)
    yield made
    side.reset()
    made.taken()
