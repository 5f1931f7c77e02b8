"""A rule that is a Python function over a scapy packet. scapy is imported when the first such rule sees a packet.

The function gets the packet with its lengths and checksums left out: scapy fills in those that the function does not set. What it
returns decides: a packet (the same, changed, or another one), None (dropped), a list of packets, or a text such as "drop", "delay
50ms" or "reset": an action of the language of rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from netemu.link.rules.actions import Action, Hand
from netemu.link.rules.nodes import RuleError
from netemu.wire.packet import Packet

Function = Callable[[Any], Any]
"""scapy packet -> packet, None, list or str."""
_FILLED_IN = ("len", "plen", "chksum", "cksum")


class FunctionError(Exception):
    """The function raised, or returned something of no meaning. The packet goes on as it was."""


@dataclass(frozen=True, slots=True)
class Called:
    """``call FUNCTION``."""

    name: str
    function: Function

    def act(self, hand: Hand) -> bool:
        packet = hand.view.packet
        given = _for_scapy(bytes(packet))
        before = bytes(given)
        try:
            result = self.function(given)
            packets = None if isinstance(result, str) else [bytes(one) for one in _listed(result)]
        except Exception as error:
            raise FunctionError(f"{self.name} raised {type(error).__name__}: {error}") from None
        if packets is None:
            return self._told(result, hand)
        if packets and packets[0] == before:
            packets[0] = bytes(packet)  # it was let be, so a bad checksum stays bad
        if not packets:
            hand.drop()
            return True
        if packets == [bytes(packet)]:
            return False
        hand.replace(Packet(packets[0]))
        hand.copies += [Packet(data) for data in packets[1:]]
        return True

    def _told(self, text: str, hand: Hand) -> bool:
        try:
            action = _action(text)
        except RuleError as error:
            raise FunctionError(f"{self.name} returned {text!r}: {error}") from None
        hand.notes[-1] += f": {action}"
        return action.act(hand)

    def __str__(self) -> str:
        return f"call {self.name}"


@lru_cache(64)
def _action(text: str) -> Action:
    from netemu.link.rules.parse import parse_single_action

    return parse_single_action(text)


def _listed(result: Any) -> list[Any]:
    """The packets of a result; TypeError."""
    if result is None:
        return []
    packets = result if isinstance(result, list) else [result]
    for packet in packets:
        if not hasattr(packet, "fields_desc") and not isinstance(packet, bytes):
            raise TypeError(f"it returned {type(packet).__name__}: give a packet, None, a list of packets or an action")
    return packets


def _for_scapy(data: bytes) -> Any:
    """The packet dissected, without what scapy will fill in."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import IPv6, _ICMPv6

    packet = IPv6(data) if data and data[0] >> 4 == 6 else IP(data)
    layer = packet
    while layer:
        is_transport = isinstance(layer, TCP | UDP | ICMP | _ICMPv6)
        has_none = isinstance(layer, UDP) and not layer.chksum
        for name in _FILLED_IN:
            if name in layer.fields and not (has_none and name == "chksum"):
                layer.delfieldval(name)
        if is_transport:
            break  # what an ICMP error quotes is data
        layer = layer.payload
    return packet
