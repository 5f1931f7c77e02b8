"""packetdrill's language: its grammar, and from text to netemu.packetdrill.script. lark is imported with the first script."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from netemu.packetdrill import options as tcp_options
from netemu.packetdrill.script import (
    ELLIPSIS,
    SECOND,
    Action,
    Apply,
    Array,
    Call,
    Code,
    Command,
    Event,
    Field,
    IcmpLine,
    IpWanted,
    Or,
    Script,
    ScriptError,
    Struct,
    TcpLine,
    Text,
    Time,
    UdpLine,
)

if TYPE_CHECKING:
    from lark import Lark

GRAMMAR = r"""
start: item*
?item: OPTION                             -> option
     | COMMAND                            -> bare_command
     | TIME _action                       -> event

_action: packet | call | CODE | COMMAND
packet: DIRECTION (BRACKET | PAREN)* (tcp | udp | icmp)
tcp: FLAGS SEQUENCE ATTRIBUTE* OPTIONS?
udp: UDP PAREN
icmp: ICMP WORD WORD? MTU? BRACKET?

call: WORD "(" [arguments] ")" "=" result [WORD] [NOTE]
?result: "..." -> ellipsis
       | simple
       | simple ("|" simple)+             -> either
arguments: expression ("," expression)*
?expression: operand
           | operand ("|" operand)+       -> either
?operand: "..."                           -> ellipsis
        | simple
        | STRING                          -> string
        | STRING "..."                    -> beginning
        | "[" [arguments] "]"             -> array
        | "{" field ("," field)* "}"      -> struct
        | WORD "(" [arguments] ")"        -> apply
field: expression ["=" expression]
?simple: HEX -> hexadecimal
       | INTEGER -> integer
       | WORD -> symbol

