"""The rows of `netemu ss`, from a host's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.names import shown
from netemu.stack.row import Info, SocketRow
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.config import NEVER
from netemu.tcp.congestion.pacer import rate_of
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire.ip import text_port

if TYPE_CHECKING:
    from netemu.stack.host import Host


def socket_rows(host: Host) -> list[SocketRow]:
    """Every socket, then what has none of its own: half-open connections and TIME-WAIT."""
    rows = [socket_row(socket, host.now) for _, socket in sorted(host.table.sockets.items())]
    for c in host.table.connections.values():
        owner = c.owner
        if isinstance(c, TimeWait):
            left = max(0, c.expires - host.now) / 1e9
            rows.append(flow_row(c.flow, owner, "TIME-WAIT", {"timer": f"timewait,{left:.1f}s"}))
        elif isinstance(owner, StreamSocket) and owner.connection is not c:
            rows.append(flow_row(c.flow, owner, c.state.value, connection_info(c, host.now)))
    return rows


def socket_row(socket: Socket, now: int) -> SocketRow:
    """The row of one socket."""
    recv_q, send_q = socket.queues if isinstance(socket, StreamSocket | DatagramSocket) else (0, 0)
    info = connection_info(socket.connection, now) if isinstance(socket, StreamSocket) and socket.connection else {}
    return SocketRow(
        id=f"s{socket.id}",
        app=socket.app,
        protocol="tcp" if socket.is_stream else "udp",
        state=socket.state_name,
        recv_q=recv_q,
        send_q=send_q,
        local=_shown(socket, socket.laddr, socket.lport),
        peer=_shown(socket, *socket.peer) if socket.peer else _nobody(socket),
        info=info,
        uid=socket.uid,
        pid=socket.pid,
        program=socket.program,
    )


def _shown(socket: Socket, address: bytes, port: int) -> str:
    host = shown(socket.family, address)
    if socket.is_ipv6:
        host = "*" if host == "::" and not socket.v6only else f"[{host}]"  # as ss(8): '*' takes both families
    return f"{host}:{port or '*'}"


def _nobody(socket: Socket) -> str:
    if socket.is_ipv6:
        return "[::]:*" if socket.v6only else "*:*"
    return "0.0.0.0:*"


def flow_row(flow: bytes, owner: object, state: str, info: Info) -> SocketRow:
    """The row of a connection that has no socket of its own."""
    size = 4 if len(flow) == 12 else 16
    peer = text_port(flow[:size], int.from_bytes(flow[-4:-2], "big"))
    local = text_port(flow[size : 2 * size], int.from_bytes(flow[-2:], "big"))
    if not isinstance(owner, Socket):
        return SocketRow("-", "", "tcp", state, 0, 0, local, peer, info)
    return SocketRow("-", owner.app, "tcp", state, 0, 0, local, peer, info, owner.uid, owner.pid, owner.program)


def connection_info(c: Connection, now: int) -> Info:
    """What `netemu ss -i` shows; the units stand in the names."""
    info: Info = {
        "rtt_us": c.rtt.srtt // 1000,
        "rttvar_us": c.rtt.rttvar // 1000,
        "rto_ms": c.rtt.rto // 1_000_000,
        "mss": c.mss,
        "cwnd": c.cc.cwnd,
        "unacked": c.flight,
        "retransmits": c.retransmits,
        "total_retransmits": c.total_retransmits,
        "snd_wnd": c.snd_wnd,
        "rcv_wnd": max(0, c.rcv_adv - c.rcv_nxt),
        "wscale": f"{c.snd_wscale},{c.rcv_wscale}",
        "sndbuf": c.sndbuf,
        "rcvbuf": c.rcvbuf,
        "last_sent_ms": (now - c.last_sent) // 1_000_000,
        "last_received_ms": (now - c.last_received) // 1_000_000,
        "congestion": c.cc.name,
        "pacing": "none" if c.pacer is None else f"{rate_of(c)}B/s",
    }
    if c.cc.ssthresh < 1 << 59:
        info["ssthresh"] = c.cc.ssthresh
    timers = (
        ("persist" if c.persist else "retransmit", c.deadline_rtx),
        ("delack", c.deadline_ack),
        ("keepalive", c.deadline_keepalive),
        ("fin-wait-2", c.deadline_user),
    )
    running = [f"{name},{max(0, due - now) / 1e6:.0f}ms" for name, due in timers if due < NEVER]
    if running:
        info["timer"] = " ".join(running)
    return info
