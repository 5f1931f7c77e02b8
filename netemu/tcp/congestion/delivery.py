"""How fast the path delivers, and how long that takes: a Sample for each ACK (draft-cheng-iccrg-delivery-rate-estimation).

Kept only for connections whose congestion control asks for it (``CongestionControl.samples_from``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from netemu.tcp.congestion.base import INFINITE, Sample

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection


class _Sent(NamedTuple):
    """One segment as it left."""

    end: int
    at: int
    delivered: int
    delivered_at: int
    first_at: int
    is_app_limited: bool


class Delivery:
    """One connection's: what is under way, and what has arrived."""

    __slots__ = ("_app_limited_until", "_round_ends", "_sent", "delivered", "delivered_at", "first_at", "retransmits")

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self._round_ends = 0
        """The value of ``delivered`` with which the segment goes that will end the round."""
        self._app_limited_until = -1
        self.delivered = 0
        self.delivered_at = 0
        self.first_at = 0
        """When the segment left that the last sample was of (draft: first_sent_time)."""
        self.retransmits = 0
        """The connection's count when the round-trip time was last free of them."""

    def on_sent(self, c: Connection, end: int, now: int) -> None:
        """New data up to ``end`` leave."""
        if not self._sent:
            self.first_at = self.delivered_at = now
        limited = self.delivered < self._app_limited_until
        if end == c.sendbuf.end and end - c.snd_una < c.cc.cwnd:  # nothing more to send, though there is room
            self._app_limited_until = self.delivered + end - c.snd_una
            limited = True
        self._sent.append(_Sent(end, now, self.delivered, self.delivered_at, self.first_at, limited))

    def on_ack(self, c: Connection, acked: int, now: int) -> None:
        """``acked`` bytes were acknowledged, SND.UNA is moved: tell congestion control."""
        self.delivered += acked
        self.delivered_at = now
        newest, sent = None, self._sent
        while sent and sent[0].end <= c.snd_una:
            newest = sent.popleft()
        if newest is not None:
            c.cc.on_sample(self._sample(c, newest, acked, now), now)
        if not sent and c.cc.samples_from == INFINITE:
            c.delivery = None

    def _sample(self, c: Connection, sent: _Sent, acked: int, now: int) -> Sample:
        starts_round = sent.delivered >= self._round_ends
        if starts_round:
            self._round_ends = self.delivered
        send_elapsed, ack_elapsed = sent.at - sent.first_at, now - sent.delivered_at
        self.first_at = sent.at
        again = c.total_retransmits != self.retransmits  # Karn: it may have been sent twice
        self.retransmits = c.total_retransmits
        return Sample(
            0 if again else now - sent.at,
            self.delivered - sent.delivered,
            max(send_elapsed, ack_elapsed),
            acked,
            c.snd_nxt - c.snd_una,
            sent.is_app_limited,
            starts_round,
        )
