"""RACK (RFC 8985 section 6): what was sent well before something that has arrived is lost. Times tell, not counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.tcp.scoreboard import LOST, RETRANS, SACKED, TWICE

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection
    from netemu.tcp.scoreboard import Arrived

DUPLICATE_THRESHOLD = 3
PERSIST = 16
"""Recoveries that a widened reordering window outlasts (RFC 8985 6.2 step 4)."""


class Rack:
    """The state of RFC 8985 5.2, without its prefix."""

    __slots__ = (
        "advanced",
        "dsack_round",
        "end_seq",
        "reo_wnd_mult",
        "reo_wnd_persist",
        "reordering_seen",
        "rtt",
        "xmit_ts",
    )

    def __init__(self) -> None:
        self.xmit_ts = self.end_seq = self.rtt = 0
        """Of what was sent last among all that has arrived."""
        self.advanced = False
        """Something arrived since losses were last looked for."""
        self.reordering_seen = 0
        """How often something arrived after what was sent later."""
        self.reo_wnd_mult = 1
        self.reo_wnd_persist = 0
        self.dsack_round: int | None = None

    def update(self, segment: Arrived, min_rtt: int, now: int) -> None:
        """6.2 step 2. What came back sooner than any round trip takes was the answer to an earlier transmission."""
        _, end, sent_at, marks = segment
        rtt = now - sent_at
        if marks & TWICE and rtt < min_rtt:
            return
        self.advanced = True
        self.rtt = rtt
        if (sent_at, end) > (self.xmit_ts, self.end_seq):
            self.xmit_ts, self.end_seq = sent_at, end

    def on_dsack(self, c: Connection) -> None:
        """6.2 step 4: a retransmission was for nothing, so wait longer for what comes late; once a round trip."""
        if self.dsack_round is None:
            self.dsack_round = c.snd_nxt
            self.reo_wnd_mult += 1
            self.reo_wnd_persist = PERSIST

    def on_recovered(self) -> None:
        """6.2 step 4: after so many recoveries without a DSACK the window is as it was."""
        if self.reo_wnd_persist:
            self.reo_wnd_persist -= 1
            if not self.reo_wnd_persist:
                self.reo_wnd_mult = 1

    def reordering_window(self, c: Connection, recovering: bool) -> int:
        """6.2 step 4: none while nothing has ever been reordered and recovery runs or the classic threshold is reached."""
        if not self.reordering_seen and (recovering or c.board.sacked >= DUPLICATE_THRESHOLD * c.mss):
            return 0
        return min(c.rtt.min_rtt // 4 * self.reo_wnd_mult, c.rtt.srtt)

    def detect_loss(self, c: Connection, recovering: bool, now: int) -> tuple[bool, int]:
        """6.2 step 5: mark what is lost. (Some retransmission was among it; ns until the last undecided one will be.)"""
        reo_wnd = self.reordering_window(c, recovering)
        again, wait = False, 0
        for record in c.board.sent:
            marks = record.marks
            if marks & SACKED or marks & (LOST | RETRANS) == LOST:
                continue
            if (record.sent_at, record.end) >= (self.xmit_ts, self.end_seq):
                if not marks & TWICE:
                    break  # all behind it left later still
                continue
            remaining = record.sent_at + self.rtt + reo_wnd - now
            if remaining <= 0:
                again = c.board.mark_lost(record) or again
            else:
                wait = max(wait, remaining)
        return again, wait
