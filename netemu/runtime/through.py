"""Why a packet would go where it would go, with what stands between the device and the host: `netemu why`."""

from __future__ import annotations

from msgspec.structs import replace

from netemu.link.wording import words_of
from netemu.runtime.network import HostNode
from netemu.stack.verdict import Verdict
from netemu.stack.why import why
from netemu.wire.packet import Packet


def why_through(node: HostNode, packet: Packet, now: int) -> Verdict:
    """What would become of ``packet`` if it came to the host now, and what might have a say before: nothing is changed."""
    return replace(why(node.engine.host, packet, now), on_the_way=on_the_way(node, packet, now))


def on_the_way(node: HostNode, packet: Packet, now: int) -> list[str]:
    """The last link before the host, and what apps have done to packets of their ports."""
    found: list[str] = []
    away = node.end.lane
    if away is not None:
        link = away.link
        towards = link.inward if away.direction is link.outward else link.outward
        asked = [*towards.rules.matching(packet, now), words_of(towards.impairments)]
        found += (f"link {link.name}: {what}" for what in asked if what)
    between = node.engine.between
    if between is not None:
        found += (f"at the host: {what}" for what in between.matching(packet, now))
    return found
