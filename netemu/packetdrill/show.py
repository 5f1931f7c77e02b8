"""A failed script for people: what was expected above what came, and what differs marked below."""

from __future__ import annotations

from io import BytesIO

from netemu.capture.pcapng import PcapngWriter
from netemu.packetdrill.live import Part
from netemu.packetdrill.machine import EPOCH, Machine
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import Connection


def seconds(time: int) -> str:
    """ns of the script's clock."""
    return f"{time / 1e9:.6f}"


def beside(expected: list[Part], actual: list[Part], when: int | None, came: int | None) -> list[str]:
    """Three lines: expected, actual, and a mark under each field that differs. Times are the script's, ns."""
    first, second = list(expected), list(actual)
    if when is not None and came is not None:
        first.insert(0, Part(seconds(when)))
        second.insert(0, Part(seconds(came)))
    left, right, marks = "", "", ""
    for a, b in zip(first, second, strict=True):
        width = max(len(a.text), len(b.text))
        if not width:
            continue
        left += a.text.ljust(width) + " "
        right += b.text.ljust(width) + " "
        marks += ("^" * (len(b.text) or width) if b.wrong else "").ljust(width) + " "
    lines = [f"  expected: {left.rstrip()}", f"  actual:   {right.rstrip()}"]
    return [*lines, f"            {marks.rstrip()}"] if marks.strip() else lines


def happened(machine: Machine) -> list[str]:
    """The stack's own view: what it made of the last packet, and how the connection stands."""
    lines = [f"  the stack's last packet in: {machine.last_reason}"] if machine.last_reason else []
    flow = machine.flow
    c = machine.host.table.connections.get(flow.key) if flow is not None else None
    if isinstance(c, Connection):
        in_flight = c.snd_nxt - c.snd_una
        lines.append(
            f"  the connection: {c.state.value}, {in_flight} in flight, {max(0, c.sendbuf.end - c.snd_nxt)} B to send, "
            f"peer's window {c.snd_wnd} B, cwnd {c.cc.cwnd} B, rto {c.rtt.rto / 1e6:g} ms, {c.received_bytes} B to read"
        )
    elif c is not None:
        lines.append("  the connection: TIME-WAIT")
    else:
        ended = [s.connection for s in machine.host.table.sockets.values() if isinstance(s, StreamSocket)]
        reasons = [x.close_reason for x in ended if x is not None and x.close_reason is not None]
        lines += [f"  the connection ended: {reason.value}" for reason in reasons[-1:]]
    return lines + [f"  a bug in netemu: {fault}" for fault in machine.host.faults]


def pcapng(machine: Machine, problem: str) -> bytes:
    """All packets of a run, each with the host's reason; the last one with what went wrong."""
    out = BytesIO()
    writer = PcapngWriter(out, "packetdrill")
    for number, (when, data, inbound, why) in enumerate(machine.trace):
        last = number == len(machine.trace) - 1
        writer.packet(data, when - EPOCH, inbound, "; ".join(filter(None, (why, problem if last else ""))))
    writer.close()
    return out.getvalue()
