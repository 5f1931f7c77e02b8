"""The calls that move data: read, write and their kin, sendmsg and recvmsg, splice and sendfile."""

from __future__ import annotations

import errno
from collections.abc import Generator

from netemu.packetdrill.files import PIPE_CAPACITY, File, PipeEnd, PlainFile, SocketFile
from netemu.packetdrill.outcome import Returned, Unsupported
from netemu.packetdrill.script import ELLIPSIS, Array, Call, ScriptError, Struct, Text
from netemu.packetdrill.symbols import flags_text
from netemu.packetdrill.values import Address, describe
from netemu.packetdrill.world import DONTWAIT, Handler, Waiting, World
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.stream_socket import StreamSocket

WAITALL, FASTOPEN = 0x100, 0x20000000
ROOM_FOR_CONTROL = 512
SPLICE_NONBLOCK = 2
Checks = list[tuple[str, str, str]]


# -- out ----------------------------------------------------------------------------------------------------------------------


def _write(world: World, call: Call) -> Waiting:
    fd, buffer, count = world.arguments(call, 3)
    return _out(world, world.file(fd), world.values.data(buffer, world.values.number(count)))


def _writev(world: World, call: Call) -> Waiting:
    fd, iov, _ = world.arguments(call, 3)
    return _out(world, world.file(fd), _gathered(world, iov))


def _gathered(world: World, iov: object) -> bytes:
    return b"".join(world.values.data(buffer, size) for buffer, size in world.values.buffers(iov))


def _send(world: World, call: Call) -> Waiting:
    fd, buffer, count, flags = world.arguments(call, 4)
    data = world.values.data(buffer, world.values.number(count))
    return _out(world, world.socket(fd), data, world.values.number(flags))


def _sendto(world: World, call: Call) -> Waiting:
    fd, buffer, count, flags, address, _ = world.arguments(call, 6)
    data, file = world.values.data(buffer, world.values.number(count)), world.socket(fd)
    return _out(world, file, data, world.values.number(flags), _target(world, file, address))


def _sendmsg(world: World, call: Call) -> Waiting:
    fd, message, flags = world.arguments(call, 3)
    file = world.socket(fd)
    if not isinstance(message, Struct):
        raise ScriptError(f"sendmsg takes a struct msghdr, not {describe(message)}")
    data = _gathered(world, message.get("msg_iov", Array(())))
    bits = world.values.number(flags)
    named = message.get("msg_name") if bits & FASTOPEN or isinstance(message.get("msg_name"), Struct) else None
    return _out(world, file, data, bits, _target(world, file, named))


def _target(world: World, file: SocketFile, address: object) -> Address | None:
    if address is None or address == "NULL" or address == 0:
        return None
    socket = file.socket
    if address is ELLIPSIS and socket.peer is not None:
        return None
    return world.values.address(
        address, world.usual_address(socket, world.settings.connect_port, ours=False), socket.is_ipv6
    )


def _out(world: World, file: File, data: bytes, flags: int = 0, to: Address | None = None) -> Waiting:
    """All of it where the file is a blocking one; else what there is room for."""
    if isinstance(file, PipeEnd):
        return Returned((yield from _into_pipe(file, data)))
    if not isinstance(file, SocketFile):
        raise OSError(errno.EBADF, "not open for writing")
    if isinstance(file.socket, DatagramSocket):
        return Returned(file.socket.sendmsg(data, (), flags & ~DONTWAIT, to) if to or flags else file.socket.send(data))
    sent, deadline = 0, world.machine.now + file.send_timeout if file.send_timeout else None
    waits = not file.nonblocking and not flags & DONTWAIT
    while True:
        try:
            sent += _send_some(file.socket, data[sent:], flags, to if not sent else None)
        except BlockingIOError:
            if not waits or (deadline is not None and world.machine.now >= deadline):
                if sent:
                    break
                raise
            world.adopt(file)
            yield deadline
            continue
        except OSError:
            if sent:
                break
            raise
        if sent >= len(data):
            break
    return Returned(sent)


def _send_some(socket: StreamSocket, data: bytes, flags: int, to: Address | None) -> int:
    """One try. Flags and an address go to the socket where it takes them."""
    if flags & FASTOPEN or to is not None:
        sendto = getattr(socket, "sendto", None)
        if flags & FASTOPEN and sendto is None:
            raise Unsupported("MSG_FASTOPEN is not there")
        if sendto is not None and to is not None:
            return int(sendto(data, flags, to))
    if flags & so.MSG_OOB:
        return _send_urgent(socket, data)
    kept = flags & ~(DONTWAIT | 0x4000 | 0x4000000)  # MSG_NOSIGNAL, MSG_ZEROCOPY: nothing to see here
    if kept:
        raise Unsupported(f"send with {flags_text(kept, 'MSG_')} is not there")
    return socket.send(data) if data else 0


