"""A socket of the emulated host: a descriptor of this process, and what only the host can answer asked of it.

Data goes through the descriptor and the kernel alone: recv, send, makefile, select, asyncio and subprocesses work as on any
socket. Names, options, bind, listen and connect are calls to the host, some 0.1 ms each.
"""

from __future__ import annotations

import errno
import operator
import os
import select
import socket
import struct
import time
from typing import Any, Self

import msgspec

from netemu.attached.channel import Channel
from netemu.runtime.broker.protocol import LARGEST, Accepted, Arrived, Made, Poke, Queued
from netemu.stack import constants as so

Address = tuple[str, int]
_FPROG = struct.Struct("H6xQ")  # linux/filter.h
_LEAST_POINTER = 1 << 40
"""No 64-bit process has its memory below; as two instructions it would return an index that no group has."""
_ANCILLARY = socket.CMSG_SPACE(4)


class AttachedSocket(socket.socket):
    """As socket.socket; made by AttachedHost.socket, accept or fromfd."""

    def __init__(self, channel: Channel, made: Made, descriptor: int) -> None:
        super().__init__(made.family, made.kind, 0, fileno=descriptor)
        self._channel = channel
        self._id = made.id
        self._learn(made)

    def _learn(self, made: Made) -> None:
        self._state = made.state
        self._local: Address = made.local
        self._peer = made.peer

    def __repr__(self) -> str:
        state = self._state if self.fileno() >= 0 else "closed"
        return f"<netemu socket s{self._id} {state} {self._local}{f' {self._peer}' if self._peer else ''}>"

    # -- names and states: the host's business ----------------------------------------------------------------------------------

    def _ask(self, operation: str, *arguments: object) -> None:
        """A call that may change state, names and descriptor."""
        try:
            made, descriptor = self._channel.ask(Made, operation, self._id, *arguments)
        except OSError as problem:
            descriptor = getattr(problem, "descriptor", -1)
            if descriptor >= 0:  # connect failed: the socket is as it was before
                self._become(descriptor)
                self._state = "fresh"
            raise
        self._become(descriptor)
        self._learn(made)

    def _become(self, descriptor: int) -> None:
        """Put ``descriptor`` in the place of ours, whose number stays."""
        if descriptor < 0:
            return
        os.dup2(descriptor, self.fileno(), os.get_inheritable(self.fileno()))
        os.close(descriptor)
        os.set_blocking(self.fileno(), self.gettimeout() is None)

    def _check_open(self) -> None:
        if self.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def bind(self, address: Any) -> None:
        self._check_open()
        self._ask("bind", *_checked(address))

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        self._ask("listen", _int(backlog))

    def connect(self, address: Any) -> None:
        """As socket.connect: blocking, within the timeout, or EINPROGRESS."""
        self._check_open()
        where = _checked(address)
        if self._state == "connecting":
            self._ask("finish")
            return
        self._ask("connect", *where)
        if self._state != "connecting":
            return
        timeout = self.gettimeout()
        if timeout == 0:
            raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
        self._wait_writable(timeout)
        self._ask("finish")

    def _wait_writable(self, timeout: float | None) -> None:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if poll.poll(None if left is None else left * 1000):
                return
            if left == 0:
                raise TimeoutError("timed out")

    def connect_ex(self, address: Any) -> int:
        try:
            self.connect(address)
        except TimeoutError as problem:
            return problem.errno or errno.EAGAIN
        except OSError as problem:
            return problem.errno or errno.EIO
        return 0

    def accept(self) -> tuple[AttachedSocket, Any]:
        """The next connection. Processes that share the descriptor each get different ones."""
        self._check_open()
        if self._state != "listening":
            raise OSError(errno.EINVAL, "the socket does not listen")
        message, ancillary, _, _ = super().recvmsg(LARGEST, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        if not message:
            raise OSError(errno.ENETDOWN, "the instance has ended, or somebody shut the listener down")
        accepted = msgspec.msgpack.decode(message, type=Accepted)
        if not ancillary:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        descriptor = int.from_bytes(ancillary[0][2][:4], "little")
        if accepted.pid != os.getpid():
            self._channel.tell("claim", accepted.id)
        made = Made(accepted.id, self.family, socket.SOCK_STREAM, accepted.state, accepted.local, accepted.peer)
        child = AttachedSocket(self._channel, made, descriptor)
        if socket.getdefaulttimeout() is None and self.gettimeout():
            child.setblocking(True)  # as socket.accept
        return child, self._shown(accepted.peer)

    def getsockname(self) -> Any:
        self._check_open()
        if self._state not in ("connected", "listening"):
            self._ask("look")
        return self._shown(self._local)

    def getpeername(self) -> Any:
        self._check_open()
        if self._peer is None:
            self._ask("look")
        if self._peer is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._shown(self._peer)

    def _shown(self, address: Address) -> Any:
        """(address, port), and flow and scope behind for IPv6."""
        return (*address, 0, 0) if self.family == socket.AF_INET6 else tuple(address)

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None) -> None:
        self._check_open()
        if not isinstance(value, int):
            value = bytes(optlen or 0) if value is None else bytes(value)
            if (level, option) == (socket.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF):
                value = bytecode(value)
        self._channel.ask(type(None), "setsockopt", self._id, _int(level), _int(option), value)

    def set_selector(self, what: str | bytes) -> None:
        """Who of this socket's SO_REUSEPORT group gets a connection or datagram: 'hash' (as ever), 'cpu', 'round-robin', or
        the instructions of a classic BPF program. EINVAL for anything else, or without SO_REUSEPORT."""
        self._check_open()
        self._channel.ask(type(None), "selector", self._id, what)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        self._check_open()
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self._pending_error()
        return self._channel.ask(int | bytes, "getsockopt", self._id, _int(level), _int(option), _int(buflen))[0]  # type: ignore[arg-type]

    def _pending_error(self) -> int:
        """SO_ERROR: how connect went, or what ended the connection; read once."""
        if self._state == "connecting":
            try:
                self._ask("finish")
            except OSError as problem:
                return 0 if problem.errno == errno.EALREADY else problem.errno or errno.EIO
            return 0
        ended = super().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._state == "connected" else 0
        try:
            return self._channel.ask(int, "getsockopt", self._id, socket.SOL_SOCKET, socket.SO_ERROR, 0)[0] or ended
        except OSError:
            return ended

    def shutdown(self, how: int) -> None:
        self._check_open()
        if self._state == "connected":
            if how == socket.SHUT_RDWR:
                self._channel.tell("shutdown", self._id, how)
            super().shutdown(how)
        else:
            self._ask("shutdown", int(how))

    # -- data: the kernel's business, but for the words of an error -------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._state == "connected" or self._is_stream():
            try:
                return super().recv(bufsize, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        return self.recvmsg(bufsize, 0, flags)[0]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if self._state == "connected" or self._is_stream():
            try:
                return super().recv_into(buffer, nbytes, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        if self._state == "connected" or self._is_stream():
            return self.recv(bufsize, flags), None
        data, _, _, address = self.recvmsg(bufsize, 0, flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        if self._state == "connected" or self._is_stream():
            return self.recv_into(buffer, nbytes, flags), None
        view = memoryview(buffer).cast("B")
        data, address = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), address

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0) -> tuple[int, list[Any], int, Any]:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, ancillary, flags, address = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        left = memoryview(data)
        for view in views:
            piece = left[: len(view)]
            view[: len(piece)] = piece
            left = left[len(piece) :]
        return len(data), ancillary, flags, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        if self._state == "connected" or self._is_stream():
            try:
                return super().recvmsg(bufsize, ancbufsize, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        if self._state != "datagram":
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._receive(bufsize, ancbufsize, flags)

    def _receive(self, bufsize: int, ancbufsize: int, flags: int) -> tuple[bytes, list[Any], int, Any]:
        """One datagram, or with MSG_ERRQUEUE one that failed, and why."""
        if flags & socket.MSG_ERRQUEUE:
            queued = self._channel.ask(Queued, "error_queue", self._id, bufsize, ancbufsize)[0]
            return queued.data, queued.ancillary, queued.flags, self._shown(queued.address)
        while True:
            message = super().recv(LARGEST, flags & (socket.MSG_PEEK | socket.MSG_DONTWAIT))
            if not message:
                raise OSError(errno.ENETDOWN, "the instance has ended")
            found = msgspec.msgpack.decode(message, type=Arrived | Poke)
            if isinstance(found, Arrived):
                break
            if flags & socket.MSG_PEEK:
                super().recv(LARGEST)
            number = self._pending_error()
            if number:
                raise OSError(number, os.strerror(number))
        data = found.data[:bufsize]
        cut = socket.MSG_TRUNC if len(data) < len(found.data) else 0
        return data, found.ancillary if ancbufsize else [], found.flags | cut, self._shown(found.address)

    def send(self, data: Any, flags: int = 0) -> int:
        if self._state == "connected" or self._is_stream():
            try:
                return super().send(data, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        if self._state == "datagram":
            return self._send(data, [], flags, None)
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._state == "connected" or self._is_stream():
            try:
                return super().sendall(data, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        self.send(data, flags)
        return None

    def sendto(self, data: Any, *rest: Any) -> int:
        if not 1 <= len(rest) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(rest) + 1} given)")
        flags, address = (0, rest[0]) if len(rest) == 1 else (rest[0], rest[1])
        self._check_open()
        if self._state == "datagram":
            return self._send(data, [], flags, _checked(address))
        return self.send(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        if not self._is_stream():
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return super().sendfile(file, offset, count)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        if self._state == "connected" or self._is_stream():
            try:
                return super().sendmsg(buffers, ancdata, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        if self._state == "datagram":
            wanted = [(level, kind, bytes(value)) for level, kind, value in ancdata]
            return self._send(b"".join(buffers), wanted, flags, None if address is None else _checked(address))
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _send(self, data: Any, ancillary: list[Any], flags: int, address: Address | None) -> int:
        return self._channel.ask(int, "sendmsg", self._id, bytes(data), ancillary, flags, address)[0]

    def _is_stream(self) -> bool:
        """Is the descriptor a connection's? One that is being made: it may be by now."""
        self._check_open()
        if self._state == "connecting":
            try:
                self._ask("finish")
            except BlockingIOError:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        return self._state == "connected"

    def _what_ended(self, problem: OSError) -> OSError:
        """The connection's own errno: for the kernel every end but a good one is a reset of the descriptor."""
        number = self._pending_error()
        return OSError(number, os.strerror(number)) if number else problem

    # -- the end, and copies ----------------------------------------------------------------------------------------------------

    def _real_close(self, *rest: Any) -> None:
        """Where close() ends once all that makefile() made is closed too."""
        if self._state == "connected":
            self._channel.tell("close", self._id)
        super()._real_close(*rest)  # type: ignore[misc]  # typeshed hides it

    def dup(self) -> Self:
        self._check_open()
        made, _ = self._channel.ask(Made, "look", self._id)
        copy = type(self)(self._channel, made, os.dup(self.fileno()))
        copy.settimeout(self.gettimeout())
        return copy

    def __reduce__(self) -> Any:
        """For multiprocessing, which passes the descriptor itself."""
        from multiprocessing import reduction

        return _rebuild, (reduction.DupFd(self.fileno()), os.fspath(self._channel.path), self._channel.app)


def bytecode(value: bytes) -> bytes:
    """The instructions themselves, where ``value`` is the kernel's struct sock_fprog: their number, and a pointer to them."""
    if len(value) != _FPROG.size:
        return value
    count, pointer = _FPROG.unpack(value)
    if value[2:8] != bytes(6) or pointer < _LEAST_POINTER:
        return value  # two instructions
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), 8 * count, pointer)
    except (OSError, OverflowError):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None


def _int(value: Any) -> int:
    """What C takes for an int; TypeError and OverflowError as socket.socket raises them."""
    number = operator.index(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError("Python int too large to convert to C int")
    return number


def _rebuild(copied: Any, path: str, app: str) -> AttachedSocket:
    from pathlib import Path

    from netemu.attached.host import attach_at

    descriptor = copied.detach()
    try:
        return attach_at(Path(path), app).fromfd(descriptor)
    finally:
        os.close(descriptor)


def _checked(address: Any) -> Address:
    """(address, port) of what socket.connect and bind take; TypeError and OverflowError as they raise."""
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        raise TypeError(f"address must be a tuple (host, port), not {address!r}")
    host, port = address[0], address[1]
    if not isinstance(port, int):
        raise TypeError("port must be an int")
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    if host == "localhost":
        host = "127.0.0.1"
    elif host == "<broadcast>":
        host = "255.255.255.255"
    return host, port
