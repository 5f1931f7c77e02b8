"""Expressions of a script to numbers, bytes and addresses."""

from __future__ import annotations

from ipaddress import ip_address

from netemu.packetdrill.outcome import Unsupported
from netemu.packetdrill.script import Apply, Array, Ellipsis_, Or, ScriptError, Struct, Text
from netemu.packetdrill.settings import MAPPED, Settings
from netemu.packetdrill.symbols import SYMBOLS

Address = tuple[str, int]
MOST = 1 << 28
"""Bytes of a buffer: no script needs more, and they are really there."""


class Values:
    """What expressions mean, with the symbols of --define before Linux' own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def number(self, expression: object, default: int | None = None) -> int:
        """An int; ``default`` for ``...``. ScriptError for what is no number."""
        match expression:
            case int():
                return expression
            case str():
                return self._symbol(expression)
            case Or(parts):
                value = 0
                for part in parts:
                    value |= self.number(part)
                return value
            case Apply("htons" | "htonl" | "ntohs" | "ntohl", (argument,)):
                return self.number(argument)
            case Array((single,)):
                return self.number(single, default)
            case Ellipsis_() if default is not None:
                return default
        raise ScriptError(f"a number is wanted here, not {describe(expression)}")

    def _symbol(self, name: str) -> int:
        meaning = self.settings.defines.get(name)
        if meaning is not None:
            parts = [part.strip() for part in meaning.split("|")]
            value = 0
            for part in parts:
                value |= SYMBOLS[part] if part in SYMBOLS else _int(part, name)
            return value
        if name not in SYMBOLS:
            raise Unsupported(f"the symbol {name} is not known")
        return SYMBOLS[name]

    def data(self, buffer: object, count: int) -> bytes:
        """The bytes to send: zeros for ``...``, and behind a string that is shorter."""
        if not 0 <= count <= MOST:
            raise ScriptError(f"{count} bytes are no size for a buffer: 0 to {MOST}")
        if isinstance(buffer, Text):
            return buffer.value[:count].ljust(count, b"\0")
        return bytes(count)

    def buffers(self, iov: object) -> list[tuple[object, int]]:
        """(buffer, length) of each struct iovec."""
        if not isinstance(iov, Array):
            raise ScriptError(f"an array of iovec is wanted, not {describe(iov)}")
        return [self._buffer(item) for item in iov.items]

    def _buffer(self, item: object) -> tuple[object, int]:
        if not isinstance(item, Struct) or len(item.fields) != 2:
            raise ScriptError(f"an iovec is {{buffer, length}}, not {describe(item)}")
        return item.at(0), self.number(item.at(1))

    def address(self, given: object, usual: Address, is_ipv6: bool) -> Address:
        """A struct sockaddr; ``usual`` for ``...``."""
        if not isinstance(given, Struct):
            return usual
        port = self.number(given.get("sin_port", given.get("sin6_port", 0)), usual[1])
        written = given.get("sin_addr", given.get("sin6_addr"))
        match written:
            case Apply("inet_addr", (Text(name),)) | Apply("inet_pton", (_, Text(name))):
                text = name.decode(errors="replace")
            case "INADDR_ANY":
                text = "0.0.0.0"
            case None | Ellipsis_():
                return usual[0], port
            case _:
                raise ScriptError(f'an address is inet_addr("…"), not {describe(written)}')
        return self.in_family(_checked(text), is_ipv6), port

    def in_family(self, address: str, is_ipv6: bool) -> str:
        """As a socket of this family has it."""
        if is_ipv6 and ":" not in address and self.settings.ip_version == MAPPED:
            return f"::ffff:{address}"
        return address


def _int(text: str, name: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Unsupported(f"--define {name}={text}: the symbol {text} is not known") from None


def _checked(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ScriptError(f"{text!r} is no IP address") from None


def describe(expression: object) -> str:
    match expression:
        case Ellipsis_():
            return "..."
        case Text(value):
            return repr(value.decode(errors="replace"))
        case Array():
            return "an array"
        case Struct():
            return "a struct"
    return str(expression)
