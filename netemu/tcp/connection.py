"""One TCP connection: the transmission control block, and what an application may do with it.

Sans-I/O. ``receive`` takes a segment, ``on_timer`` the time; ``transmit`` is pulled until it returns None, after any call that
may have caused output (``receive``, ``on_timer``, ``write``, ``read``, ``close``, ``abort`` …). ``next_timer`` says when
``on_timer`` wants to be called; asking again after each of the above is enough. ``events`` collects what the application
should learn; whoever handles them clears them.

The procedures are beside this file: arrives (RFC 9293 3.10.7), sender, receiver, recovery, timers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from netemu.reasons import Close, Reset
from netemu.tcp import arrives, receiver, sender, timers
from netemu.tcp.config import NEVER, SECOND, Config
from netemu.tcp.congestion.delivery import Delivery
from netemu.tcp.congestion.pacer import Pacer
from netemu.tcp.congestion.registry import ALGORITHMS
from netemu.tcp.reassembly import Reassembly
from netemu.tcp.recovery import Recovery
from netemu.tcp.rtt import RttEstimator
from netemu.tcp.scoreboard import Scoreboard
from netemu.tcp.sendbuf import SendBuffer
from netemu.tcp.state import CAN_RECEIVE, CAN_SEND, Event, State, after
from netemu.wire.buffer import Buffer
from netemu.wire.tcp import ACK, RST, Segment

READABLE, WRITABLE, CONNECTED, ENDED, URGENT = 1, 2, 4, 8, 16
"""Bits of ``events``. READABLE also stands for the end of the stream; ENDED: the state is CLOSED, ``close_reason`` says why."""

ERRNO_OF_CLOSE = {
    Close.RESET_BY_PEER: errno.ECONNRESET,
    Close.REFUSED: errno.ECONNREFUSED,
    Close.TIMED_OUT: errno.ETIMEDOUT,
    Close.KEEPALIVE: errno.ETIMEDOUT,
    Close.UNREACHABLE: errno.EHOSTUNREACH,
    Close.ABORTED: errno.ECONNABORTED,
    Close.LISTENER_CLOSED: errno.ECONNABORTED,
    Close.SHUTDOWN: errno.ECONNABORTED,
    Close.INVARIANT: errno.EIO,
}

DEFAULT_MSS_V4, DEFAULT_MSS_V6 = 536, 1220
"""RFC 9293 MUST-15."""
HOLD_TIME = 60 * SECOND
"""As long as a client that gets no answer may be expected to go on with its SYNs."""


class Connection:
    """See the module. Sequence numbers are unbounded ints that equal the wire's modulo 2^32."""

    __slots__ = (
        "ack_flags",
        "ack_now",
        "board",
        "cc",
        "close_reason",
        "config",
        "cwr_due",
        "deadline_ack",
        "deadline_keepalive",
        "deadline_pace",
        "deadline_rtx",
        "deadline_user",
        "default_mss",
        "delivery",
        "dsack",
        "ecn_recover",
        "ect",
        "error",
        "events",
        "fin_received",
        "flow",
        "handshake_reset",
        "held",
        "irs",
        "iss",
        "keepalive",
        "keepalive_probes_sent",
        "last_ack_sent",
        "last_challenge",
        "last_received",
        "last_sent",
        "later",
        "may_establish",
        "mss",
        "nodelay",
        "opened_by",
        "orphan",
        "override",
        "owner",
        "pacer",
        "path_mss",
        "peer_mss",
        "persist",
        "probed_at",
        "queued",
        "quick_acks",
        "rcv_adv",
        "rcv_nxt",
        "rcv_up",
        "rcv_wscale",
        "rcvbuf",
        "reassembly",
        "received",
        "received_bytes",
        "recovery",
        "reset_with",
        "retransmits",
        "rtt",
        "sack_ok",
        "send_probe",
        "send_syn",
        "sendbuf",
        "small_end",
        "snd_max_wnd",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wnd",
        "snd_wscale",
        "sndbuf",
        "stalled",
        "state",
        "syn_retransmits",
        "template",
        "timed_at",
        "timed_end",
        "total_retransmits",
        "ts_offset",
        "ts_on",
        "ts_recent",
        "ts_recent_at",
        "wakeup",
        "wscale_ok",
    )

    def __init__(
        self, config: Config, iss: int, path_mss: int, ts_offset: int = 0, default_mss: int = DEFAULT_MSS_V4
    ) -> None:
        """``path_mss``: MTU less the fixed IP and TCP headers; what we announce and the most we send in one segment.

        ``default_mss``: what a peer takes that does not say (RFC 9293 MUST-15).
        """
        self.config = config
        self.state = State.CLOSED
        self.opened_by: Event | None = None
        self.events = 0
        self.close_reason: Close | None = None
        self.error = 0
        """The errno that a socket call gives for ``close_reason``, or for a soft error; 0 for none."""
        # whoever runs the connection keeps these; nothing here reads them
        self.owner: object = None
        self.flow = b""
        self.template: object = None
        self.queued = False
        self.wakeup = NEVER
        self.later: tuple[int, ...] = ()
        self.may_establish: Callable[[], bool] | None = None
        """A listener's answer to 'is there room in the accept queue?', asked when the handshake ends."""
        # 3.3.1: send sequence variables
        self.iss = self.snd_una = self.snd_nxt = self.snd_up = iss
        self.snd_wnd = self.snd_wl1 = self.snd_max_wnd = 0
        self.snd_wscale = 0
        self.sendbuf = SendBuffer(iss + 1)
        self.sndbuf = config.sndbuf
        self.path_mss = path_mss
        self.peer_mss = path_mss
        self.default_mss = default_mss
        self.mss = path_mss
        """Payload bytes of a full segment: what remains when the options of every segment are taken off (RFC 6691)."""
        self.small_end = iss  # end of the last segment shorter than the MSS: Nagle as Minshall amended it
        self.nodelay = False
        self.cc = ALGORITHMS[config.congestion](path_mss)
        self.board = Scoreboard()
        self.recovery = Recovery(iss)
        self.pacer: Pacer | None = None
        self._choose_pacing()
        self.delivery: Delivery | None = None
        """While congestion control wants samples of the path."""
        self.rtt = RttEstimator(config)
        self.timed_end = self.timed_at = 0  # the one segment that is being timed; timed_end 0 for none
        self.retransmits = 0
        self.syn_retransmits = self.total_retransmits = 0
        self.stalled: tuple[int, int] | None = None
        """(SND.UNA, since when nothing was acknowledged), while a timer has expired on it and there is a user timeout."""
        self.last_sent = 0
        # receive sequence variables
        self.irs = self.rcv_nxt = self.rcv_adv = self.rcv_up = self.last_ack_sent = 0
        self.rcv_wscale = 0
        self.wscale_ok = config.window_scaling
        self.rcvbuf = config.rcvbuf
        self.received: list[Buffer] = []
        self.received_bytes = 0
        self.reassembly: Reassembly | None = None
        self.dsack: tuple[int, int] | None = None
        """What came twice, for the next ACK to tell (RFC 2883)."""
        self.fin_received = False
        self.last_received = 0
        self.quick_acks = config.quick_acks
        # options agreed on
        self.sack_ok = config.sack
        self.ts_on = config.timestamps
        self.ts_offset = ts_offset
        self.ts_recent = self.ts_recent_at = 0
        self.ect = 0
        """What data carry in the IP header: ECT(0) where both sides know ECN (netemu.tcp.ecn)."""
        self.ack_flags = ACK
        """ACK, and with it ECE while a mark has to be told of."""
        self.cwr_due = False
        self.ecn_recover = iss
        """SND.NXT when an echo last made the window smaller."""
        # what transmit owes the peer
        self.send_syn = self.ack_now = False
        self.send_probe = 0
        """timers.WINDOW_PROBE (also the keep-alive), timers.TAIL_PROBE or 0."""
        self.held = False
        """In SYN-RECEIVED: nothing is sent until the application takes the connection, or refuses it."""
        self.reset_with: Reset | None = None
        self.handshake_reset: int | None = None  # sequence number of a RST for a wrong ACK
        self.override = False  # the timer against silly windows expired: send what fits
        # timers: when they expire
        self.deadline_rtx = self.deadline_ack = self.deadline_keepalive = self.deadline_user = NEVER
        self.deadline_pace = NEVER
        self.persist = False
        """deadline_rtx is the persist timer (a closed or silly window), not the retransmission timer."""
        self.probed_at = 0
        """When deadline_rtx last expired."""
        self.keepalive = False
        self.keepalive_probes_sent = 0
        self.last_challenge = -(1 << 60)
        self.orphan = False
        """The application has closed; nobody will read."""

    # -- opening ------------------------------------------------------------------------------------------------------------

    def open_active(self, now: int) -> None:
        """Send a SYN (RFC 9293 3.10.1)."""
        self._choose_scale()
        self._open(Event.ACTIVE_OPEN, now)

    def open_passive(self, syn: Segment, now: int) -> None:
        """Answer a SYN that a listener got (RFC 9293 3.10.7.2)."""
        self._choose_scale()
        arrives.learn_from_syn(self, syn, now)
        self._open(Event.PASSIVE_OPEN, now)

    def hold(self, now: int) -> None:
        """Keep the SYN-ACK back, until ``release`` or an end; for so long at most."""
        self.held = True
        self.deadline_user = now + HOLD_TIME

    def release(self) -> None:
        self.held = False
        self.deadline_user = NEVER

    def _choose_scale(self) -> None:
        """Once and for all (RFC 7323 2.2), whatever becomes of the buffer later."""
        if self.wscale_ok:
            self.rcv_wscale = receiver.scale_for(self.rcvbuf)

    def _open(self, how: Event, now: int) -> None:
        self.move(how)
        self.opened_by = how
        self.rcv_adv = self.rcv_nxt
        self.snd_nxt = self.iss + 1
        self.send_syn = True
        self.last_sent = self.last_received = now

    # -- what arrives -------------------------------------------------------------------------------------------------------

    receive = arrives.segment_arrives
    """Take a segment, its numbers 32-bit. (Bound as it is: a wrapper would cost every segment a call.)"""
    was_predicted = arrives.was_predicted

    def on_timer(self, now: int) -> None:
        """Do what is due."""
        timers.expire(self, now)

    def next_timer(self) -> int:
        """When on_timer is due, ns; NEVER for no time."""
        return min(
            self.deadline_rtx, self.deadline_ack, self.deadline_keepalive, self.deadline_user, self.deadline_pace
        )

    def choose_congestion_control(self) -> None:
        """As the configuration has it; a window that is in use stays."""
        kind = ALGORITHMS[self.config.congestion]
        if type(self.cc) is not kind:
            before, self.cc = self.cc, kind(self.mss)
            if self.state not in (State.CLOSED, State.SYN_SENT):
                self.cc.follow(before)
        self._choose_pacing()

    def _choose_pacing(self) -> None:
        if not (self.cc.paces or self.config.max_pacing_rate):
            self.pacer = None
        elif self.pacer is None:
            self.pacer = Pacer()

    def sample(self, end: int, now: int) -> None:
        """Congestion control wants to know how the segment up to ``end``, which leaves now, fares."""
        if self.delivery is None:
            self.delivery = Delivery()
        self.delivery.on_sent(self, end, now)

    # -- what leaves --------------------------------------------------------------------------------------------------------

    transmit = sender.transmit
    """The next segment to send at ``now``, or None. Its numbers may exceed 32 bits: mask them."""

    # -- the application's side ---------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Queue bytes. The caller keeps to ``writable_bytes`` if it wants memory bounded."""
        if self.state not in CAN_SEND and self.state not in (State.SYN_SENT, State.SYN_RECEIVED):
            raise OSError(self.error or errno.EPIPE, "the sending side is closed")
        self.sendbuf.append(data)

    @property
    def writable_bytes(self) -> int:
        return max(0, self.sndbuf - len(self.sendbuf))

    @property
    def urgent_bytes(self) -> int:
        """How much of what the application has yet to read is urgent, arrived or announced (MUST-33)."""
        return max(0, self.rcv_up - (self.rcv_nxt - self.fin_received - self.received_bytes))

    def write_urgent(self, data: Buffer) -> None:
        """Queue bytes and point the urgent pointer behind them (RFC 9293 3.8.5)."""
        self.write(data)
        self.snd_up = self.sendbuf.end

    def read(self, limit: int) -> Buffer:
        """Up to ``limit`` received bytes; empty when there are none (see ``at_eof``)."""
        if not self.received:
            return b""
        data = self.received[0]
        if len(data) <= limit:
            del self.received[0]
        else:
            self.received[0] = memoryview(data)[limit:]
            data = data[:limit]
        self.received_bytes -= len(data)
        receiver.consider_window_update(self)
        return data

    def consume(self, count: int) -> None:
        """Forget the first ``count`` received bytes, for who has looked at ``received`` itself; then consider_window_update."""
        self.received_bytes -= count
        received = self.received
        while received and count >= (size := len(received[0])):
            del received[0]
            count -= size
        if count:
            received[0] = memoryview(received[0])[count:]

    @property
    def at_eof(self) -> bool:
        """The peer sent its FIN and everything before it was read."""
        return self.fin_received and not self.received

    def shutdown_write(self) -> None:
        """Send a FIN behind what was written (RFC 9293 3.10.4, the half that says 'no more to send')."""
        if self.state in CAN_SEND or self.state is State.SYN_RECEIVED:
            self.move(Event.CLOSE)
        elif self.state is State.SYN_SENT:
            self.end(Close.ABORTED)

    def close(self, now: int) -> None:
        """The application is done in both directions."""
        if self.orphan or self.state is State.CLOSED:
            return
        self.orphan = True
        if self.state is State.TIME_WAIT:
            return
        if self.held:
            self.abort(Reset.REFUSED)
            return
        if self.received_bytes:
            self.abort(Reset.UNREAD_DATA)  # SHLD-3: the peer must learn that its data was lost
            return
        self.shutdown_write()
        if self.state is State.FIN_WAIT_2:
            timers.start_fin_wait_2(self, now)

    def abort(self, reason: Reset = Reset.ABORTED, close: Close = Close.ABORTED) -> None:
        """End at once, with a RST where the peer knows of us and does not know that we are done (RFC 9293 3.10.5).

        DEVIATION: TIME-WAIT is not cut short; it protects the next connection, not this one (RFC 1337).
        """
        state = self.state
        if state in (State.CLOSED, State.TIME_WAIT):
            return
        done = state in (State.CLOSING, State.LAST_ACK) and self.snd_nxt > self.fin_seq
        if state is not State.SYN_SENT and (not done or reason is Reset.UNREAD_DATA):
            self.reset_with = reason
        self.end(close)

    # -- for the procedures -------------------------------------------------------------------------------------------------

    def move(self, event: Event) -> None:
        self.state = after(self.state, event)
        if self.state is State.TIME_WAIT:
            self._disarm()
        elif self.state is State.CLOSED:
            self._ended(Close.NORMAL)

    def end(self, reason: Close) -> None:
        """To CLOSED, now, for ``reason``."""
        self.state = after(self.state, Event.END)
        self._ended(reason)

    def _ended(self, reason: Close) -> None:
        self.close_reason = reason
        self.error = ERRNO_OF_CLOSE.get(reason, 0)
        self.events |= ENDED
        self._disarm()
        self.send_syn = self.ack_now = self.held = False
        self.sendbuf = SendBuffer(self.snd_nxt)
        self.board = Scoreboard()
        self.reassembly = None
        if self.orphan:  # else what arrived can still be read, even before a reset's error (as Linux)
            self.received = []
            self.received_bytes = 0

    def _disarm(self) -> None:
        """Nothing will be waited for any more."""
        self.deadline_pace = NEVER
        self.deadline_rtx = self.deadline_ack = self.deadline_keepalive = self.deadline_user = NEVER
        self.persist = False
        self.send_probe = 0

    @property
    def fin_seq(self) -> int:
        """Sequence number of our FIN; only meaningful once it is queued."""
        return self.sendbuf.end

    @property
    def can_receive(self) -> bool:
        return self.state in CAN_RECEIVE

    @property
    def flight(self) -> int:
        """Sequence numbers sent and not acknowledged."""
        return self.snd_nxt - self.snd_una

    @property
    def is_drained(self) -> bool:
        """In ESTABLISHED: transmit would return None now, as long as nothing else happens."""
        return self.snd_nxt == self.sendbuf.end and not self.ack_now and not self.board.waiting

    def timestamp(self, now: int) -> int:
        """Our timestamp clock: milliseconds (RFC 7323 5.4 allows 1 ms to 1 s)."""
        return now // 1_000_000 + self.ts_offset & 0xFFFFFFFF

    @property
    def acceptable_seq(self) -> int:
        """Where a segment without text stands.

        DEVIATION: RFC 9293 has SEQ=SND.NXT; a peer that has shrunk its window below that (MUST-34) would not take it.
        """
        return min(self.snd_nxt, max(self.snd_una, self.snd_una + self.snd_wnd))

    def make_reset(self) -> Segment:
        """The RST of ``abort``: at SND.NXT, with the ACK that makes it acceptable in SYN-SENT too."""
        return Segment(self.acceptable_seq, self.rcv_nxt, RST | ACK, 0)