def _send_urgent(socket: StreamSocket, data: bytes) -> int:
    c = socket.connection
    if c is None:
        raise OSError(errno.EPIPE, "not connected")
    piece = data[: c.writable_bytes]
    if not piece and data:
        raise BlockingIOError(errno.EAGAIN, "no room")
    c.write_urgent(piece)
    socket.host.wake(c)
    return len(piece)


def _into_pipe(file: PipeEnd, data: bytes) -> Generator[int | None, None, int]:
    if not file.writes_to:
        raise OSError(errno.EBADF, "the reading end")
    while len(file.pipe.data) >= PIPE_CAPACITY:
        if file.nonblocking:
            raise BlockingIOError(errno.EAGAIN, "the pipe is full")
        yield None
    piece = data[: PIPE_CAPACITY - len(file.pipe.data)]
    file.pipe.data += piece
    return len(piece)


# -- in -----------------------------------------------------------------------------------------------------------------------


def _read(world: World, call: Call) -> Waiting:
    fd, buffer, count = world.arguments(call, 3)
    return _in(world, world.file(fd), [(buffer, world.values.number(count))], 0)


def _readv(world: World, call: Call) -> Waiting:
    fd, iov, _ = world.arguments(call, 3)
    return _in(world, world.file(fd), world.values.buffers(iov), 0)


def _recv(world: World, call: Call) -> Waiting:
    fd, buffer, count, flags, *_ = world.arguments(call, 4 if call.name == "recv" else 6)
    return _in(world, world.socket(fd), [(buffer, world.values.number(count))], world.values.number(flags))


def _recvmsg(world: World, call: Call) -> Waiting:
    fd, message, flags = world.arguments(call, 3)
    if not isinstance(message, Struct):
        raise ScriptError(f"recvmsg takes a struct msghdr, not {describe(message)}")
    buffers = world.values.buffers(message.get("msg_iov", Array(())))
    return _in(world, world.socket(fd), buffers, world.values.number(flags), message)


def _in(
    world: World, file: File, buffers: list[tuple[object, int]], flags: int, message: Struct | None = None
) -> Waiting:
    """What there is, up to the buffers' sizes; it waits for the first byte where the file is a blocking one."""
    limit = sum(size for _, size in buffers)
    if isinstance(file, PlainFile):
        return Returned(len(file.read(limit)))
    if isinstance(file, PipeEnd):
        taken = file.pipe.data[:limit]
        del file.pipe.data[:limit]
        return Returned(len(taken))
    if not isinstance(file, SocketFile):
        raise OSError(errno.EINVAL, "not open for reading")
    deadline = world.machine.now + file.receive_timeout if file.receive_timeout else None
    waits = not file.nonblocking and not flags & (DONTWAIT | so.MSG_ERRQUEUE)
    least = limit if flags & WAITALL and waits else 1
    data, answered, items = b"", 0, list[tuple[int, int, bytes]]()
    while True:
        try:
            piece, items, answered = _receive_some(file, limit - len(data), flags)
            data += piece
            if len(data) >= least or not piece:
                break
        except BlockingIOError:
            if not waits or (deadline is not None and world.machine.now >= deadline):
                if data:
                    break
                raise
            yield deadline
    checks = _content_checks(buffers, data)
    if message is not None:
        checks += _message_checks(world, message, answered, items)
    return Returned(len(data), checks=tuple(checks))


def _receive_some(file: SocketFile, limit: int, flags: int) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    """(data, ancillary data, flags of the answer)."""
    socket = file.socket
    if isinstance(socket, DatagramSocket):
        data, items, answered, _ = socket.recvmsg(limit, ROOM_FOR_CONTROL, flags & ~DONTWAIT)
        return data, items, answered
    if flags & so.MSG_ERRQUEUE:
        raise BlockingIOError(errno.EAGAIN, "nothing in the error queue")
    if flags & so.MSG_OOB:
        recv = getattr(socket, "recv_urgent", None)
        if recv is None:
            raise OSError(errno.EINVAL, "urgent data is in line here")
        return bytes(recv(limit)), [], so.MSG_OOB
    if flags & so.MSG_PEEK:
        c = socket.connection
        waiting = b"".join(bytes(piece) for piece in c.received)[:limit] if c is not None else b""
        if waiting:
            return waiting, [], 0
    return _drained(socket, limit), [], 0


