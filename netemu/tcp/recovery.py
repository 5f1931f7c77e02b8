"""What was lost, and how much may be in flight until that is mended: SACK, RACK-TLP, PRR, undo.

RFC 6675 (SACK, limited transmit of RFC 3042), RFC 8985 (RACK-TLP; rack.py), RFC 6937 (PRR), RFC 5682 (F-RTO), RFC 4015 and 3708
(undo by timestamps and by DSACK), RFC 6582 where the peer does not know SACK. Where they leave a choice, it is Linux'.

An ACK goes through here in three steps: ``on_sack`` reads its blocks, ``on_advance`` or ``on_duplicate`` its number, and
``_react`` decides. On a calm connection there is only the short cut in ``on_advance``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from netemu.tcp.config import MS
from netemu.tcp.rack import DUPLICATE_THRESHOLD, Rack
from netemu.tcp.scoreboard import TWICE
from netemu.wire.tcp import HALF, unwrap

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection
    from netemu.tcp.scoreboard import Arrived

REO_SLACK = 2 * MS
"""What Linux adds to the reordering timer (TCP_TIMEOUT_MIN)."""
SAMPLE_INTERVAL = MS


class Phase(Enum):
    OPEN = "open"
    CWR = "cwnd reduced"
    FAST = "fast recovery"
    LOSS = "timeout"


class Recovery:
    """One connection's."""

    __slots__ = (
        "calm",
        "delivered",
        "dsack_of_tlp",
        "dsacks",
        "echo",
        "frto",
        "frto_new",
        "full_until",
        "last_acked",
        "lowest_late",
        "originals",
        "phase",
        "prior_cwnd",
        "prr_delivered",
        "prr_out",
        "rack",
        "recover",
        "reo_timer",
        "reordering",
        "retrans_stamp",
        "tlp_end_seq",
        "tlp_is_retrans",
        "undo_bytes",
        "undo_marker",
    )

    def __init__(self, iss: int) -> None:
        self.phase = Phase.OPEN
        self.calm = True
        """OPEN, nothing on the scoreboard has a mark and no probe is out: the short cuts may be taken."""
        self.recover = iss
        """SND.NXT when recovery began (RFC 6582, RFC 6675 'RecoveryPoint')."""
        self.full_until = iss
        """SND.NXT when cwnd last stopped the sender: only acknowledgements of what was in flight then may widen it (RFC 7661)."""
        self.rack = Rack()
        self.reo_timer = False
        """deadline_rtx is RACK's reordering timer."""
        self.reordering = DUPLICATE_THRESHOLD
        """Segments by which the latest was overtaken, for TCP_INFO."""
        self.dsacks = 0
        # TLP (RFC 8985 section 7)
        self.tlp_end_seq = 0
        """SND.NXT when a loss probe was sent, until it is known what became of it; 0: none is out."""
        self.tlp_is_retrans = False
        # PRR (RFC 6937 section 3), bytes
        self.prior_cwnd = self.prr_delivered = self.prr_out = 0
        # undo
        self.undo_marker: int | None = None
        """SND.UNA when cwnd was reduced, as long as that may be taken back."""
        self.undo_bytes = 0
        """Sent again since and not reported by a DSACK; -1: nothing was sent again."""
        self.retrans_stamp: int | None = None
        """Our timestamp on the first retransmission (RFC 4015 'RetransmitTS')."""
        self.frto = self.frto_new = False
        """F-RTO (RFC 5682) is under way; it waits for the answer to new data (step 2b)."""
        # what one ACK brings
        self.delivered = 0
        self.last_acked = 0
        """What the last ACK that was not plain acknowledged, without SACK."""
        self.originals = self.dsack_of_tlp = False
        self.lowest_late: int | None = None
        self.echo: int | None = None

    # -- what may be sent ---------------------------------------------------------------------------------------------------

    def allowance(self, c: Connection) -> int:
        """Bytes that congestion control permits now; may be negative."""
        if self.calm:
            return c.cc.cwnd - (c.snd_nxt - c.snd_una)
        return c.cc.cwnd - (c.snd_nxt - c.snd_una) + c.board.left_out

    def next_retransmission(self, c: Connection) -> tuple[int, int] | None:
        """(sequence number, length) of what is to be sent again now, the FIN counted; ``retransmitted`` follows if it is."""
        if self.frto_new:
            return None
        found = c.board.next_waiting(c.mss, c.sendbuf.end)
        if found is None:
            return None
        seq, length = found[0], found[1] - found[0]
        if self.allowance(c) < min(length, c.mss):
            return None
        room = c.snd_una + c.snd_wnd - seq
        if length > room:  # the window has shrunk
            if room > 0:
                length = room  # SHLD-16; and a receiver may drop all of a segment that ends beyond its window
            elif seq > c.snd_una:
                return None
        return seq, length

    def sent_new(self, length: int) -> None:
        """New data left, and the connection is not calm."""
        self.prr_out += length

    def retransmitted(self, c: Connection, seq: int, end: int, now: int) -> None:
        self.prr_out += end - seq
        self.undo_bytes = max(self.undo_bytes, 0) + end - seq
        if self.retrans_stamp is None:
            self.retrans_stamp = c.timestamp(now)
        c.board.resent(seq, end, now)
        self.calm = False

    # -- an ACK arrives -----------------------------------------------------------------------------------------------------

    def on_sack(self, c: Connection, blocks: tuple[tuple[int, int], ...], ack: int, now: int) -> None:
        """SACK blocks (32 bits), before the acknowledgement number is taken. Ones that make no sense are passed over."""
        self.calm = False
        una = c.snd_una
        edges = [(unwrap(left, una), unwrap(right, una)) for left, right in blocks]
        left, right = edges[0]
        if left < right and (right <= ack or any(a <= left and right <= b for a, b in edges[1:2])):
            self._on_dsack(c, left, right, ack)  # RFC 2883 section 4
            del edges[0]
        for left, right in sorted(edges):
            if una <= left < right <= c.snd_nxt and right > ack:
                high = c.board.high
                arrived = c.board.sack(left, right, c.mss)
                self._on_arrived(c, arrived, high, now)
                self._measure(c, [segment for segment in arrived if not segment.marks & TWICE], now)

    def on_advance(self, c: Connection, acked: int, now: int) -> None:
        """SND.UNA has advanced by ``acked``."""
        if self.calm:
            c.board.forget(c.snd_una)
            if c.snd_una - acked < self.full_until:
                c.cc.on_ack(acked, now)
            return
        high = c.board.high
        before = self.delivered
        arrived = c.board.acknowledge(c.snd_una)
        self._on_arrived(c, arrived, high, now)
        if not any(segment.marks & TWICE for segment in arrived):
            self._measure(c, arrived, now)  # else the ACK may have waited for a retransmission (Karn)
        if not c.sack_ok:
            self.delivered = before + max(acked - c.board.sacked, min(acked, c.mss))
        self._react(c, acked, False, now)

    def on_duplicate(self, c: Connection, is_duplicate: bool, now: int) -> None:
        """An ACK that does not advance SND.UNA; ``is_duplicate`` as RFC 5681 section 2 has it."""
        if is_duplicate:
            self.calm = False
        if not self.calm:
            self._react(c, 0, is_duplicate, now)

    def _on_arrived(self, c: Connection, arrived: list[Arrived], high: int, now: int) -> None:
        for segment in arrived:
            self.delivered += segment.end - segment.seq
            if not segment.marks & TWICE:
                if segment.seq < high and (self.lowest_late is None or segment.seq < self.lowest_late):
                    self.lowest_late = segment.seq
                if segment.end <= self.recover:
                    self.originals = True
            if c.sack_ok:
                self.rack.update(segment, c.rtt.min_rtt, now)

    def _measure(self, c: Connection, arrived: list[Arrived], now: int) -> None:
        """The round trip of what was sent once."""
        if arrived and now - c.timed_at >= SAMPLE_INTERVAL:
            c.timed_end, c.timed_at = 0, now
            c.rtt.sample(now - arrived[0].sent_at)
            c.cc.on_rtt(now - arrived[0].sent_at, now)

    def _on_dsack(self, c: Connection, left: int, right: int, ack: int) -> None:
        """The peer got this twice."""
        self.dsacks += max(1, -(-(right - left) // c.mss))
        if self.dsacks > c.total_retransmits:
            return  # the network's doing (RFC 3708 section 2)
        if self.tlp_end_seq and self.tlp_is_retrans and right == self.tlp_end_seq:
            self.dsack_of_tlp = True
        elif self.rack.reordering_seen:
            self.rack.on_dsack(c)
        if self.undo_marker is not None and self.undo_bytes > 0 and right > self.undo_marker:
            self.undo_bytes = max(0, self.undo_bytes - (right - left))

    # -- what follows from it -----------------------------------------------------------------------------------------------

    def _react(self, c: Connection, acked: int, duplicate: bool, now: int) -> None:
        board, was_lost, was = c.board, c.board.lost, self.phase
        if acked:
            self.reo_timer = False
        self._reordering(c)
        if self.tlp_end_seq:
            self._tlp_answered(c, acked, duplicate, now)
        if self.rack.dsack_round is not None and c.snd_una >= self.rack.dsack_round:
            self.rack.dsack_round = None
        if not c.sack_ok:
            self._count_duplicates(c, acked, duplicate)
        if self.phase in (Phase.CWR, Phase.FAST) and c.snd_una >= self.recover:
            self._recovered(c)
        if self.phase is Phase.LOSS:
            self._in_loss(c, acked, duplicate, now)
        elif self.phase is Phase.FAST and acked and self._is_delayed():
            self._undo(c, True)  # RFC 4015: the first retransmission was for nothing
            self.phase = Phase.OPEN
        elif self.phase is not Phase.CWR and self._is_answered_twice():
            self._undo(c, False)
            self.phase = Phase.OPEN
        again = self._find_losses(c, acked, now)
        if board.lost and (self.phase in (Phase.OPEN, Phase.CWR) or (self.phase is Phase.LOSS and again)):
            self._enter(c, Phase.FAST, now)
        if self.phase in (Phase.CWR, Phase.FAST):
            if not c.cc.owns_cwnd:
                self._reduce_proportionally(c, acked, board.lost > was_lost)
        elif acked and was is Phase.LOSS and not c.sack_ok:
            c.cc.on_ack(min(acked, c.mss), now)  # it may cover much that had arrived before the loss (RFC 3465 2.3)
        elif acked and (was is Phase.LOSS or c.snd_una - acked < self.full_until):
            c.cc.on_ack(self.delivered, now)
        self._settle(c)

    def _settle(self, c: Connection) -> None:
        """One ACK is dealt with."""
        self.delivered = 0
        self.originals = self.dsack_of_tlp = False
        self.lowest_late = self.echo = None
        board = c.board
        if self.phase is Phase.OPEN and not (board.sacked or board.lost or board.retrans):
            self.retrans_stamp = None
            self.calm = not self.tlp_end_seq

    def _count_duplicates(self, c: Connection, acked: int, duplicate: bool) -> None:
        """Without SACK each duplicate ACK stands for a segment that has arrived, though nobody knows which."""
        board = c.board
        if acked:
            self.last_acked = acked
            board.sacked = max(0, board.sacked - acked + c.mss) if self.phase is Phase.FAST else 0
        elif duplicate:
            board.sacked += c.mss
            self.delivered += c.mss
        board.sacked = max(0, min(board.sacked, c.flight - max(board.lost, c.mss)))

    def _find_losses(self, c: Connection, acked: int, now: int) -> bool:
        """Mark what is lost; True if a retransmission is among it."""
        recovering = self.phase in (Phase.FAST, Phase.LOSS)
        if not c.sack_ok:
            # RFC 5681 3.2 step 2 and RFC 6582: a partial ACK, or three duplicates for what is beyond the last recovery; or that
            # ended with an ACK for so little (RFC 6582 4.1) that the duplicates cannot be of its retransmissions
            beyond = c.snd_una > self.recover or (c.cc.cwnd > c.mss and self.last_acked <= 4 * c.mss)
            enough = c.board.sacked >= DUPLICATE_THRESHOLD * c.mss and beyond and not recovering
            if enough or (self.phase is Phase.FAST and acked):
                c.board.mark_head(c.mss)
            return False
        if not c.config.rack:
            c.board.mark_below_sacked((DUPLICATE_THRESHOLD - 1) * c.mss + 1)
            return False
        if not self.rack.advanced:
            return False
        self.rack.advanced = False
        again, wait = self.rack.detect_loss(c, recovering, now)
        self.reo_timer = wait > 0
        if wait:
            c.deadline_rtx = now + min(wait + REO_SLACK, c.rtt.rto)
        return again

    def _reordering(self, c: Connection) -> None:
        if self.lowest_late is not None:
            self.rack.reordering_seen += 1
            self.reordering = min(300, max(self.reordering, -(-(c.board.high - self.lowest_late) // c.mss)))

    def _enter(self, c: Connection, phase: Phase, now: int) -> None:
        """Recovery begins (RFC 6675 section 5 step 4, RFC 6937)."""
        if self.phase is not Phase.CWR:
            self.prior_cwnd = min(c.cc.cwnd, c.flight)  # without what limited transmit added (RFC 5681 3.2 step 2)
            self.prr_delivered = self.prr_out = 0
            c.cc.on_loss(self.prior_cwnd, now)
        self.undo_marker = c.snd_una if phase is Phase.FAST else None  # a mark was no mistake
        self.undo_bytes = c.board.retrans or -1
        self.phase = phase
        self.recover = c.snd_nxt
        self.tlp_end_seq = 0
        self.frto = self.frto_new = self.calm = False

    def reduce(self, c: Connection, now: int) -> None:
        """A congestion signal without a loss, such as ECN's (RFC 3168 6.1.2): once a round trip, by PRR."""
        if self.phase is Phase.OPEN:
            self._enter(c, Phase.CWR, now)

    def _recovered(self, c: Connection) -> None:
        """All that was outstanding when recovery began is acknowledged."""
        if self._may_undo():
            self._undo(c, False)
        else:
            self.rack.on_recovered()
            if self.phase is Phase.CWR or (self.phase is Phase.FAST and self.undo_marker is not None):
                c.cc.cwnd = c.cc.ssthresh
        if not c.sack_ok:
            c.board.sacked = 0
        self.phase = Phase.OPEN
        self.frto = self.frto_new = False

    def _reduce_proportionally(self, c: Connection, acked: int, lost_more: bool) -> None:
        """PRR (RFC 6937 section 3.1), with the slow start reduction bound where nothing more was lost, as Linux.

        In whole segments, so that cwnd never waits for a fraction of one.
        """
        if not self.delivered or not self.prior_cwnd:
            return
        mss, ssthresh = c.mss, c.cc.ssthresh
        pipe = c.flight - c.board.left_out
        self.prr_delivered += self.delivered
        if pipe > ssthresh:
            due = -(-self.prr_delivered * ssthresh // self.prior_cwnd)
            allowed = -(-due // mss) * mss - self.prr_out
        else:
            allowed = max(self.prr_delivered - self.prr_out, self.delivered)
            if acked and not lost_more:
                allowed += mss
            allowed = min(ssthresh - pipe, allowed)
        if not self.prr_out:
            allowed = max(allowed, mss)  # the fast retransmit
        c.cc.cwnd = pipe + max(allowed, 0)

    # -- timers -------------------------------------------------------------------------------------------------------------

    def on_timeout(self, c: Connection, now: int) -> None:
        """The retransmission timer expired: what the peer does not have counts as lost (RFC 5681 3.1, RFC 6675 5.1)."""
        board = c.board
        first = (
            self.phase is Phase.OPEN or c.snd_una >= self.recover or (self.phase is Phase.LOSS and c.retransmits == 1)
        )
        # RFC 5682 step 1: not while another recovery is under way
        self.frto = c.config.frto and (self.phase in (Phase.OPEN, Phase.CWR) or c.retransmits > 1)
        self.frto_new = self.calm = self.reo_timer = False
        if not c.sack_ok:
            board.sacked = 0
        board.mark_all(now - self.rack.rtt if c.sack_ok and c.config.rack else now)
        c.cc.on_timeout(c.flight, now, first)
        c.cc.cwnd = max(c.cc.cwnd, c.flight - board.left_out + c.mss)
        if first:
            self.undo_marker, self.undo_bytes = c.snd_una, board.retrans or -1
        self.phase = Phase.LOSS
        self.recover = c.snd_nxt
        self.tlp_end_seq = 0

    def on_reo_timeout(self, c: Connection, now: int) -> None:
        """What RACK waited for has not come (RFC 8985 6.3)."""
        self.reo_timer = False
        self.rack.advanced = True
        if self.phase is not Phase.FAST:
            self.delivered = c.mss  # for PRR to begin with, as Linux
        self._react(c, 0, False, now)
        if not self.reo_timer:
            c.deadline_rtx = now + c.rtt.rto

    def on_mtu(self, c: Connection) -> None:
        """The path takes less than was thought: send what is outstanding again, in smaller pieces, without a penalty."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.LOSS
            self.recover = c.snd_nxt
            self.undo_marker = None
        self.calm = self.frto = self.frto_new = False
        c.board.mark_all(1 << 62)

    # -- tail loss probes (RFC 8985 section 7) ------------------------------------------------------------------------------

    def may_probe(self, c: Connection) -> bool:
        """7.2: on a connection with SACK that has no other trouble, once for each tail."""
        return self.calm and c.sack_ok and c.config.early_retrans

    def tlp_sent(self, c: Connection, is_retransmission: bool) -> None:
        """7.3."""
        self.tlp_end_seq, self.tlp_is_retrans = c.snd_nxt, is_retransmission
        self.calm = False

    def _tlp_answered(self, c: Connection, acked: int, duplicate: bool, now: int) -> None:
        """7.4: did the probe mend a loss that nothing else would have shown? Then that was congestion."""
        if c.snd_una < self.tlp_end_seq:
            return
        if not self.tlp_is_retrans or self.dsack_of_tlp:
            self.tlp_end_seq = 0
        elif c.snd_una > self.tlp_end_seq:
            self.tlp_end_seq = 0
            if self.phase is Phase.OPEN:
                c.cc.on_loss(c.flight, now)
                c.cc.cwnd = c.cc.ssthresh
        elif not acked and duplicate and not self.delivered:
            self.tlp_end_seq = 0

    # -- undo ---------------------------------------------------------------------------------------------------------------

    def _in_loss(self, c: Connection, acked: int, duplicate: bool, now: int) -> None:
        """After a timeout: was there a loss at all? (RFC 5682 3.1, the SACK-enhanced version, as Linux)"""
        self.frto_new = False
        if (acked and self._may_undo()) or (self.frto and self.originals):  # step 3b: what was sent once has arrived
            self._undo_timeout(c)
        elif c.snd_una >= self.recover:
            self._recovered(c)
        elif self.frto and c.snd_nxt > self.recover:
            self.frto = not (self.delivered or duplicate)  # step 3a: it was a loss
        elif self.frto and acked:  # step 2b: new data, if there are any, will tell
            unsent = c.sendbuf.end - c.snd_nxt
            self.frto = self.frto_new = unsent >= c.mss and c.snd_una + c.snd_wnd >= c.snd_nxt + c.mss

    def _undo_timeout(self, c: Connection) -> None:
        self._undo(c, True)
        c.retransmits = 0
        self.phase = Phase.OPEN
        self.frto = self.frto_new = False

    def _undo(self, c: Connection, unmark: bool) -> None:
        """Congestion control gets back what was taken from it for nothing."""
        if unmark:
            c.board.unmark_lost()
        c.cc.undo()
        self.undo_marker = None
        self.rack.advanced = True

    def _may_undo(self) -> bool:
        return self._is_answered_twice() or self._is_delayed()

    def _is_answered_twice(self) -> bool:
        """DSACKs have reported every retransmission (RFC 3708)."""
        return self.undo_marker is not None and not self.undo_bytes

    def _is_delayed(self) -> bool:
        """The echo is older than the first retransmission, so it answers an original (RFC 4015 section 3.2)."""
        return (
            self.undo_marker is not None
            and self.retrans_stamp is not None
            and self.echo is not None
            and bool((self.echo - self.retrans_stamp) & HALF)
        )
