"""The system calls that scripts make: sockets, names, ends, descriptors. Data is in transfer, waiting in polling."""

from __future__ import annotations

import errno

from netemu.packetdrill import polling, sockopts, transfer
from netemu.packetdrill.files import File, Pipe, PipeEnd, PlainFile, SocketFile
from netemu.packetdrill.outcome import Returned, Unsupported
from netemu.packetdrill.script import ELLIPSIS, Array, Call, ScriptError, Text
from netemu.packetdrill.settings import IPV4
from netemu.packetdrill.symbols import BLOCKING_FLAGS
from netemu.packetdrill.world import Handler, Waiting, World
from netemu.stack import constants as so
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.config import SECOND
from netemu.tcp.state import State

O_RDWR = 2
_UNDELIVERED = (State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)
SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, FIONBIO, SIOCATMARK = 0x541B, 0x5411, 0x894B, 0x5421, 0x8905


def begin(world: World, call: Call) -> Returned | Waiting:
    """Make the call: what it returned, or a generator that waits for it. Unsupported for a call that there is not."""
    handler = HANDLERS.get(call.name)
    if handler is None:
        raise Unsupported(f"the call {call.name} is not known")
    try:
        made = handler(world, call)
    except OSError as error:
        made = Returned(-1, error.errno or errno.EIO)
    return made if isinstance(made, Returned) else _guarded(made)


def _guarded(waiting: Waiting) -> Waiting:
    try:
        return (yield from waiting)
    except OSError as error:
        return Returned(-1, error.errno or errno.EIO)


# -- sockets ------------------------------------------------------------------------------------------------------------------


def _socket(world: World, call: Call) -> Returned:
    family, kind, protocol = world.arguments(call, 3)
    usual = so.AF_INET if world.settings.ip_version == IPV4 else so.AF_INET6
    number, bits = world.values.number(family, usual), world.values.number(kind)
    wanted = world.values.number(protocol, 0)
    if wanted not in (0, {so.SOCK_STREAM: so.IPPROTO_TCP, so.SOCK_DGRAM: so.IPPROTO_UDP}.get(bits & 0xF)):
        if wanted == 262:
            raise Unsupported("MPTCP is not there")
        raise OSError(errno.EPROTONOSUPPORT, "not that protocol")
    made = world.machine.host.socket(number, bits & 0xF, app="script")
    return Returned(0, made=SocketFile(socket=made, nonblocking=bool(bits & BLOCKING_FLAGS)))


def _bind(world: World, call: Call) -> Returned:
    fd, address, _ = world.arguments(call, 3)
    socket = world.socket(fd).socket
    usual = world.usual_address(socket, world.settings.bind_port, ours=True)
    socket.bind(world.values.address(address, usual, socket.is_ipv6))
    return Returned(0)


def _listen(world: World, call: Call) -> Returned:
    fd, backlog = world.arguments(call, 2)
    socket = world.socket(fd).socket
    socket.listen(world.values.number(backlog))
    if isinstance(socket, StreamSocket):
        world.listens(socket)
    return Returned(0)


def _accept(world: World, call: Call) -> Waiting:
    fd, _, _, *flags = world.arguments(call, 3, 4)
    listening = world.socket(fd)
    deadline = _deadline(world, listening.receive_timeout)
    while True:
        try:
            child, _ = listening.socket.accept()
            break
        except BlockingIOError:
            if listening.nonblocking or _is_over(world, deadline):
                raise
            yield deadline
    bits = world.values.number(flags[0]) if flags else 0
    made = SocketFile(socket=child, nonblocking=bool(bits & BLOCKING_FLAGS))
    if world.machine.flow is not None and world.machine.connection_owner() is child:
        world.under_test = child
    return Returned(0, made=made)


def _deadline(world: World, timeout: int) -> int | None:
    return world.machine.now + timeout if timeout else None


def _is_over(world: World, deadline: int | None) -> bool:
    return deadline is not None and world.machine.now >= deadline


def _connect(world: World, call: Call) -> Waiting:
    fd, address, _ = world.arguments(call, 3)
    file = world.socket(fd)
    socket = file.socket
    if address == "AF_UNSPEC":
        disconnect = getattr(socket, "disconnect", None)
        if disconnect is None:
            raise Unsupported("connect(AF_UNSPEC) of a TCP socket is not there")
        disconnect()
        return Returned(0)
    target = world.values.address(
        address, world.usual_address(socket, world.settings.connect_port, ours=False), socket.is_ipv6
    )
    deadline = _deadline(world, file.send_timeout)
    while True:
        try:
            socket.connect(target)
            return Returned(0)
        except BlockingIOError as error:
            world.adopt(file)
            if file.nonblocking or _is_over(world, deadline):
                raise OSError(errno.EINPROGRESS if deadline else error.errno or 0, "in progress") from None
            yield deadline