TIME: /\*|\+?[ \t]*(\d*\.\d+|\d+\.?(?!\.)|\d+)([ \t]*(~|\.\.\.)[ \t]*\+?[ \t]*(\d*\.\d+|\d+))?/
OPTION: /--[A-Za-z0-9_]+(=("[^"\n]*"|[^\s]+)|[ \t]+[A-Za-z_]\w*=("[^"\n]*"|[^\s]+))?/
DIRECTION: "<" | ">"
BRACKET: /\[[^\]]*\]/
PAREN: /\([^()]*\)/
NOTE: /\([^()\n]*(\([^()\n]*\)[^()\n]*)*\)/
FLAGS: /[SFRPUEWA.]+|-/
SEQUENCE: /\d+\s*:\s*\d+\s*\(\s*\d+\s*\)/
ATTRIBUTE: /(ack|win|urg)\s+\d+/
OPTIONS: /<[^<>]*>/
UDP.2: "udp"
ICMP.2: /icmp(v6)?/
MTU.2: /mtu\s+\d+/
HEX: /-?0[xX][0-9a-fA-F]+/
INTEGER: /-?\d+/
WORD: /[A-Za-z_]\w*/
STRING: /"(\\.|[^"\\])*"/
CODE: /%\{.*?\}%/s
COMMAND: /`(\\.|[^`\\])*`/s
_COMMENT: /\/\/[^\n]*/ | /\/\*.*?\*\//s | /#[^\n]*/

%ignore _COMMENT
%ignore /\s+/
"""

_TIME = re.compile(r"(\+?)[ \t]*([\d.]*?)(?:[ \t]*(~|\.\.\.)[ \t]*\+?[ \t]*([\d.]+))?$")
_SEQUENCE = re.compile(r"\[?\s*(\d+)\s*:\s*(\d+)\s*\(\s*(\d+)\s*\)\s*\]?$")
_UDP_QUOTE = re.compile(r"\[\s*udp\s*\(\s*(\d+)\s*\)\s*\]$")
_ECN = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3, "ect01": -1}
LARGEST_SEGMENT = 65535
LARGEST = {"ack": 0xFFFFFFFF, "win": 0xFFFF, "urg": 0xFFFF}
_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "A": 16, "U": 32, "E": 64, "W": 128}
_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0"}
_SYMBOLIC = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)


def parse(source: str, path: str = "") -> Script:
    """Read a script; ScriptError says on which line what is wrong."""
    from lark import UnexpectedInput
    from lark.exceptions import VisitError

    script = Script(path, source)
    try:
        items = parser().parse(source)
    except UnexpectedInput as error:
        raise ScriptError(_complaint(error, source), _line(error)) from None
    except VisitError as error:
        raise error.orig_exc from None
    for item in items:  # type: ignore[attr-defined]  # the transformer makes a list of the tree's root
        if isinstance(item, Event):
            script.events.append(item)
        else:
            script.options.append(item)
    return script


@cache
def parser() -> Lark:
    """Made once: it takes a tenth of a second."""
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_builder(), maybe_placeholders=True)


def _line(error: Any) -> int:
    """Where it is, or 0."""
    line = getattr(error, "line", 0)
    return line if isinstance(line, int) and line > 0 else 0


def _complaint(error: Any, source: str) -> str:
    """One line: what stands there."""
    at = getattr(error, "pos_in_stream", None)
    ended = getattr(getattr(error, "token", None), "type", "") == "$END"
    if ended or at is None or at < 0 or at >= len(source):
        return "the script ends too early"
    return f"cannot read {source[at:].splitlines()[0].strip()[:40]!r}"


def _builder() -> Any:
    """Callbacks for lark, by the names in the grammar."""
    from lark import Transformer, v_args

    class Builder(Transformer):  # type: ignore[type-arg]  # of tokens to whatever each rule makes
        def start(self, items: list[Any]) -> list[Any]:
            return items

        @v_args(inline=True)
        def option(self, token: Any) -> tuple[str, str, int]:
            name, value = re.match(r"--(\w+)[=\s]?\s*(.*)$", token).groups()  # type: ignore[union-attr]  # as its terminal
            return name, value.strip('"'), token.line

        @v_args(inline=True)
        def bare_command(self, token: Any) -> Event:
            return Event(token.line, token.start_pos, None, Command(token[1:-1]))

        @v_args(inline=True)
        def event(self, time: Any, action: Any) -> Event:
            made: Action = action
            if isinstance(action, str):
                made = Code(action[2:-2]) if action.startswith("%") else Command(action[1:-1])
            return Event(time.line, time.start_pos, _time(time), made)

        def packet(self, parts: list[Any]) -> Action:
            inbound, ip = parts[0] == "<", IpWanted()
            quote: str | None = None
            for part in parts[1:-1]:
                if _SEQUENCE.match(part) or _UDP_QUOTE.match(part):
                    quote = part
                else:
                    ip = _ip(ip, part)
            return _packet(inbound, ip, parts[-1], quote, parts[0].line)

        def tcp(self, parts: list[Any]) -> list[Any]:
            return parts

        udp = icmp = tcp

        @v_args(inline=True)
        def call(self, name: Any, arguments: Any, result: Any, errno: Any, note: Any) -> Call:
            return Call(str(name), arguments or (), result, str(errno) if errno else None, str(note or ""))

        def arguments(self, items: list[Any]) -> tuple[Any, ...]:
            return tuple(items)

        def either(self, items: list[Any]) -> Or:
            return Or(tuple(items))

        def ellipsis(self, items: list[Any]) -> object:
            return ELLIPSIS

        @v_args(inline=True)
        def string(self, token: Any) -> Text:
            return Text(_unescaped(token))

        @v_args(inline=True)
        def beginning(self, token: Any) -> Text:
            return Text(_unescaped(token), more=True)

        @v_args(inline=True)
        def array(self, items: Any) -> Array:
            return Array(items or ())

        def struct(self, items: list[Any]) -> Struct:
            return Struct(tuple(items))

        @v_args(inline=True)
        def apply(self, name: Any, arguments: Any) -> Apply:
            return Apply(str(name), arguments or ())

        @v_args(inline=True)
        def field(self, left: Any, right: Any) -> Field:
            if right is None:
                return Field(None, left)
            return Field(left.name if isinstance(left, Apply) else str(left), right)

        @v_args(inline=True)
        def hexadecimal(self, token: Any) -> int:
            return int(token, 16)

        @v_args(inline=True)
        def integer(self, token: Any) -> int:
            return int(token)

        @v_args(inline=True)
        def symbol(self, token: Any) -> str:
            return str(token)

    return Builder()


def _nanoseconds(text: str) -> int:
    """Seconds in decimals, exactly."""
    whole, _, part = text.partition(".")
    return int(whole or 0) * SECOND + int((part + "000000000")[:9])


def _time(token: str) -> Time:
    if token == "*":
        return Time("any")
    found = _TIME.match(token)
    assert found is not None
    plus, start, how, end = found.groups()
    kind = "relative" if plus else "absolute"
    first, last = _nanoseconds(start), _nanoseconds(end) if end else None
    return Time(kind, first, last if how == "~" else None, last if how == "..." else None)


def _ip(ip: IpWanted, part: str) -> IpWanted:
    """``[ect0]``, ``(tos 0x10)``, ``[ttl 64]``, also several with commas between."""
    for item in re.split(r"\s*,\s*", part[1:-1].strip()):
        name, _, value = item.partition(" ")
        try:
            if name in _ECN and not value:
                ip = ip._replace(ecn=_ECN[name])
            elif name == "tos":
                ip = ip._replace(tos=int(value, 0))
            elif name in ("ttl", "hoplimit"):
                ip = ip._replace(ttl=int(value, 0))
            elif name == "flowlabel":
                ip = ip._replace(flow_label=int(value, 0))
            else:
                raise ValueError
        except ValueError:
            line = getattr(part, "line", 0)
            raise ScriptError(
                f"{item!r} is nothing that an IP header says: ect0, ce, tos 0x10, ttl 64 …", line
            ) from None
    return ip


def _packet(inbound: bool, ip: IpWanted, parts: list[Any], quote: str | None, line: int) -> Action:
    kind = parts[0].type
    if kind == "UDP":
        return UdpLine(inbound, ip, _in_parentheses(parts[1], line))
    if kind == "ICMP":
        return _icmp(inbound, ip, parts, quote)
    seq, end, length = map(int, _SEQUENCE.match(parts[1]).groups())  # type: ignore[union-attr]  # as its terminal
    if (end - seq) & 0xFFFFFFFF != length:
        raise ScriptError(f"{seq}:{end}({length}): from {seq} to {end} are {(end - seq) & 0xFFFFFFFF} bytes", line)
    if inbound and length > LARGEST_SEGMENT:
        raise ScriptError(f"{parts[1]}: no IP packet holds {length} bytes", line)
    flags = 0
    for letter in parts[0] if parts[0] != "-" else "":
        flags |= _FLAGS[letter]
    numbers: dict[str, int] = {}
    options: tuple[tuple[object, ...], ...] | None = ()
    for part in parts[2:]:
        if part.type == "OPTIONS":
            try:
                options = tcp_options.read(part)
            except ScriptError as error:
                raise ScriptError(str(error), part.line) from None
        else:
            name, number = part.split()
            numbers[name] = int(number)
            if numbers[name] > LARGEST[name]:
                raise ScriptError(f"{part}: it is {LARGEST[name]} at most", part.line)
    return TcpLine(
        inbound, ip, flags, seq, end, length, numbers.get("ack"), numbers.get("win"), numbers.get("urg"), options
    )


def _in_parentheses(text: str, line: int) -> int:
    inner = text[1:-1].strip()
    if not inner.isdigit():
        raise ScriptError(f"udp {text}: give the bytes of payload, as in udp (1000)", line)
    if int(inner) > LARGEST_SEGMENT:
        raise ScriptError(f"udp {text}: no IP packet holds so many bytes", line)
    return int(inner)


def _icmp(inbound: bool, ip: IpWanted, parts: list[Any], quote: str | None) -> IcmpLine:
    words, mtu = [], None
    for part in parts[1:]:
        if part is None:
            continue
        if part.type == "MTU":
            mtu = int(part.split()[1])
        elif part.type == "BRACKET":
            quote = part
        else:
            words.append(str(part))
    seq, udp = _SEQUENCE.match(quote or ""), _UDP_QUOTE.match(quote or "")
    if quote and not (seq or udp):
        raise ScriptError(f"{quote}: quote a segment as [1:1001(1000)] or a datagram as [udp (1000)]", parts[0].line)
    quoted = (int(seq[1]), int(seq[2]), int(seq[3])) if seq else None
    code = words[1] if len(words) > 1 else None
    return IcmpLine(inbound, ip, words[0], code, mtu, quoted, int(udp[1]) if udp else None)


def _unescaped(token: str) -> bytes:
    """The bytes of a string as C writes it."""
    out, at, text = b"", 0, token[1:-1]
    for found in _SYMBOLIC.finditer(text):
        out += text[at : found.start()].encode()
        code = found[1]
        out += bytes.fromhex(code[1:]) if code[0] == "x" and len(code) == 3 else _ESCAPES.get(code, code.encode())
        at = found.end()
    return out + text[at:].encode()