def _drained(socket: StreamSocket, limit: int) -> bytes:
    """As recv(2): everything that is there, up to ``limit``."""
    data = socket.recv(limit)
    while data and len(data) < limit:
        c = socket.connection
        if c is None or not c.received:
            break
        data += socket.recv(limit - len(data))
    return data


def _content_checks(buffers: list[tuple[object, int]], data: bytes) -> Checks:
    """Where the script gives a string, its bytes are compared."""
    checks, at = Checks(), 0
    for buffer, size in buffers:
        if isinstance(buffer, Text):
            found = data[at : at + size]
            if not (found.startswith(buffer.value) if buffer.more else found == buffer.value[:size]):
                checks.append(("data", repr(buffer.value), repr(found)))
        at += size
    return checks


def _message_checks(world: World, message: Struct, flags: int, items: list[tuple[int, int, bytes]]) -> Checks:
    checks = Checks()
    wanted = message.get("msg_flags", ELLIPSIS)
    if wanted is not ELLIPSIS and world.values.number(wanted) & ~so.MSG_ERRQUEUE != flags & ~so.MSG_ERRQUEUE:
        checks.append(("msg_flags", flags_text(world.values.number(wanted), "MSG_"), flags_text(flags, "MSG_")))
    control = message.get("msg_control", ELLIPSIS)
    if isinstance(control, Array):
        expected = [_control(world, item) for item in control.items]
        if [(level, kind) for level, kind, _ in expected] != [(level, kind) for level, kind, _ in items]:
            checks.append(("msg_control", str([e[:2] for e in expected]), str([i[:2] for i in items])))
        for (_, kind, value), (_, _, found) in zip(expected, items, strict=False):
            number = int.from_bytes(found[:4], "little", signed=True)
            if value is not None and value != number:
                checks.append((f"cmsg_data of type {kind}", str(value), str(number)))
    return checks


def _control(world: World, item: object) -> tuple[int, int, int | None]:
    """(level, type, value or None for a struct that is not looked into) of a struct cmsghdr."""
    if not isinstance(item, Struct):
        raise ScriptError(f"a struct cmsghdr is wanted, not {describe(item)}")
    data = item.get("cmsg_data", ELLIPSIS)
    value = None if data is ELLIPSIS or isinstance(data, Struct) else world.values.number(data)
    return world.values.number(item.get("cmsg_level", 0)), world.values.number(item.get("cmsg_type", 0)), value


# -- between files ------------------------------------------------------------------------------------------------------------


def _splice(world: World, call: Call) -> Waiting:
    source, _, target, _, count, flags = world.arguments(call, 6)
    out = world.file(target)
    if not isinstance(out, PipeEnd) and not isinstance(world.file(source), PipeEnd):
        raise OSError(errno.EINVAL, "one of the two is a pipe")
    bits = DONTWAIT if world.values.number(flags) & SPLICE_NONBLOCK else 0
    return _moved(world, world.file(source), out, world.values.number(count), bits)


def _sendfile(world: World, call: Call) -> Waiting:
    target, source, offset, count = world.arguments(call, 4)
    file = world.file(source)
    if not isinstance(file, PlainFile):
        raise OSError(errno.EINVAL, "not a file that can be mapped")
    if isinstance(offset, Array):
        file.position = world.values.number(offset)
    return _out(world, world.file(target), file.read(world.values.number(count)))


def _moved(world: World, source: File, target: File, count: int, flags: int) -> Waiting:
    if isinstance(source, SocketFile) and isinstance(source.socket, StreamSocket):
        while True:
            try:
                data = _drained(source.socket, count)
                break
            except BlockingIOError:
                if source.nonblocking or flags:
                    raise
                yield None
    elif isinstance(source, PipeEnd):
        data = bytes(source.pipe.data[:count])
        del source.pipe.data[:count]
    else:
        raise OSError(errno.EINVAL, "not to be spliced")
    if not data:
        return Returned(0)
    return (yield from _out(world, target, data, flags))


HANDLERS: dict[str, Handler] = {
    "write": _write,
    "writev": _writev,
    "send": _send,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
    "read": _read,
    "readv": _readv,
    "recv": _recv,
    "recvfrom": _recv,
    "recvmsg": _recvmsg,
    "splice": _splice,
    "sendfile": _sendfile,
}
