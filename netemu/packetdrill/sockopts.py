"""setsockopt and getsockopt, with values as C lays them out."""

from __future__ import annotations

import errno
from struct import Struct as Layout

from netemu.packetdrill.files import SocketFile
from netemu.packetdrill.outcome import Returned
from netemu.packetdrill.script import ELLIPSIS, Array, Call, ScriptError, Struct, Text
from netemu.packetdrill.values import describe
from netemu.packetdrill.world import Handler, World
from netemu.stack import constants as so

_INT, _PAIR, _TIMEVAL = Layout("<I"), Layout("<ii"), Layout("<qq")
_RECEIVE_TIMEOUT, _SEND_TIMEOUT = (so.SOL_SOCKET, 20), (so.SOL_SOCKET, 21)
ROOM = 1024
FRUITLESS = frozenset(
    ((so.SOL_SOCKET, 12), (so.SOL_SOCKET, 36), (so.SOL_SOCKET, 46), (so.IPPROTO_IP, 15), (so.IPPROTO_IPV6, 78))
)
"""SO_PRIORITY, SO_MARK, SO_BUSY_POLL, IP_FREEBIND, IPV6_FREEBIND: they change nothing that a script could see here."""


def _setsockopt(world: World, call: Call) -> Returned:
    fd, level, option, value, length = world.arguments(call, 5)
    file = world.socket(fd)
    which = world.values.number(level), world.values.number(option)
    data = _packed(world, value)[: world.values.number(length, ROOM)]
    if which in (_RECEIVE_TIMEOUT, _SEND_TIMEOUT):
        return _set_timeout(file, which, data)
    if which not in FRUITLESS:
        file.socket.setsockopt(*which, data)
    return Returned(0)


def _set_timeout(file: SocketFile, which: tuple[int, int], data: bytes) -> Returned:
    if len(data) < _TIMEVAL.size:
        raise OSError(errno.EINVAL, "struct timeval is wanted")
    seconds, micros = _TIMEVAL.unpack_from(data)
    duration = seconds * 1_000_000_000 + micros * 1000
    if which == _RECEIVE_TIMEOUT:
        file.receive_timeout = duration
    else:
        file.send_timeout = duration
    return Returned(0)


def _packed(world: World, value: object) -> bytes:
    """[1], {onoff=1, linger=0}, {tv_sec=1, tv_usec=0}, "cubic", 1 …"""
    match value:
        case Text(text):
            return text
        case Array(items):
            return b"".join(item.value if isinstance(item, Text) else _int(world, item) for item in items)
        case Struct():
            names = [field.name for field in value.fields]
            numbers = [world.values.number(field.value) for field in value.fields]
            if len(numbers) == 2:
                is_time = any(name in ("tv_sec", "sec") for name in names)
                return (_TIMEVAL if is_time else _PAIR).pack(*numbers)
            return b"".join(_INT.pack(number & 0xFFFFFFFF) for number in numbers)
        case "NULL":
            return b""
    return _int(world, value)


def _int(world: World, value: object) -> bytes:
    return _INT.pack(world.values.number(value) & 0xFFFFFFFF)


def _getsockopt(world: World, call: Call) -> Returned:
    fd, level, option, value, _ = world.arguments(call, 5)
    file = world.socket(fd)
    which = world.values.number(level), world.values.number(option)
    if which in (_RECEIVE_TIMEOUT, _SEND_TIMEOUT):
        duration = file.receive_timeout if which == _RECEIVE_TIMEOUT else file.send_timeout
        found = _TIMEVAL.pack(duration // 1_000_000_000, duration % 1_000_000_000 // 1000)
    elif which in FRUITLESS:
        found = bytes(4)
    else:
        answer = file.socket.getsockopt(*which, ROOM)
        found = answer if isinstance(answer, bytes) else _INT.pack(answer & 0xFFFFFFFF)
    if value is ELLIPSIS:
        return Returned(0)
    wanted = _packed(world, value)
    same = found.rstrip(b"\0") == wanted.rstrip(b"\0") if isinstance(value, Text) else found[: len(wanted)] == wanted
    return Returned(0, checks=() if same else ((str(option), _shown(wanted, value), _shown(found, value)),))


def _shown(data: bytes, like: object) -> str:
    if isinstance(like, Text):
        return repr(data.rstrip(b"\0").decode(errors="replace"))
    numbers = [int.from_bytes(data[at : at + 4], "little", signed=True) for at in range(0, min(len(data), 16), 4)]
    if not numbers:
        raise ScriptError(f"nothing to compare with {describe(like)}")
    return str(numbers[0] if isinstance(like, Array) and len(like.items) == 1 else numbers)


HANDLERS: dict[str, Handler] = {"setsockopt": _setsockopt, "getsockopt": _getsockopt}
