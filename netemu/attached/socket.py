"""A socket of the emulated host: a descriptor of this process, and what only the host can answer asked of it.

Data goes through the descriptor and the kernel alone: recv, send, makefile, select, asyncio and subprocesses work as on any
socket. Names, options, bind, listen and connect are calls to the host, some 0.1 ms each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from typing import Any

import msgspec

from netemu.attached.arguments import Address, bytecode, checked, whole
from netemu.attached.channel import Channel
from netemu.attached.data import DataSocket
from netemu.runtime.broker.protocol import Accepted, Made
from netemu.stack import constants as so

_ANCILLARY = socket.CMSG_SPACE(4)
_LINGER_STEP = 0.002
_OWN = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO, socket.SO_RCVLOWAT)
"""Options of SOL_SOCKET that are for the descriptor, not for the host."""
_LINGER = struct.Struct("ii")


class AttachedSocket(DataSocket):
    """As socket.socket; made by AttachedHost.socket, accept or fromfd."""

    def __init__(self, channel: Channel, made: Made, descriptor: int, proto: int = 0) -> None:
        """``proto``: what to show for it; asyncio sets TCP_NODELAY only where this says TCP."""
        super().__init__(made.family, made.kind, proto, fileno=descriptor)
        self._channel = channel
        self._id = made.id
        self._linger = 0
        """Seconds that close waits for the peer."""
        self._is_untold = False
        """The connection is there, but connect has not said so: it will, once, instead of EISCONN."""
        self._learn(made)

    def _learn(self, made: Made) -> None:
        self._state = made.state
        self._local: Address = made.local
        self._peer = made.peer

    def __repr__(self) -> str:
        if self.fileno() < 0:
            return f"<netemu socket s{self._id} closed {self._local}>"
        names = f"laddr={self._shown(self._local)}" + (f", raddr={self._shown(self._peer)}" if self._peer else "")
        what = f"family={self.family!s}, type={self.type!s}, proto={self.proto}"
        return f"<netemu socket s{self._id} fd={self.fileno()}, {what}, {self._state}, {names}>"

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
        own = [(option, super(DataSocket, self).getsockopt(socket.SOL_SOCKET, option, 16)) for option in _OWN]
        os.dup2(descriptor, self.fileno(), os.get_inheritable(self.fileno()))
        os.close(descriptor)
        for option, value in own:
            super().setsockopt(socket.SOL_SOCKET, option, value)
        os.set_blocking(self.fileno(), self.gettimeout() is None)

    def _check_open(self) -> None:
        if self.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def bind(self, address: Any) -> None:
        self._check_open()
        self._ask("bind", *checked(address, self.family))

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        self._ask("listen", max(whole(backlog), 0))

    def connect(self, address: Any) -> None:
        """As socket.connect: blocking, within the timeout, or EINPROGRESS."""
        self._check_open()
        where = checked(address, self.family)
        if self._state == "connecting":
            self._ask("finish")
            return
        if self._is_untold:
            self._is_untold = False
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
        if self._state == "datagram":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if self._state != "listening":
            raise OSError(errno.EINVAL, "the socket does not listen")
        message, ancillary = self._accepted(_ANCILLARY)
        if not message:
            raise OSError(errno.ENETDOWN, "the instance has ended, or somebody shut the listener down")
        accepted = msgspec.msgpack.decode(message, type=Accepted)
        if not ancillary:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        descriptor = int.from_bytes(ancillary[0][2][:4], "little")
        if accepted.pid != os.getpid():
            self._channel.tell("claim", accepted.id)
        made = Made(accepted.id, self.family, socket.SOCK_STREAM, accepted.state, accepted.local, accepted.peer)
        child = AttachedSocket(self._channel, made, descriptor, self.proto)
        child._linger = self._linger
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
        if self._peer is None and not self._is_over:
            self._ask("look")
        if self._peer is None or self._is_over:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._shown(self._peer)

    def _shown(self, address: Address) -> Any:
        """(address, port), and flow and scope behind for IPv6."""
        return (*address, 0, 0) if self.family == socket.AF_INET6 else tuple(address)

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None) -> None:
        self._check_open()
        if not isinstance(value, int):
            value = bytes(optlen or 0) if value is None else bytes(value)
        if level == socket.SOL_SOCKET and option in _OWN:
            super().setsockopt(level, option, value)
            return
        if isinstance(value, bytes) and (level, option) == (socket.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF):
            value = bytecode(value)
        self._channel.ask(type(None), "setsockopt", self._id, whole(level), whole(option), value)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER) and not isinstance(value, int):
            on, seconds = _LINGER.unpack_from(value)
            self._linger = seconds if on else 0

    def set_selector(self, what: str | bytes) -> None:
        """Who of this socket's SO_REUSEPORT group gets a connection or datagram: 'hash' (as ever), 'cpu', 'round-robin', or
        the instructions of a classic BPF program. EINVAL for anything else, or without SO_REUSEPORT."""
        self._check_open()
        self._channel.ask(type(None), "selector", self._id, what)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        self._check_open()
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self._pending_error()
        if level == socket.SOL_SOCKET and option in _OWN:
            return super().getsockopt(level, option, buflen)
        asked = whole(level), whole(option), whole(buflen)
        return self._channel.ask(int | bytes, "getsockopt", self._id, *asked)[0]  # type: ignore[arg-type]

    def _pending_error(self) -> int:
        """SO_ERROR: how connect went, or what ended the connection; read once."""
        if self._state == "connecting":
            try:
                self._ask("finish")
            except OSError as problem:
                return 0 if problem.errno == errno.EALREADY else problem.errno or errno.EIO
            self._is_untold = True
            return 0
        ended = super().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._state == "connected" else 0
        try:
            return self._channel.ask(int, "getsockopt", self._id, socket.SOL_SOCKET, socket.SO_ERROR, 0)[0] or ended
        except OSError:
            return ended

    def shutdown(self, how: int) -> None:
        self._check_open()
        if self._is_over:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if self._state == "connected":
            if how == socket.SHUT_RDWR:
                self._channel.tell("shutdown", self._id, how)
            super().shutdown(how)
        else:
            self._ask("shutdown", int(how))
            if self._state == "datagram" and how != socket.SHUT_WR:
                super().shutdown(socket.SHUT_RD)  # who waits for a datagram, or will, gets an empty one
                self._is_read_shut = True

    def _is_stream(self) -> bool:
        """Is the descriptor a connection's? One that is being made: it may be by now."""
        self._check_open()
        if self._state == "connecting":
            try:
                self._ask("finish")
            except BlockingIOError:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        return self._state == "connected"

    # -- the end, and copies ----------------------------------------------------------------------------------------------------

    def _real_close(self, *rest: Any) -> None:
        """Where close() ends once all that makefile() made is closed too."""
        is_connected = self._state == "connected" and self.fileno() >= 0  # it may have been detached
        if is_connected:
            self._channel.tell("close", self._id)
        super()._real_close(*rest)  # type: ignore[misc]  # typeshed hides it
        if is_connected and self._linger > 0:
            self._wait_until_sent()

    def _wait_until_sent(self) -> None:
        """SO_LINGER: close returns when the peer has acknowledged everything, or after that many seconds."""
        end = time.monotonic() + self._linger
        with contextlib.suppress(OSError):
            while time.monotonic() < end and self._channel.ask(bool, "lingers", self._id)[0]:
                time.sleep(_LINGER_STEP)

    def dup(self) -> AttachedSocket:
        self._check_open()
        made, _ = self._channel.ask(Made, "look", self._id)
        copy = AttachedSocket(self._channel, made, os.dup(self.fileno()), self.proto)
        copy.settimeout(self.gettimeout())
        copy._linger = self._linger
        return copy

    def __reduce__(self) -> Any:
        """For multiprocessing, which passes the descriptor itself."""
        from multiprocessing import reduction

        return _rebuild, (reduction.DupFd(self.fileno()), os.fspath(self._channel.path), self._channel.app)


def _rebuild(copied: Any, path: str, app: str) -> AttachedSocket:
    from pathlib import Path

    from netemu.attached.host import attach_at

    descriptor = copied.detach()
    try:
        return attach_at(Path(path), app).fromfd(descriptor)
    finally:
        os.close(descriptor)
