"""The fields that rules may name: Wireshark's, by its names, and those of the flow.

A field that is not in a packet has no value. Where Wireshark knows several of one name (``ip.addr``, ``tcp.port``), so do we.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, partial

from netemu.link.rules import flowfields
from netemu.link.rules.field import (
    Field,
    Kind,
    Span,
    at_ip,
    at_transport,
    either,
    exists,
    in_bytes,
    length,
    lengths,
    option,
    payload,
    placed,
)
from netemu.link.rules.nodes import RuleError, Word
from netemu.link.rules.view import View
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP


@cache
def fields() -> dict[str, Field]:
    """Every field by its name."""
    known = (*_frame(), *_ipv4(), *_ipv6(), *_tcp(), *_udp(), *_icmp(), *flowfields.all_fields())
    return {field.name: field for field in known}


PROTOCOLS: dict[str, Callable[[View], bool]] = {
    "frame": lambda view: True,
    "ip": lambda view: view.version == 4,
    "ipv6": lambda view: view.version == 6,
    "tcp": lambda view: view.transport == TCP,
    "udp": lambda view: view.transport == UDP,
    "icmp": lambda view: view.transport == ICMP,
    "icmpv6": lambda view: view.transport == ICMPV6,
}


def field_of(word: Word) -> Field:
    """The field of that name; RuleError that names what may have been meant."""
    found = fields().get(word.text)
    if found is None:
        close = _same_end(word.text) or get_close_matches(word.text, (*fields(), *PROTOCOLS), 1)
        hint = f"; did you mean {close[0]}?" if close else "; fields are such as tcp.dstport, ip.src, flow.packet"
        raise RuleError(f"no field {word.text}{hint}", word.column)
    return found


def _same_end(name: str) -> list[str]:
    """tcp.flags.reset for tcp.reset."""
    first, _, last = name.rpartition(".")
    return [known for known in fields() if first and known.startswith(f"{first}.") and known.endswith(f".{last}")]


def _frame() -> tuple[Field, ...]:
    return (Field("frame.len", Kind.NUMBER, lambda view: len(view.packet), varies=True, span=lengths(_headers)),)


def _headers(view: View) -> int:
    return view.payload_at


def _when(version: int, span: Span) -> Span:
    return lambda view: span(view) if view.version == version else None


def _ipv4() -> tuple[Field, ...]:
    here = partial(at_ip, 4)
    source = placed("ip.src", here(12), 4, kind=Kind.IPV4)
    destination = placed("ip.dst", here(16), 4, kind=Kind.IPV4)
    return (
        placed("ip.version", here(0), 1, 0xF0),
        in_bytes("ip.hdr_len", here(0), 1, 0x0F, 4),
        placed("ip.dsfield", here(1), 1),
        placed("ip.dsfield.dscp", here(1), 1, 0xFC),
        placed("ip.dsfield.ecn", here(1), 1, 0x03),
        placed("ip.len", here(2), 2, span=_when(4, lengths(_headers))),
        placed("ip.id", here(4), 2, varies=True),
        placed("ip.flags.df", here(6), 1, 0x40),
        placed("ip.flags.mf", here(6), 1, 0x20),
        placed("ip.frag_offset", here(6), 2, 0x1FFF),  # in units of 8 bytes, as Wireshark 4 has it
        placed("ip.ttl", here(8), 1),
        placed("ip.proto", here(9), 1),
        placed("ip.checksum", here(10), 2, varies=True),
        source,
        destination,
        either("ip.addr", Kind.IPV4, source, destination),
    )


def _ipv6() -> tuple[Field, ...]:
    here = partial(at_ip, 6)
    source = placed("ipv6.src", here(8), 16, kind=Kind.IPV6)
    destination = placed("ipv6.dst", here(24), 16, kind=Kind.IPV6)
    return (
        placed("ipv6.version", here(0), 1, 0xF0),
        placed("ipv6.tclass", here(0), 2, 0x0FF0),
        placed("ipv6.tclass.dscp", here(0), 2, 0x0FC0),
        placed("ipv6.tclass.ecn", here(0), 2, 0x0030),
        placed("ipv6.flow", here(0), 4, 0x000FFFFF),
        placed("ipv6.plen", here(4), 2, span=_when(6, lengths(lambda view: view.payload_at - 40))),
        placed("ipv6.nxt", here(6), 1),
        placed("ipv6.hlim", here(7), 1),
        source,
        destination,
        either("ipv6.addr", Kind.IPV6, source, destination),
    )


_FLAGS = (
    ("ae", 0x100), ("cwr", 0x80), ("ece", 0x40), ("urg", 0x20), ("ack", 0x10), ("push", 0x08), ("reset", 0x04),
    ("syn", 0x02), ("fin", 0x01),
)  # fmt: skip
_OF_ENDS = ("cwr", "push", "fin")
"""CWR is on the first slice of a super-packet only, PSH and FIN on the last."""


def _flag(name: str, bit: int) -> Field:
    at, mask = at_transport(TCP, 12), bit
    whole = placed(f"tcp.flags.{name}", at, 2, mask)
    if name not in _OF_ENDS:
        return whole

    def span(view: View) -> tuple[int, int] | None:
        value = whole.get(view)
        return (0, value) if isinstance(value, int) else None

    return placed(f"tcp.flags.{name}", at, 2, mask, span=span)


def _tcp() -> tuple[Field, ...]:
    here = partial(at_transport, TCP)
    source, destination = placed("tcp.srcport", here(0), 2), placed("tcp.dstport", here(2), 2)
    return (
        source,
        destination,
        either("tcp.port", Kind.NUMBER, source, destination),
        placed("tcp.seq_raw", here(4), 4, span=flowfields.seq_raw_span),
        placed("tcp.ack_raw", here(8), 4),
        in_bytes("tcp.hdr_len", here(12), 1, 0xF0, 4),
        placed("tcp.flags", here(12), 2, 0x0FFF, varies=True),
        *(_flag(name, bit) for name, bit in _FLAGS),
        placed("tcp.window_size_value", here(14), 2),
        placed("tcp.checksum", here(16), 2, varies=True),
        placed("tcp.urgent_pointer", here(18), 2),
        length("tcp.len", TCP),
        payload("tcp.payload", TCP),
        placed("tcp.options.mss_val", option(2, 4, 2), 2),
        placed("tcp.options.wscale.shift", option(3, 3, 2), 1),
        placed("tcp.options.timestamp.tsval", option(8, 10, 2), 4),
        placed("tcp.options.timestamp.tsecr", option(8, 10, 6), 4),
        exists("tcp.options.sack_perm", option(4, 2, 0)),
        exists("tcp.options.sack", option(5, 0, 0)),
    )


def _udp() -> tuple[Field, ...]:
    here = partial(at_transport, UDP)
    source, destination = placed("udp.srcport", here(0), 2), placed("udp.dstport", here(2), 2)
    return (
        source,
        destination,
        either("udp.port", Kind.NUMBER, source, destination),
        placed("udp.length", here(4), 2),
        placed("udp.checksum", here(6), 2),
        payload("udp.payload", UDP),
    )


def _icmp() -> tuple[Field, ...]:
    return tuple(
        placed(f"{name}.{part}", at_transport(protocol, offset), size)
        for name, protocol in (("icmp", ICMP), ("icmpv6", ICMPV6))
        for part, offset, size in (("type", 0, 1), ("code", 1, 1), ("checksum", 2, 2))
    )
