"""The far end of one Connection's wire, played by a test.

Numbers are relative, as in RFC 9293's figures: SYN is 0 and the first byte 1, on either side. Every segment goes through real
TCP bytes, so numbers are 32 bits on the way and a field that does not fit is noticed; the initial sequence numbers lie near 2^32
in some of the tests (by name) and the numbers wrap there. Time is virtual and in milliseconds.

    end = established()
    end.connection.write(b"hello")
    end.expect("P.", seq=1, ack=1, data=b"hello")
    end.send(".", ack=6)
    end.nothing()
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any
from zlib import crc32

from netemu.reasons import Match, Reason
from netemu.tcp.config import NEVER, Config
from netemu.tcp.connection import Connection
from netemu.tcp.state import FIN_QUEUED, State
from netemu.tcp.state import SYNCHRONIZED as ALL_SYNCHRONIZED
from netemu.tcp.timewait import TimeWait
from netemu.wire.tcp import (
    ACK,
    CWR,
    ECE,
    FIN,
    FIXED,
    FLAG_LETTERS,
    HALF,
    MASK,
    NO_OPTIONS,
    PSH,
    RST,
    SYN,
    URG,
    Options,
    Segment,
    emit_options,
    parse,
)

MS = 1_000_000
ISNS = ((1000, 5000), (MASK - 1500, MASK - 700), (HALF - 900, HALF + 77))
"""(ours, the peer's): plain ones, ones that wrap, ones in the upper half."""
WINDOW = 30_000
"""What the test's end offers unless told otherwise."""
RCVBUF = 40_000


def flags_of(letters: str) -> int:
    """tcpdump's letters to bits; '-' or '' for none."""
    known = {letter: bit for bit, letter in FLAG_LETTERS}
    return sum(known[letter] for letter in letters if letter != "-")


def to_wire(segment: Segment) -> bytes:
    """``segment`` as TCP bytes."""
    options = emit_options(segment)
    assert len(options) <= 40
    assert not len(options) % 4
    words = (5 + len(options) // 4) << 12 | segment.flags
    assert segment.length == sum(len(piece) for piece in segment.payload), "length and payload differ"
    fixed = FIXED.pack(1, 2, segment.seq & MASK, segment.ack & MASK, words, segment.wnd, 0, segment.urg)
    return fixed + options + segment.data()


UNUSUAL = SYN | FIN | RST | URG | ECE | CWR | ACK


def from_wire(data: bytes, gso_size: int = 0) -> Segment:
    """TCP bytes as a segment with 32-bit numbers."""
    parsed = parse(data, 0, len(data), gso_size)
    assert isinstance(parsed, Segment), parsed
    return parsed


def over_the_wire(segment: Segment) -> Segment:
    """``segment`` as bytes and back. A super-segment keeps its gso_size."""
    there = from_wire(to_wire(segment), segment.gso_size)
    there.ecn = segment.ecn
    return there


def as_a_host_does(c: Connection, segment: Segment, now: int) -> Reason:
    """Header prediction first, where nothing is unusual about the segment; then the checks."""
    if segment.flags & UNUSUAL == ACK and segment.options is NO_OPTIONS and segment.ecn != 3:
        data = segment.data()
        numbers = segment.seq, segment.ack, segment.wnd, segment.ts_val
        if c.was_predicted(*numbers, data, len(data), now):
            return Match.CONNECTION
    return c.receive(segment, now)


def near(number: int, zero: int) -> int:
    """``number`` (32 bits) relative to ``zero``."""
    return ((number - zero + HALF) & MASK) - HALF


class WireEnd:
    """See the module. ``connection`` is what is tested; ``time_wait`` replaces it as in a host when it gets there."""

    def __init__(
        self,
        *,
        mss: int | None = 1000,
        wscale: int | None = None,
        sack: bool = False,
        ts: bool = False,
        wnd: int = WINDOW,
        path_mss: int = 1460,
        default_mss: int = 536,
        limit: int = 0,
        **config: Any,
    ) -> None:
        """The peer's options and window; ``limit`` for transmit; the rest is our Config."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        self.iss, self.peer_iss = ISNS[crc32(test.encode()) % len(ISNS)]
        config.setdefault("rcvbuf", RCVBUF)
        config.setdefault("congestion", "newreno")  # whose windows are easy to tell; the others have tests of their own
        self.config = Config(**config)
        self.connection = Connection(self.config, self.iss, path_mss, self.iss, default_mss)
        self.time_wait: TimeWait | None = None
        self.now = 3_600_000 * MS
        self.limit = limit
        self.mss, self.wscale, self.sack, self.ts, self.wnd = mss, wscale, sack, ts, wnd
        self.nxt = 0
        """The next sequence number of the test's end, relative."""
        self.ack = 0
        """What the test's end acknowledges by default: the highest number seen, relative."""
        self.ts_offset = self.peer_iss
        self.ts_seen = 0
        self._sent: deque[tuple[int, Segment]] = deque()
        self._edges: tuple[int, int, int] | None = None

    # -- the wire ---------------------------------------------------------------------------------------------------------

    def send(
        self,
        flags: str = ".",
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        wnd: int | None = None,
        urg: int = 0,
        ts: int | None = None,
        ecr: int | None = None,
        no_ts: bool = False,
        options: Options | None = None,
        gso: int = 0,
        ecn: int = 0,
    ) -> Reason:
        """Hand the connection a segment; without ``seq`` the next one in order. ``ts``: TSval, ms from now.

        ``ecn``: the bits of the IP header.
        """
        bits = flags_of(flags)
        if seq is None:
            seq, self.nxt = self.nxt, self.nxt + len(data) + bool(bits & SYN) + bool(bits & FIN)
        if ack is None:
            ack = self.ack
        number = (self.iss + ack) & MASK if bits & ACK else 0
        segment = Segment(
            (self.peer_iss + seq) & MASK, number, bits, self.wnd if wnd is None else wnd, (data,), len(data)
        )
        segment.urg, segment.gso_size, segment.ecn = urg, gso, ecn
        if self.ts and not no_ts:
            segment.ts_val = (self.clock + (ts or 0)) & MASK
            segment.ts_ecr = self.ts_seen if ecr is None else ecr
        if options is not None:
            segment.options = options
        elif bits & SYN:
            segment.options = Options(self.mss, self.wscale, self.sack)
        return self.deliver(over_the_wire(segment))

    def deliver(self, segment: Segment) -> Reason:
        """Hand over a parsed segment."""
        if self.time_wait is not None:
            return self.time_wait.receive(segment, self.now)
        if self.connection.opened_by is None:
            self.connection.open_passive(segment, self.now)
            return Match.LISTEN_SPECIFIC
        reason = as_a_host_does(self.connection, segment, self.now)
        self.check()
        return reason

    @property
    def clock(self) -> int:
        """The test's end's timestamp clock."""
        return (self.now // MS + self.ts_offset) & MASK

    def pull(self) -> None:
        """Take all that the connection wants to send now."""
        whose: Connection | TimeWait = self.time_wait or self.connection
        while (segment := whose.transmit(self.now, self.limit)) is not None:
            self.check()
            assert len(self._sent) < 10_000, "the connection never stops sending"
            self._sent.append((self.now, self._seen(segment)))
        if self.connection.state is State.TIME_WAIT and self.time_wait is None:
            self.time_wait = TimeWait(self.connection, self.now)

    def _seen(self, segment: Segment) -> Segment:
        segment = over_the_wire(segment)
        segment.seq = near(segment.seq, self.iss)
        segment.ack = near(segment.ack, self.peer_iss) if segment.flags & ACK else 0
        segment.options = segment.options._replace(
            sack=tuple((near(a, self.peer_iss), near(b, self.peer_iss)) for a, b in segment.options.sack)
        )
        if not segment.flags & RST:
            self.ack = max(self.ack, segment.end)
        if segment.ts_val is not None:
            self.ts_seen = segment.ts_val
        return segment

    def expect(
        self,
        flags: str,
        *,
        seq: int | None = None,
        ack: int | None = None,
        length: int | None = None,
        data: bytes | None = None,
        wnd: int | None = None,
        at: float | None = None,
    ) -> Segment:
        """The connection's next segment, which must be as described; PSH only counts where it is asked for.

        ``at``: when it was sent, ms before now (0: now).
        """
        if not self._sent:
            self.pull()
        assert self._sent, f"nothing was sent; expected {flags} seq {seq} ack {ack} ({length})"
        when, segment = self._sent.popleft()
        wanted, got = flags_of(flags), segment.flags
        assert got == wanted or got & ~PSH == wanted, f"{segment!r} instead of {flags}"
        for name, value in (("seq", seq), ("ack", ack), ("length", length), ("wnd", wnd)):
            assert value is None or getattr(segment, name) == value, f"{segment!r}: {name} should be {value}"
        assert data is None or segment.data() == data, f"{segment!r}: {segment.data()[:50]!r} instead of {data[:50]!r}"
        assert at is None or (self.now - when) / MS == at, f"{segment!r} was sent {(self.now - when) / MS} ms ago"
        return segment

    def expect_all(self) -> list[Segment]:
        """Whatever the connection sends now."""
        self.pull()
        sent = [segment for _, segment in self._sent]
        self._sent.clear()
        return sent

    def nothing(self) -> None:
        """The connection has nothing to send."""
        self.pull()
        assert not self._sent, f"unexpected: {[segment for _, segment in self._sent]}"

    # -- time -------------------------------------------------------------------------------------------------------------

    def advance(self, ms: float) -> None:
        """Let time pass; timers run when they are due, what is sent meanwhile can be expected afterwards."""
        self.pull()
        target = self.now + int(ms * MS)
        while self.next_timer() <= target:
            self._to_timer()
        self.now = target

    def wait(self, limit_s: float = 1e6) -> float:
        """Let time pass until the connection sends something: ms."""
        self.nothing()
        start = self.now
        while not self._sent:
            assert self.next_timer() < NEVER, "nothing will ever be sent"
            assert self.next_timer() - start <= limit_s * 1000 * MS, "nothing was sent in time"
            self._to_timer()
        return round((self.now - start) / MS, 3)

    def silence(self, ms: float) -> None:
        """Let time pass, in which nothing may be sent."""
        self.nothing()
        self.advance(ms)
        self.nothing()

    def run(self, limit_s: float = 1e6) -> float:
        """Let time pass, without an answer, until no timer is left: ms. What was sent can be expected afterwards."""
        self.pull()
        start = self.now
        while self.next_timer() < NEVER:
            assert self.next_timer() - start <= limit_s * 1000 * MS, "there is no end to it"
            self._to_timer()
        return round((self.now - start) / MS, 3)

    def next_timer(self) -> int:
        return NEVER if self.time_wait is not None else self.connection.next_timer()

    def _to_timer(self) -> None:
        self.now = max(self.now, self.next_timer())
        self.connection.on_timer(self.now)
        self.check()
        self.pull()

    # -- the connection ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.connection.state

    def must_be(self, state: State) -> None:
        assert self.connection.state is state, self.connection.state

    def read(self) -> bytes:
        """Everything that waits to be read."""
        pieces = []
        while piece := self.connection.read(1 << 20):
            pieces.append(bytes(piece))
        return b"".join(pieces)

    def close(self) -> None:
        self.connection.close(self.now)
        self.check()

    def take_events(self) -> int:
        events, self.connection.events = self.connection.events, 0
        return events

    def check(self) -> None:
        """What must hold at any time."""
        check(self.connection)
        c = self.connection
        if c.state in ALL_SYNCHRONIZED:
            edges = (c.snd_una, c.rcv_nxt, c.rcv_adv)
            if self._edges is not None:
                assert all(a >= b for a, b in zip(edges, self._edges, strict=True)), "an edge moved left"
            self._edges = edges


def check(c: Connection) -> None:
    """The invariants of a connection."""
    assert c.snd_una <= c.snd_nxt, "SND.UNA <= SND.NXT"
    if c.state is State.CLOSED:
        if c.opened_by is not None:
            assert c.next_timer() == NEVER, "a timer runs after the end"
            assert c.close_reason is not None
        return
    assert c.iss <= c.snd_una
    assert c.snd_nxt <= c.sendbuf.end + 1
    assert c.sendbuf.start <= max(c.snd_una, c.iss + 1)
    assert c.rcv_nxt <= c.rcv_adv or c.state in (State.SYN_SENT, State.SYN_RECEIVED), (
        "the window's edge is never passed"
    )
    assert not (c.orphan and c.state is State.ESTABLISHED)
    assert c.received_bytes == sum(len(piece) for piece in c.received)
    if c.reassembly is not None:
        assert c.reassembly.bytes <= c.rcv_adv - c.rcv_nxt, "out-of-order data is bounded by the window"
    if c.snd_nxt > c.snd_una and c.state is not State.TIME_WAIT and not c.send_syn:
        assert c.deadline_rtx < NEVER, "something is outstanding and no timer runs"
    if c.deadline_rtx < NEVER:
        assert c.persist or c.snd_nxt > c.snd_una, "the retransmission timer runs and nothing is outstanding"
    if c.persist:
        assert c.snd_nxt == c.snd_una, "the persist timer runs although an ACK is due"
        assert c.snd_nxt < c.sendbuf.end or c.state in FIN_QUEUED, "the persist timer runs and nothing waits"
    if c.state is State.TIME_WAIT:
        assert c.next_timer() == NEVER, "a timer runs in TIME-WAIT"


# -- one factory per state ------------------------------------------------------------------------------------------------


def syn_sent(**kinds: Any) -> WireEnd:
    """<SYN> has left."""
    end = WireEnd(**kinds)
    end.connection.open_active(end.now)
    end.expect("S", seq=0)
    return end


def syn_received(**kinds: Any) -> WireEnd:
    """A listener's: <SYN> came, <SYN,ACK> has left."""
    end = WireEnd(**kinds)
    end.send("S")
    end.expect("S.", seq=0, ack=1)
    return end


def simultaneous(**kinds: Any) -> WireEnd:
    """SYN-RECEIVED after SYN-SENT: the SYNs crossed, <SYN,ACK> has left."""
    end = syn_sent(**kinds)
    end.send("S")
    end.expect("S.", seq=0, ack=1)
    return end


def established(*, active: bool = False, **kinds: Any) -> WireEnd:
    """By passive open, or by active open; nothing is owed."""
    if active:
        end = syn_sent(**kinds)
        end.send("S.")
        end.expect(".", seq=1, ack=1)
    else:
        end = syn_received(**kinds)
        end.send(".")
    end.must_be(State.ESTABLISHED)
    end.take_events()
    end.nothing()
    return end


def fin_wait_1(*, orphan: bool = False, **kinds: Any) -> WireEnd:
    """We closed (``orphan``: both ways); our FIN has left."""
    end = established(**kinds)
    if orphan:
        end.close()
    else:
        end.connection.shutdown_write()
    end.expect("F.", seq=1, ack=1)
    end.must_be(State.FIN_WAIT_1)
    return end


def fin_wait_2(*, orphan: bool = False, **kinds: Any) -> WireEnd:
    """Our FIN is acknowledged."""
    end = fin_wait_1(orphan=orphan, **kinds)
    end.send(".", ack=2)
    end.must_be(State.FIN_WAIT_2)
    end.nothing()
    return end


def closing(*, orphan: bool = False, **kinds: Any) -> WireEnd:
    """The FINs crossed."""
    end = fin_wait_1(orphan=orphan, **kinds)
    end.send("F.", ack=1)
    end.expect(".", seq=2, ack=2)
    end.must_be(State.CLOSING)
    return end


def close_wait(**kinds: Any) -> WireEnd:
    """The peer closed."""
    end = established(**kinds)
    end.send("F.")
    end.expect(".", seq=1, ack=2)
    end.must_be(State.CLOSE_WAIT)
    return end


def last_ack(**kinds: Any) -> WireEnd:
    """The peer closed, then we did; our FIN has left."""
    end = close_wait(**kinds)
    end.close()
    end.expect("F.", seq=1, ack=2)
    end.must_be(State.LAST_ACK)
    return end


def time_wait(**kinds: Any) -> WireEnd:
    """We closed, then the peer did; both FINs are acknowledged."""
    end = fin_wait_2(**kinds)
    end.send("F.", ack=2)
    end.expect(".", seq=2, ack=2)
    end.nothing()
    assert end.time_wait is not None
    return end


SYNCHRONIZED = (established, fin_wait_1, fin_wait_2, closing, close_wait, last_ack)
"""Factories of the states in which both ends know each other's numbers (TIME-WAIT is a class of its own)."""
