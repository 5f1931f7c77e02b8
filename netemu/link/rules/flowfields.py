"""The fields that only something which follows a flow can tell; of TCP also those that Wireshark calls relative."""

from __future__ import annotations

from collections.abc import Callable

from netemu.link.rules.field import Field, Kind
from netemu.link.rules.flows import Flow
from netemu.link.rules.view import View
from netemu.wire.ip import TCP
from netemu.wire.tcp import ACK, FIN, MASK, RST, SYN, unwrap

Ends = tuple[int, int] | None
OFFSETS = ("tcp.seq", "tcp.ack", "tcp.window_size")
"""Not called flow.something, and yet of the flow."""


def follows(name: str) -> bool:
    """Must flows be tracked for this field?"""
    return name in OFFSETS or (name.startswith("flow.") and name != "flow.pure_ack")


def all_fields() -> tuple[Field, ...]:
    number, flag, time = Kind.NUMBER, Kind.FLAG, Kind.TIME
    return (
        _field("flow.packet", number, lambda view, flow: flow.packets, _counting(lambda flow: flow.packets)),
        _field("flow.data", number, lambda view, flow: flow.data if view.length else None, _counting(lambda flow: flow.data)),
        _field("flow.bytes", number, lambda view, flow: flow.before, _bytes_span),
        _field("flow.new", flag, lambda view, flow: int(flow.packets == 1), lambda view, flow: (0, int(not flow.packets))),
        _field("flow.age", time, lambda view, flow: view.now - flow.first, lambda view, flow: (view.now - flow.first,) * 2),
        _field("flow.idle", time, lambda view, flow: flow.idle, lambda view, flow: (0, view.now - flow.last)),
        _field("flow.syn_count", number, lambda view, flow: flow.syns if view.transport == TCP else None, None),
        _field("flow.retransmission", flag, _is_repeat, lambda view, flow: (0, _repeats(view, flow))),
        _field("flow.retransmission.count", number, _repeat_number, _repeat_span),
        _field("flow.attempt", number, lambda view, flow: flow.attempt, _attempt_span),
        Field("flow.pure_ack", flag, _is_pure_ack),
        _field("tcp.seq", number, _seq, _seq_span),
        _field("tcp.ack", number, _ack, None),
        _field("tcp.window_size", number, _window, None),
    )  # fmt: skip


def _field(
    name: str, kind: Kind, get: Callable[[View, Flow], int | None], span: Callable[[View, Flow], Ends] | None
) -> Field:
    """A field of the flow. Without ``span`` all slices of a super-packet have the same value."""

    def of(view: View) -> int | None:
        return get(view, view.flow) if view.flow is not None else None

    def spanned(view: View) -> Ends:
        return span(view, view.flow) if span is not None and view.flow is not None else None

    return Field(name, kind, of, varies=span is not None, span=spanned if span is not None else None)


# What a packet is, once its flow has been told of it


def _is_repeat(view: View, flow: Flow) -> int | None:
    return int(flow.is_repeat) if view.transport == TCP else None


def _repeat_number(view: View, flow: Flow) -> int | None:
    return flow.repeats if view.transport == TCP and flow.is_repeat else None


def _is_pure_ack(view: View) -> int | None:
    if view.transport != TCP:
        return None
    return int(not view.length and view.head[view.start + 13] & (ACK | SYN | FIN | RST) == ACK)


def _raw(view: View, offset: int) -> int:
    return int.from_bytes(view.head[view.start + offset : view.start + offset + 4], "big")


def _seq(view: View, flow: Flow) -> int | None:
    return None if view.transport != TCP or flow.base is None else (_raw(view, 4) - flow.base) & MASK


def _ack(view: View, flow: Flow) -> int | None:
    """0 where nothing is acknowledged, as Wireshark has it."""
    if view.transport != TCP:
        return None
    if not view.head[view.start + 13] & ACK:
        return 0
    return 1 if flow.ack_base is None else (_raw(view, 8) - flow.ack_base) & MASK


def _window(view: View, flow: Flow) -> int | None:
    if view.transport != TCP:
        return None
    head, at = view.head, view.start
    shift = 0 if head[at + 13] & SYN else flow.shift
    return (head[at + 14] << 8 | head[at + 15]) << shift


# How far the slices of a super-packet differ, by the flow as it stood before


def _counting(count: Callable[[Flow], int]) -> Callable[[View, Flow], Ends]:
    return lambda view, flow: (count(flow) + 1, count(flow) + view.slices)


def _bytes_span(view: View, flow: Flow) -> Ends:
    """Of TCP, there may be a gap before this packet."""
    if view.transport != TCP or flow.base is None:
        return flow.bytes, flow.bytes + view.length
    seq = unwrap(_raw(view, 4), flow.top)
    return flow.bytes, max(flow.bytes, seq + view.length - flow.base - 1)


def _repeats(view: View, flow: Flow) -> bool:
    return view.transport == TCP and flow.base is not None and unwrap(_raw(view, 4), flow.top) < flow.top


def _repeat_span(view: View, flow: Flow) -> Ends:
    return (flow.repeats + 1, flow.repeats + view.slices) if _repeats(view, flow) else None


def _attempt_span(view: View, flow: Flow) -> Ends:
    return (1, max(flow.repeated.values(), default=1) + 1) if _repeats(view, flow) else (1, 1)


def _seq_span(view: View, flow: Flow) -> Ends:
    return _wrapping(1 if flow.base is None else (_raw(view, 4) - flow.base) & MASK, view.length)


def seq_raw_span(view: View) -> Ends:
    return _wrapping(_raw(view, 4), view.length) if view.transport == TCP else None


def _wrapping(first: int, length: int) -> Ends:
    return (first, first + length) if first + length <= MASK else (0, MASK)
