"""Explicit congestion notification (RFC 3168 section 6.1): who may use it, CE comes back as ECE, and CWR answers that.

``c.ect`` is what data go with in the IP header: ECT(0) once both sides have agreed, else 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.tcp.state import State
from netemu.wire.tcp import ACK, CWR, ECE, Segment

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection

NOT_ECT, ECT_0, CE = 0, 2, 3
OFF, ASK, ANSWER = 0, 1, 2
"""tcp_ecn: never; ask for it and take it; take it where the peer asks."""
BOTH = ECE | CWR
QUICK_ACKS = 2
"""Segments that are acknowledged at once after a mark, so that it is heard of soon (as Linux)."""


def flags_of_syn(c: Connection) -> int:
    """6.1.1: a SYN that asks for it has both, the SYN-ACK that agrees ECE alone.

    A SYN that must go again asks for nothing (6.1.1.1): there are boxes that drop what they do not know.
    """
    if c.state is not State.SYN_SENT:
        return ECE if c.ect else 0
    return BOTH if c.config.ecn == ASK and not c.syn_retransmits else 0


def learn_from_syn(c: Connection, seg: Segment) -> None:
    """The peer's SYN or SYN-ACK. One that came with ECT or CE itself agrees to nothing (as Linux)."""
    if seg.flags & ACK:
        agreed = c.config.ecn == ASK and seg.flags & BOTH == ECE
    else:
        agreed = c.config.ecn != OFF and seg.flags & BOTH == BOTH and seg.ecn == NOT_ECT
    c.ect = ECT_0 if agreed else NOT_ECT


def text_arrives(c: Connection, seg: Segment) -> None:
    """6.1.3: from a CE on every ACK has ECE, until the peer's CWR; that segment may bring a new CE."""
    if seg.flags & CWR:
        c.ack_flags = ACK
        c.ack_now = True
    if seg.ecn == CE:
        if c.ack_flags == ACK:
            c.quick_acks = max(c.quick_acks, QUICK_ACKS)
        c.ack_flags = ACK | ECE


def echo_arrives(c: Connection, ack: int, now: int) -> None:
    """6.1.2: as after a loss, but nothing is sent again; once a window, and not beside a loss of the same."""
    if ack <= c.ecn_recover:
        return
    c.ecn_recover = c.snd_nxt
    c.cwr_due = True
    c.recovery.reduce(c, now)
