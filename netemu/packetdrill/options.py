"""TCP options as scripts write them, as tuples, and as bytes; in order, nothing left out."""

from __future__ import annotations

import re
from struct import Struct

from netemu.packetdrill.script import Option, ScriptError

_EDGES = Struct(">II")
FAST_OPEN, EXPERIMENTAL, MD5, ACCECN0, ACCECN1 = 34, 254, 19, 172, 174
FOEXP_MAGIC = b"\xf9\x89"
_COOKIE = {"FO": (FAST_OPEN, b""), "FOEXP": (EXPERIMENTAL, FOEXP_MAGIC)}
_NUMBER = {"mss": (2, 2), "wscale": (3, 1)}
_BLOCK = re.compile(r"(\d+)\s*:\s*(\d+)")
_TS = re.compile(r"TS\s+val\s+(\d+)\s+ecr\s+(\d+)$")
_COUNTERS = re.compile(r"(e0b|e1b|ceb)\s+(\d+)")


def read(text: str) -> tuple[Option, ...] | None:
    """``<mss 1460,nop,wscale 8>`` as tuples; None for ``<...>``."""
    inner = text.strip()[1:-1].strip()
    if inner == "...":
        return None
    return tuple(_read(" ".join(item.split())) for item in inner.split(",")) if inner else ()


def _read(item: str) -> Option:
    name, _, rest = item.partition(" ")
    if name in ("nop", "eol", "sackOK") and not rest:
        return (name,)
    if name in _NUMBER and rest.isdigit() and int(rest) < 1 << 8 * _NUMBER[name][1]:
        return name, int(rest)
    if name in _COOKIE:
        return name, _cookie(item, rest)
    if name == "TS" and (found := _TS.match(item)):
        return "TS", int(found[1]), int(found[2])
    if name == "sack" and rest:
        blocks = tuple((int(left), int(right)) for left, right in _BLOCK.findall(rest))
        if blocks and not _BLOCK.sub("", rest).strip():
            return "sack", blocks
    if name == "ECN" and (counters := _COUNTERS.findall(rest)):
        return "ECN", tuple((which, int(count)) for which, count in counters)
    if name == "unknown" and (found := re.match(r"(\d+)(?: 0x([0-9a-fA-F]*))?$", rest)):
        return "unknown", int(found[1]), bytes.fromhex(found[2] or "")
    raise ScriptError(f"{item!r} is no TCP option")


def _cookie(item: str, digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ScriptError(f"{item!r}: a cookie is an even number of hexadecimal digits") from None


def encode(options: tuple[Option, ...]) -> bytes:
    """The option area. ScriptError where it is no whole number of words: the script says how it is padded."""
    out = b"".join(_encode(option) for option in options)
    if len(out) % 4:
        raise ScriptError(f"the TCP options take {len(out)} bytes, no multiple of 4: add nop or eol")
    if len(out) > 40:
        raise ScriptError(f"the TCP options take {len(out)} bytes, more than 40")
    return out


def _encode(option: Option) -> bytes:
    name = str(option[0])
    match option:
        case ("nop",):
            return b"\1"
        case ("eol",):
            return b"\0"
        case ("sackOK",):
            return b"\4\2"
        case ("mss" | "wscale", int(number)):
            kind, size = _NUMBER[name]
            return bytes((kind, 2 + size)) + number.to_bytes(size, "big")
        case ("TS", int(value), int(echo)):
            return b"\x08\x0a" + _EDGES.pack(value & 0xFFFFFFFF, echo & 0xFFFFFFFF)
        case ("sack", tuple(blocks)):
            return bytes((5, 2 + 8 * len(blocks))) + b"".join(_EDGES.pack(*_masked(block)) for block in blocks)
        case ("FO" | "FOEXP", bytes(cookie)):
            kind, magic = _COOKIE[name]
            return bytes((kind, 2 + len(magic) + len(cookie))) + magic + cookie
        case ("ECN", tuple(counters)):
            kind = ACCECN0 if counters[0][0] == "e0b" else ACCECN1
            return bytes((kind, 2 + 3 * len(counters))) + b"".join(
                (n & 0xFFFFFF).to_bytes(3, "big") for _, n in counters
            )
        case ("unknown", int(kind), bytes(data)):
            return bytes((kind, 2 + len(data))) + data
    raise ScriptError(f"no such TCP option: {option}")


def _masked(block: tuple[int, int]) -> tuple[int, int]:
    return block[0] & 0xFFFFFFFF, block[1] & 0xFFFFFFFF


def decode(data: bytes) -> tuple[Option, ...]:
    """The options of a segment, in order. A malformed rest becomes ('malformed', bytes)."""
    found: list[Option] = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind < 2:
            found.append(("nop",) if kind else ("eol",))
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            found.append(("malformed", data[at:]))
            break
        found.append(_decode(kind, data[at + 2 : at + size]))
        at += size
    return tuple(found)


def _decode(kind: int, value: bytes) -> Option:
    size = len(value)
    if kind == 2 and size == 2:
        return "mss", int.from_bytes(value, "big")
    if kind == 3 and size == 1:
        return "wscale", value[0]
    if kind == 4 and not size:
        return ("sackOK",)
    if kind == 5 and size and size % 8 == 0:
        return "sack", tuple(_EDGES.iter_unpack(value))
    if kind == 8 and size == 8:
        return "TS", *_EDGES.unpack(value)
    if kind == FAST_OPEN:
        return "FO", value
    if kind == EXPERIMENTAL and value[:2] == FOEXP_MAGIC:
        return "FOEXP", value[2:]
    if kind in (ACCECN0, ACCECN1) and size % 3 == 0:
        names = ("e0b", "ceb", "e1b") if kind == ACCECN0 else ("e1b", "ceb", "e0b")
        return "ECN", tuple(
            (names[i], int.from_bytes(value[3 * i : 3 * i + 3], "big")) for i in range(min(size // 3, 3))
        )
    return "unknown", kind, value


def show(options: tuple[Option, ...] | None) -> str:
    """As a script writes them, with the angle brackets; nothing for none."""
    if options is None:
        return "<...>"
    return f"<{','.join(_show(option) for option in options)}>" if options else ""


def _show(option: Option) -> str:
    match option:
        case ("TS", value, echo):
            return f"TS val {value} ecr {echo}"
        case ("sack", tuple(blocks)):
            return "sack " + " ".join(f"{left}:{right}" for left, right in blocks)
        case ("FO" | "FOEXP" as name, bytes(cookie)):
            return f"{name} {cookie.hex()}" if cookie else str(name)
        case ("ECN", tuple(counters)):
            return "ECN " + " ".join(f"{which} {count}" for which, count in counters)
        case ("unknown", kind, bytes(data)):
            return f"unknown {kind}" + (f" 0x{data.hex()}" if data else "")
        case ("malformed", bytes(data)):
            return f"malformed 0x{data.hex()}"
    return " ".join(map(str, option))
