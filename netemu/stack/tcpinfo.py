"""TCP_INFO: Linux' struct tcp_info (linux/tcp.h), as far as this stack knows what it asks for; the rest is zero."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from netemu.tcp.config import MS, NEVER
from netemu.tcp.congestion.pacer import rate_of
from netemu.tcp.connection import Connection
from netemu.tcp.recovery import Phase
from netemu.tcp.state import State

if TYPE_CHECKING:
    from netemu.stack.stream_socket import StreamSocket

_STATES = {
    State.ESTABLISHED: 1, State.SYN_SENT: 2, State.SYN_RECEIVED: 3, State.FIN_WAIT_1: 4, State.FIN_WAIT_2: 5,
    State.TIME_WAIT: 6, State.CLOSED: 7, State.CLOSE_WAIT: 8, State.LAST_ACK: 9, State.LISTEN: 10, State.CLOSING: 11,
}  # fmt: skip
_CA_OPEN, _CA_DISORDER, _CA_CWR, _CA_RECOVERY, _CA_LOSS = range(5)
_PHASES = {Phase.OPEN: _CA_OPEN, Phase.CWR: _CA_CWR, Phase.FAST: _CA_RECOVERY, Phase.LOSS: _CA_LOSS}
_TIMESTAMPS, _SACK, _WSCALE = 1, 2, 4
_INFINITE = 0x7FFFFFFF
"""tcpi_snd_ssthresh before the first loss."""

_GROUPS = (
    ("I", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv"),
    ("I", "last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space"),
    ("I", "total_retrans"),
    ("Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    ("I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    ("Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    ("I", "delivered delivered_ce"),
    ("Q", "bytes_sent bytes_retrans"),
    ("I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
)
"""tcpi_... in order, behind the first eight bytes, and how wide."""
_FIELDS = [(name, (1 << (32 if code == "I" else 64)) - 1) for code, names in _GROUPS for name in names.split()]
"""(name, the most it holds)."""
_LAYOUT = Struct("=8B" + "".join(code * len(names.split()) for code, names in _GROUPS))


def tcp_info(socket: StreamSocket) -> bytes:
    """As getsockopt(TCP_INFO) fills it, cut by the caller. Times in us (those since something happened: ms), windows as there."""
    c = socket.connection
    if socket.listener is not None:
        queues = {"unacked": len(socket.listener.accepted), "sacked": socket.listener.backlog}  # as Linux lends them
        return _packed(_STATES[State.LISTEN], queues)
    if c is None:
        return _packed(_STATES[State.CLOSED], {})
    return _packed(_STATES[c.state], _measured(c, socket.host.now), c)


def fields(packed: bytes) -> dict[str, int]:
    """What ``tcp_info`` packed, by the names of struct tcp_info without their tcpi_."""
    *small, scales, _ = _LAYOUT.unpack(packed)[:8]
    known = dict(zip(("state", "ca_state", "retransmits", "probes", "backoff", "options"), small, strict=True))
    known |= {"snd_wscale": scales & 15, "rcv_wscale": scales >> 4}
    return known | dict(zip((name for name, _ in _FIELDS), _LAYOUT.unpack(packed)[8:], strict=True))


def _measured(c: Connection, now: int) -> dict[str, int]:
    mss = max(c.mss, 1)
    synchronized = c.snd_una > c.iss
    outstanding = -(-c.flight // mss)
    ssthresh = c.cc.ssthresh // mss
    return {
        "rto": c.rtt.rto // 1000,
        "ato": c.config.delayed_ack // 1000 if c.deadline_ack < NEVER else 0,
        "snd_mss": c.mss,
        "rcv_mss": min(c.mss, c.path_mss),
        "unacked": outstanding,
        "sacked": -(-c.board.sacked // mss),
        "lost": -(-c.board.lost // mss),
        "retrans": -(-c.board.retrans // mss),
        "last_data_sent": (now - c.last_sent) // MS,
        "last_data_recv": (now - c.last_received) // MS,
        "last_ack_recv": (now - c.last_received) // MS,
        "pmtu": c.path_mss + (60 if len(c.flow) == 36 else 40),
        "rcv_ssthresh": max(0, c.rcv_adv - c.rcv_nxt),
        "rtt": c.rtt.srtt // 1000,
        "rttvar": c.rtt.rttvar // 1000,
        "snd_ssthresh": min(ssthresh, _INFINITE),
        "snd_cwnd": max(1, c.cc.cwnd // mss),
        "advmss": c.path_mss,
        "reordering": c.recovery.reordering,
        "rcv_space": c.rcvbuf,
        "total_retrans": c.total_retransmits,
        "pacing_rate": rate_of(c),
        "max_pacing_rate": c.config.max_pacing_rate or (1 << 64) - 1,
        "bytes_acked": min(c.snd_una, c.sendbuf.end) - c.iss - 1 if synchronized else 0,
        "bytes_received": max(0, c.rcv_nxt - c.irs - 1 - c.fin_received),
        "notsent_bytes": max(0, c.sendbuf.end - c.snd_nxt),
        "min_rtt": min(c.rtt.min_rtt // 1000, 0xFFFFFFFF),
        "dsack_dups": c.recovery.dsacks,
        "reord_seen": c.recovery.rack.reordering_seen,
        "snd_wnd": c.snd_wnd,
        "rcv_wnd": max(0, c.rcv_adv - c.rcv_nxt),
    }


def _packed(state: int, known: dict[str, int], c: Connection | None = None) -> bytes:
    """The struct; a number that does not fit its field is as large as that allows."""
    phase = retransmits = probes = backoff = options = scales = 0
    if c is not None:
        phase, retransmits, backoff = _PHASES[c.recovery.phase], c.retransmits, c.rtt.backoff
        if c.recovery.phase is Phase.OPEN and c.board.sacked:
            phase = _CA_DISORDER
        probes = c.keepalive_probes_sent
        options = _TIMESTAMPS * c.ts_on | _SACK * c.sack_ok | _WSCALE * c.wscale_ok
        scales = c.snd_wscale | c.rcv_wscale << 4
    small = (state, phase, min(retransmits, 255), min(probes, 255), min(backoff, 255), options, scales, 0)
    return _LAYOUT.pack(*small, *(min(known.get(name, 0), most) for name, most in _FIELDS))
