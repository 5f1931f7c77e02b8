"""What is in flight, transmission by transmission, and what is known of it: the scoreboard of RFC 6675 section 3."""

from __future__ import annotations

from bisect import bisect_right
from itertools import dropwhile
from operator import attrgetter
from typing import NamedTuple

SACKED, LOST, RETRANS, TWICE = 1, 2, 4, 8
"""Marks: the peer has it; it counts as lost; it was sent again and that is in flight; it was sent more than once."""

_SEQ = attrgetter("seq")


class Sent:
    """One transmission, up to a super-segment, or a part of one that fared differently."""

    __slots__ = ("end", "marks", "sent_at", "seq")

    def __init__(self, seq: int, end: int, sent_at: int) -> None:
        self.seq = seq
        self.end = end
        self.sent_at = sent_at
        self.marks = 0

    @property
    def waits(self) -> bool:
        """It is to be sent again."""
        return self.marks & (LOST | RETRANS) == LOST


class Arrived(NamedTuple):
    """What an ACK has newly acknowledged, cumulatively or selectively, as it stood before."""

    seq: int
    end: int
    sent_at: int
    marks: int


class Scoreboard:
    """``sent``: from SND.UNA to SND.NXT in order, without gaps. ``sacked``, ``lost``, ``retrans``, ``waiting``: bytes of it.

    Neighbours that the peer has are one entry, so the list is as long as there are holes and segments after the last of them.
    """

    __slots__ = ("high", "lost", "retrans", "sacked", "sent", "waiting")

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.sacked = 0
        """Without SACK: what duplicate ACKs say has arrived (``Recovery`` counts it)."""
        self.lost = self.retrans = 0
        self.waiting = 0
        """Of ``lost``, what has not been sent again."""
        self.high = 0
        """The end of the highest data ever SACKed."""

    @property
    def left_out(self) -> int:
        """What to take from SND.NXT - SND.UNA for the bytes in flight (RFC 6675 'pipe', as Linux counts it)."""
        return self.sacked + self.lost - self.retrans

    # -- acknowledgements ---------------------------------------------------------------------------------------------------

    def forget(self, una: int) -> None:
        """Drop what lies before ``una``, where nothing has a mark."""
        sent = self.sent
        if sent[-1].end <= una:
            sent.clear()
            return
        gone = 0
        while sent[gone].end <= una:
            gone += 1
        del sent[:gone]
        if sent[0].seq < una:
            sent[0].seq = una

    def acknowledge(self, una: int) -> list[Arrived]:
        """Drop what lies before ``una``: what of it was not known to have arrived."""
        arrived, gone = [], 0
        for record in self.sent:
            if record.seq >= una:
                break
            end = min(record.end, una)
            if not record.marks & SACKED:
                arrived.append(Arrived(record.seq, end, record.sent_at, record.marks))
            self._count(record.marks, record.seq - end)
            if end < record.end:
                record.seq = end
                break
            gone += 1
        del self.sent[:gone]
        return arrived

    def sack(self, left: int, right: int, mss: int) -> list[Arrived]:
        """Mark what the peer has: what of it is news.

        Of a super-segment only whole segments count, as in Linux: a peer that SACKs single bytes must not shred the list.
        """
        sent = self.sent
        arrived = []
        index = max(0, bisect_right(sent, left, key=_SEQ) - 1)
        while index < len(sent) and sent[index].seq < right:
            record = sent[index]
            start = max(record.seq, record.seq - (record.seq - left) // mss * mss)
            end = record.end if right >= record.end else record.seq + (right - record.seq) // mss * mss
            if record.marks & SACKED or start >= end:
                index += 1
                continue
            if start > record.seq:
                index += 1
                record = self._split(index - 1, start)
            if end < record.end:
                self._split(index, end)
            arrived.append(Arrived(start, end, record.sent_at, record.marks))
            self._mark(record, SACKED)
            index = self._join(index) + 1
        if arrived:
            self.high = max(self.high, arrived[-1].end)
        return arrived

    # -- losses -------------------------------------------------------------------------------------------------------------

    def mark_lost(self, record: Sent) -> bool:
        """``record`` is lost, for the first time or once more; True for once more."""
        again = bool(record.marks & RETRANS)
        self._mark(record, (record.marks | LOST) & ~RETRANS)
        return again

    def mark_head(self, mss: int) -> None:
        """The first segment is lost."""
        if not self.sent or self.sent[0].marks & LOST:
            return
        if self.sent[0].end - self.sent[0].seq > mss:
            self._split(0, self.sent[0].seq + mss)
        self.mark_lost(self.sent[0])

    def mark_below_sacked(self, least: int) -> None:
        """IsLost() of RFC 6675 section 4: ``least`` bytes above it have arrived."""
        above = 0
        for record in reversed(self.sent):
            if record.marks & SACKED:
                above += record.end - record.seq
            elif above >= least and not record.marks & LOST:
                self.mark_lost(record)

    def mark_all(self, sent_by: int) -> None:
        """A timeout: all is lost that the peer has not, except, after the first, what was sent later than ``sent_by``.

        A peer that had SACKed what is now first has thrown it away (RFC 2018 section 8): then nothing is believed.
        """
        if self.sent and self.sent[0].marks & SACKED:
            for record in self.sent:
                self._mark(record, record.marks & ~SACKED)
        for record in self.sent:
            if not record.marks & SACKED and (record is self.sent[0] or record.sent_at <= sent_by):
                self.mark_lost(record)

    def unmark_lost(self) -> None:
        """Nothing was lost after all."""
        for record in self.sent:
            self._mark(record, record.marks & ~LOST)

    # -- retransmissions ----------------------------------------------------------------------------------------------------

    def next_waiting(self, mss: int, data_end: int) -> tuple[int, int] | None:
        """(first number, end) of one segment to send again; small ones in a row become one. The FIN, ``data_end``, is extra."""
        waiting = dropwhile(lambda record: not record.waits, self.sent)
        first = next(waiting, None)
        if first is None:
            return None
        seq, end = first.seq, first.end
        if min(end, data_end) - seq > mss:
            return seq, seq + mss
        for following in waiting:
            if not following.waits or min(following.end, data_end) - seq > mss:
                break
            end = following.end
        return seq, end

    def resent(self, seq: int, end: int, now: int) -> None:
        """What lies between is in flight again."""
        sent = self.sent
        index = bisect_right(sent, seq, key=_SEQ) - 1
        if sent[index].seq < seq:
            self._split(index, seq)
            index += 1
        record = sent[index]
        while record.end < end:
            following = sent.pop(index + 1)
            self._count(following.marks, following.seq - following.end)
            self._count(record.marks, following.end - following.seq)
            record.end = following.end
        if record.end > end:
            self._split(index, end)
        self._mark(record, record.marks | RETRANS | TWICE)
        record.sent_at = now

    def tail(self, mss: int, data_end: int) -> tuple[int, int]:
        """(first number, end) of the last segment in flight, with the FIN if that has left."""
        last = self.sent[-1]
        return last.seq + max(0, min(last.end, data_end) - last.seq - 1) // mss * mss, last.end

    # -- the list -----------------------------------------------------------------------------------------------------------

    def _split(self, index: int, at: int) -> Sent:
        """Cut an entry in two: the second."""
        first = self.sent[index]
        second = Sent(at, first.end, first.sent_at)
        second.marks = first.marks
        first.end = at
        self.sent.insert(index + 1, second)
        return second

    def _join(self, index: int) -> int:
        """Make an entry one with the neighbours that have arrived too: where it is then."""
        sent = self.sent
        if index + 1 < len(sent) and sent[index + 1].marks & SACKED:
            sent[index].end = sent.pop(index + 1).end
        if index and sent[index - 1].marks & SACKED:
            sent[index - 1].end = sent.pop(index).end
            return index - 1
        return index

    def _mark(self, record: Sent, marks: int) -> None:
        size = record.end - record.seq
        self._count(record.marks, -size)
        record.marks = marks
        self._count(marks, size)

    def _count(self, marks: int, size: int) -> None:
        if marks & SACKED:
            self.sacked += size
        if marks & LOST:
            self.lost += size
            if not marks & RETRANS:
                self.waiting += size
        if marks & RETRANS:
            self.retrans += size