def _shutdown(world: World, call: Call) -> Returned:
    fd, how = world.arguments(call, 2)
    world.socket(fd).socket.shutdown(world.values.number(how))
    return Returned(0)


def _close(world: World, call: Call) -> Waiting:
    (fd,) = world.arguments(call, 1)
    file = world.file(fd)
    del world.files[world.values.number(fd)]
    if isinstance(file, PipeEnd):
        file.pipe.ends -= 1
    if not isinstance(file, SocketFile):
        return Returned(0)
    socket = file.socket
    c = socket.connection if isinstance(socket, StreamSocket) else None
    linger = socket.linger if isinstance(socket, StreamSocket) else -1
    socket.close()
    if c is not None and linger > 0:  # socket(7): until all that was sent is acknowledged, or so long
        deadline = world.machine.now + linger * SECOND
        while c.state in _UNDELIVERED and not _is_over(world, deadline):
            yield deadline
    return Returned(0)


def _getsockname(world: World, call: Call) -> Returned:
    fd, given, _ = world.arguments(call, 3)
    socket = world.socket(fd).socket
    found = socket.getsockname() if call.name == "getsockname" else socket.getpeername()
    wanted = world.values.address(given, found, socket.is_ipv6)
    checks = (("address", str(wanted), str(found)),) if given is not ELLIPSIS and wanted != found else ()
    return Returned(0, checks=checks)


# -- descriptors --------------------------------------------------------------------------------------------------------------


def _fcntl(world: World, call: Call) -> Returned:
    fd, command, *value = world.arguments(call, 2, 3)
    file = world.file(fd)
    match command:
        case "F_GETFL":
            return Returned(O_RDWR | (BLOCKING_FLAGS if file.nonblocking else 0))
        case "F_SETFL":
            file.nonblocking = bool(world.values.number(value[0] if value else 0) & BLOCKING_FLAGS)
            return Returned(0)
        case "F_GETFD" | "F_SETFD":
            return Returned(0)
    raise Unsupported(f"fcntl {command} is not known")


def _ioctl(world: World, call: Call) -> Returned:
    fd, request, *rest = world.arguments(call, 2, 3)
    file, number = world.file(fd), world.values.number(request)
    given = rest[0] if rest else ELLIPSIS
    if number == FIONBIO:
        file.nonblocking = bool(world.values.number(given))
        return Returned(0)
    found = _queue_length(file, number)
    expected = world.values.number(given, found)
    return Returned(0, checks=((str(request), str(expected), str(found)),) if expected != found else ())


def _queue_length(file: File, request: int) -> int:
    """tcp(7)'s SIOCINQ and SIOCOUTQ, and the part of the latter that was not sent yet."""
    if not isinstance(file, SocketFile) or not isinstance(file.socket, StreamSocket):
        raise OSError(errno.ENOTTY, "not a TCP socket")
    c = file.socket.connection
    if file.socket.listener is not None:
        raise OSError(errno.EINVAL, "the socket listens")
    if request not in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK):
        raise OSError(errno.ENOTTY, "no such request")
    if c is None or c.state in (State.SYN_SENT, State.SYN_RECEIVED):
        return 0
    if request == SIOCINQ:
        return c.received_bytes
    if request == SIOCATMARK:
        return int(bool(c.rcv_up) and not c.urgent_bytes)
    if c.state is State.CLOSED:
        return 0
    fin = int(c.state in _UNDELIVERED)
    end = c.sendbuf.end + fin
    return max(0, end - (c.snd_una if request == SIOCOUTQ else c.snd_nxt))


def _pipe(world: World, call: Call) -> Returned:
    (ends, *_) = world.arguments(call, 1, 2)
    if not isinstance(ends, Array) or len(ends.items) != 2:
        raise ScriptError("pipe takes an array of two descriptors")
    pipe = Pipe()
    for index, end in enumerate(ends.items):
        world.files[world.values.number(end)] = PipeEnd(pipe=pipe, writes_to=bool(index))
    return Returned(0)


def _open(world: World, call: Call) -> Returned:
    """The files that the script's own commands made, and /dev/zero: nothing of this machine."""
    name, _, *_ = world.arguments(call, 2, 3)
    if not isinstance(name, Text):
        raise ScriptError("open takes the name of a file")
    path = name.value.decode(errors="replace")
    if path != "/dev/zero" and path not in world.disk:
        raise OSError(errno.ENOENT, path)
    return Returned(0, made=PlainFile(data=world.disk.get(path)))


HANDLERS: dict[str, Handler] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "connect": _connect,
    "shutdown": _shutdown,
    "close": _close,
    "getsockname": _getsockname,
    "getpeername": _getsockname,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "pipe": _pipe,
    "pipe2": _pipe,
    "open": _open,
    **sockopts.HANDLERS,
    **transfer.HANDLERS,
    **polling.HANDLERS,
}
