"""A router on a bench: an inside port and an outside one, packets by hand, and what comes out taken apart and verified."""

from __future__ import annotations

from collections.abc import Sequence

from stack_bench import SECOND, Seen, take_apart

from netemu.reasons import Reason
from netemu.router.nat_config import parse_nat
from netemu.router.router import Router
from netemu.router.routes import parse_route
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

LAN, WAN = 0, 1
A, A2, R_LAN = "10.0.1.2", "10.0.1.3", "10.0.1.1"
B, R_WAN, FAR = "192.0.2.2", "192.0.2.1", "198.51.100.7"
A6, R_LAN6 = "2001:db8:1::2", "2001:db8:1::1"
B6, R_WAN6, FAR6 = "2001:db8:2::2", "2001:db8:2::1", "2001:db8:ffff::7"
OF_A, OF_B, OF_LAN, OF_WAN = {4: A, 6: A6}, {4: B, 6: B6}, {4: R_LAN, 6: R_LAN6}, {4: R_WAN, 6: R_WAN6}


class RouterBench:
    """See the module. ``nat`` and ``firewall`` are as a scenario file has them."""

    def __init__(
        self, *, mtu: int = 1500, nat: dict[str, object] | None = None, firewall: Sequence[str] = (), seed: int = 1
    ) -> None:
        self.router = Router("r1", seed)
        self.now = SECOND
        self.router.add_port("lan", [f"{R_LAN}/24", f"{R_LAN6}/64"])
        self.router.add_port("wan", [f"{R_WAN}/24", f"{R_WAN6}/64"], mtu)
        for route in ("198.51.100.0/24 via 192.0.2.2", "2001:db8:ffff::/48 via 2001:db8:2::2"):
            self.router.add_route(parse_route(route))
        if nat is not None:
            self.router.use_nat(parse_nat({"inside": ["lan"], **nat}))
        if firewall:
            self.router.use_firewall(firewall)

    def give(self, packet: Packet | bytes, port: int = LAN) -> Reason:
        """A packet comes in."""
        packet = packet if isinstance(packet, Packet) else Packet(packet)
        before = self.router.counters.copy()
        reason = self.router.receive(port, packet, self.now)
        assert self.router.counters[reason] == before[reason] + 1
        return reason

    def packets(self) -> list[tuple[int, Packet]]:
        """All that leaves now."""
        out = []
        while (sent := self.router.transmit(self.now)) is not None:
            out.append(sent)
        return out

    def take(self) -> list[tuple[int, Seen]]:
        """The same, taken apart: every checksum is right."""
        return [(port, take_apart(packet)) for port, packet in self.packets()]

    def one(self) -> tuple[int, Seen]:
        """The only packet that leaves now, and where."""
        out = self.take()
        assert len(out) == 1, (out, self.router.counters)
        return out[0]

    def passes(self, packet: Packet | bytes, port: int = LAN) -> Seen:
        """A packet goes through, and leaves by the other port."""
        self.give(packet, port)
        out, seen = self.one()
        assert out != port
        return seen

    def answer(self, packet: Packet | bytes, port: int = LAN) -> Seen:
        """What the router itself says to a packet, where it came from."""
        self.give(packet, port)
        out, seen = self.one()
        assert out == port
        return seen

    def quiet(self, packet: Packet | bytes, port: int = LAN) -> Reason:
        """A packet comes in and nothing leaves; the reason."""
        reason = self.give(packet, port)
        assert self.packets() == []
        return reason

    def wait(self, duration: int) -> None:
        """Time passes, ns; timers run when they are due."""
        end = self.now + duration
        while (due := self.router.deadline()) <= end:
            assert due < NEVER
            self.now = max(self.now, due)
            self.router.on_timer(self.now)
            assert self.router.deadline() > self.now or self.router.deadline() > due
        self.now = end
