"""What to retransmit: fast retransmit and NewReno's fast recovery (RFC 5681, 6582), and going back after a timeout.

Everything that decides 'this was lost' is here; SACK and RACK have their place here too.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection

DUPLICATE_THRESHOLD = 3


class Phase(Enum):
    OPEN = "open"
    FAST = "fast recovery"
    LOSS = "timeout"


class Recovery:
    """One connection's. ``rtx_nxt`` to ``rtx_end`` is the range that waits to be sent again."""

    __slots__ = ("duplicates", "full_until", "inflation", "partial_acks", "phase", "recover", "rtx_end", "rtx_nxt")

    def __init__(self, iss: int) -> None:
        self.phase = Phase.OPEN
        self.duplicates = 0
        self.full_until = iss
        """SND.NXT when cwnd last stopped the sender: only acknowledgements of what was in flight then may widen it (RFC 7661)."""
        self.inflation = 0
        """Bytes that duplicate ACKs say have left the network; added to cwnd in fast recovery (RFC 5681 3.2)."""
        self.partial_acks = 0
        """How many there were in this fast recovery: only the first one restarts the timer (RFC 6582 3.2 step 3)."""
        self.recover = iss
        """SND.NXT when recovery began (RFC 6582)."""
        self.rtx_nxt = self.rtx_end = 0

    def allowance(self, c: Connection) -> int:
        """Bytes of new data that congestion control permits now; may be negative."""
        return c.cc.cwnd + self.inflation - (c.snd_nxt - c.snd_una)

    def next_retransmission(self, c: Connection) -> tuple[int, int] | None:
        """(sequence number, length) of what is to be sent again now; ``retransmitted`` must be called if it is."""
        seq = self.rtx_nxt
        if seq >= self.rtx_end:
            return None
        length = min(c.mss, self.rtx_end - seq)
        if self.phase is Phase.LOSS and seq > c.snd_una and seq + length - c.snd_una > c.cc.cwnd:
            return None
        room = c.snd_una + c.snd_wnd - seq
        if length > room:  # the window has shrunk
            if room > 0:
                length = room  # SHLD-16; and a receiver may drop all of a segment that ends beyond its window
            elif seq > c.snd_una:
                return None
        return seq, length

    def retransmitted(self, end: int) -> None:
        self.rtx_nxt = end

    def on_duplicate(self, c: Connection, now: int) -> None:
        """A duplicate ACK (RFC 5681 section 2)."""
        self.duplicates += 1
        if self.phase is Phase.FAST:
            self.inflation += c.mss
        elif self.duplicates == DUPLICATE_THRESHOLD and c.snd_una > self.recover:
            self.phase = Phase.FAST
            self.partial_acks = 0
            self.recover = c.snd_nxt
            c.cc.on_loss(c.flight, now)
            c.cc.cwnd = c.cc.ssthresh
            self.inflation = DUPLICATE_THRESHOLD * c.mss
            self._resend_first(c)

    def on_advance(self, c: Connection, acked: int, now: int) -> None:
        """SND.UNA has advanced by ``acked``."""
        self.duplicates = 0
        if self.phase is Phase.OPEN:
            if c.snd_una - acked < self.full_until:
                c.cc.on_ack(acked, now)
            return
        if c.snd_una >= self.recover:
            if self.phase is Phase.FAST:  # RFC 6582 3.2 step 3, full acknowledgement; option 1 against a burst
                c.cc.cwnd = min(c.cc.ssthresh, max(c.flight, c.mss) + c.mss)
            else:
                c.cc.on_ack(min(acked, c.mss), now)
            self.phase = Phase.OPEN
            self.inflation = self.partial_acks = 0
            self.rtx_nxt = self.rtx_end = 0
        elif self.phase is Phase.FAST:  # partial acknowledgement: the next hole begins at SND.UNA
            self.partial_acks += 1
            deflated = self.inflation - acked + (c.mss if acked >= c.mss else 0)
            self.inflation = max(deflated, c.mss - c.cc.cwnd)
            self._resend_first(c)
        else:
            # slow start up to what was outstanding. An ACK may cover much that had arrived before the loss, so it counts as one
            # segment (RFC 3465 2.3)
            c.cc.on_ack(min(acked, c.mss), now)
            self.rtx_nxt = max(self.rtx_nxt, c.snd_una)

    def on_timeout(self, c: Connection, now: int) -> None:
        """The retransmission timer expired: everything outstanding counts as lost (RFC 5681 3.1)."""
        c.cc.on_timeout(c.flight, now, c.retransmits == 1)
        self.phase = Phase.LOSS
        self.duplicates = self.inflation = self.partial_acks = 0
        self.recover = c.snd_nxt
        self.rtx_nxt, self.rtx_end = c.snd_una, c.snd_nxt

    def reduce(self, c: Connection, now: int) -> None:
        """A congestion signal without a loss, such as ECN's (RFC 3168 6.1.2)."""
        if self.phase is Phase.OPEN:
            c.cc.on_loss(c.flight, now)
            c.cc.cwnd = min(c.cc.cwnd, c.cc.ssthresh)

    def on_mtu(self, c: Connection) -> None:
        """The path takes less than was thought: send what is outstanding again, in smaller pieces, without a penalty."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.LOSS
            self.recover = c.snd_nxt
        self.rtx_nxt, self.rtx_end = c.snd_una, c.snd_nxt

    def _resend_first(self, c: Connection) -> None:
        self.rtx_nxt = c.snd_una
        self.rtx_end = min(c.snd_una + c.mss, c.snd_nxt)
