"""One row of `netemu ss`; by itself, so that the command line can print rows without the stack behind them."""

from __future__ import annotations

import msgspec

Info = dict[str, int | float | str]
"""Details of one connection: rtt_us, rto_ms, cwnd, ssthresh, retransmits, mss, snd_wnd, rcv_wnd, timer …"""


class SocketRow(msgspec.Struct, frozen=True):
    """A socket, or a connection that has none of its own (half-open, TIME-WAIT)."""

    id: str
    app: str
    protocol: str
    state: str
    recv_q: int
    """Bytes that arrived and were not read (LISTEN: connections waiting for accept)."""
    send_q: int
    """Bytes written and not acknowledged (LISTEN: the backlog)."""
    local: str
    peer: str
    info: Info = msgspec.field(default_factory=dict)
    uid: int = 0
    """The effective user who created it."""
    pid: int = 0
    """The process that it belongs to; 0: built in."""
    program: str = ""
    host: str = ""
    """Whose socket it is, where an instance has several hosts."""
