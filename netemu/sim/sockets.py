"""Sockets whose calls block in virtual time: socket.socket's methods, with the errno that Linux gives."""

from __future__ import annotations

import errno
import os
import socket as real
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from netemu.sim.waiting import Operation, Source
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.sim.hosts import SimHost

T = TypeVar("T")
Address = tuple[str, int] | tuple[str, int, int, int]
"""As socket.socket's; the host may also be the name of one in the simulation."""


class SimSocket(Source):
    """A socket of a simulated host (SimHost.socket, accept). Without a timeout a call waits as long as it takes, in virtual
    time; if nothing is left to happen it raises Deadlock. close returns at once, whatever SO_LINGER says.

    In a generator a call that may wait returns what has to be yielded, and the yield brings what stands here.
    """

    def __init__(self, host: SimHost, raw: StreamSocket | DatagramSocket) -> None:
        super().__init__(host.runner)
        self.host = host
        self.raw = raw
        """The stack's own, which never blocks."""
        self.family = real.AddressFamily(raw.family)
        self.type = real.SOCK_STREAM if raw.is_stream else real.SOCK_DGRAM
        self.proto = 0
        self._timeout: float | None = None
        self._is_closed = False
        self._io_refs = 0
        """Files of makefile that are open (socket.SocketIO's word): the socket closes with the last one."""
        self._is_close_wanted = False
        raw.on_event = self._on_event

    def __str__(self) -> str:
        raw = self.raw
        whose = f"s{raw.id} of app {raw.app}" if raw.app else f"s{raw.id}"
        return f"on {whose} at {self.host.name}, {raw.state_name}" + (f" with {_peer(raw)}" if raw.peer else "")

    def __repr__(self) -> str:
        return f"<socket {'closed ' if self._is_closed else ''}{self}>"

    def __enter__(self) -> SimSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- calls that may wait ----------------------------------------------------------------------------------------------

    def connect(self, address: Address) -> Any:
        """As socket.connect: waits for the answer, or with a timeout of 0 raises BlockingIOError(EINPROGRESS). Returns None."""
        return self._wait("connect", lambda: self._open().connect(self._at_host(address)))

    def connect_ex(self, address: Address) -> int:
        """connect, with an errno in place of the exception."""

        def attempt() -> int:
            try:
                self._open().connect(self._at_host(address))
            except BlockingIOError as problem:
                if self._timeout == 0:
                    return problem.errno or errno.EINPROGRESS
                raise
            except OSError as problem:
                return problem.errno or errno.EIO
            return 0

        return self._wait("connect", attempt)

    def accept(self) -> tuple[SimSocket, Any]:
        """The next connection, and who it is from."""

        def attempt() -> tuple[SimSocket, Any]:
            child, peer = self._open().accept()
            return SimSocket(self.host, child), self._shown(peer)

        return self._wait("accept", attempt)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Up to ``bufsize`` bytes, b'' at the end; of UDP one datagram. ``flags``: MSG_DONTWAIT, MSG_WAITALL; UDP's are all."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if flags & real.MSG_WAITALL and self.raw.is_stream:
            return self._receive_all(bufsize, flags)
        return self._wait("recv", lambda: self._receive(bufsize, flags)[0], flags)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As recv, and who sent it (None for TCP)."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        return self._wait("recvfrom", lambda: self._receive(bufsize, flags), flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """recv into ``buffer``: how many bytes."""
        view = memoryview(buffer).cast("B")
        if not 0 <= nbytes <= len(view):
            raise ValueError("buffer too small for requested bytes")

        def attempt() -> int:
            data, _ = self._receive(nbytes or len(view), flags)
            view[: len(data)] = data
            return len(data)

        return self._wait("recv_into", attempt, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """UDP's, with ancillary data: as socket.recvmsg."""

        def attempt() -> tuple[bytes, list[Any], int, Any]:
            raw = self._open()
            if isinstance(raw, StreamSocket):
                return self._receive(bufsize, flags)[0], [], 0, None
            data, items, told, sender = raw.recvmsg(bufsize, ancbufsize, flags & ~real.MSG_DONTWAIT)
            return data, items, told, self._shown(sender)

        return self._wait("recvmsg", attempt, flags)

    def send(self, data: Buffer, flags: int = 0) -> int:
        """As many bytes as there is room for, once there is any: how many."""
        return self._wait("send", lambda: self._send(data, flags), flags)

    def sendall(self, data: Buffer, flags: int = 0) -> Any:
        """All of them; it returns (None) when the last is in the send buffer. The timeout is for the whole."""
        rest = memoryview(data).cast("B")

        def attempt() -> None:
            nonlocal rest
            while True:
                rest = rest[self._send(rest, flags) :]
                if not rest:
                    return

        return self._wait("sendall", attempt, flags)

    def sendto(self, data: Buffer, *flags_and_address: Any) -> int:
        """sendto(data, address) or sendto(data, flags, address)."""
        if not 1 <= len(flags_and_address) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(flags_and_address)} given)")
        *flags, address = flags_and_address

        def attempt() -> int:
            raw = self._open()
            if isinstance(raw, DatagramSocket):
                return raw.sendmsg(bytes(data), (), (flags[0] if flags else 0) & ~_OURS, self._at_host(address))
            return self._send(data, flags[0] if flags else 0)

        return self._wait("sendto", attempt)

    def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None
    ) -> int:
        """As socket.sendmsg; ancillary data is for UDP."""
        data = b"".join(bytes(buffer) for buffer in buffers)

        def attempt() -> int:
            raw = self._open()
            if isinstance(raw, DatagramSocket):
                return raw.sendmsg(data, ancdata, flags & ~_OURS, None if address is None else self._at_host(address))
            return self._send(data, flags)

        return self._wait("sendmsg", attempt, flags)

    def _wait(self, verb: str, attempt: Callable[[], T], flags: int = 0) -> T:
        timeout = 0 if flags & real.MSG_DONTWAIT else None if self._timeout is None else round(self._timeout * 1e9)
        return self.runner.perform(Operation(self, verb, attempt, timeout))

    def _receive(self, limit: int, flags: int) -> tuple[bytes, Any]:
        raw, flags = self._open(), flags & ~_OURS
        if isinstance(raw, DatagramSocket):
            data, sender = raw.recvfrom(limit, flags)
            return data, self._shown(sender)
        _check_no(flags)
        return raw.recv(limit), None

    def _receive_all(self, size: int, flags: int) -> bytes:
        """What has come stays with the call until it is enough."""
        got = b""

        def attempt() -> bytes:
            nonlocal got
            while len(got) < size:
                data, _ = self._receive(size - len(got), flags)
                if not data:
                    break
                got += data
            return got

        return self._wait("recv", attempt, flags)

    def _send(self, data: Buffer, flags: int) -> int:
        raw, flags = self._open(), flags & ~_OURS
        if isinstance(raw, DatagramSocket):
            return raw.send(bytes(data), flags)
        _check_no(flags)
        return raw.send(data) if len(data) else 0

    # -- calls that never wait --------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        self._open().bind(self._at_host(address))

    def listen(self, backlog: int = 128) -> None:
        self._open().listen(max(backlog, 0))

    def shutdown(self, how: int) -> None:
        self._open().shutdown(how)

    def close(self) -> None:
        """Give it back, once the files that makefile made are closed too. Whoever waits on it gets EBADF."""
        self._is_close_wanted = True
        if self._is_closed or self._io_refs:
            return
        raw = self._open()
        self._is_closed = True
        raw.close()
        self.wake()

    def getsockname(self) -> Any:
        return self._shown(self._open().getsockname())

    def getpeername(self) -> Any:
        return self._shown(self._open().getpeername())

    def setsockopt(self, level: int, option: int, value: int | Buffer) -> None:
        self._open().setsockopt(level, option, value if isinstance(value, int) else bytes(value))

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        return self._open().getsockopt(level, option, buflen)

    def settimeout(self, value: float | None) -> None:
        """Seconds of virtual time that a call may wait; None: as long as it takes; 0: not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    timeout = property(gettimeout)

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self._timeout != 0

    def makefile(self, mode: str = "r", buffering: int = -1, **text: Any) -> Any:
        """As socket.makefile: what http.client and its like read from. Not for generators: nobody yields what it calls."""
        if self.runner.current is not None and not self.runner.current.can_block:
            raise RuntimeError("a file blocks, and a generator cannot; spawn a plain function, or use recv and sendall")
        return real.socket.makefile(self, mode, buffering, **text)  # type: ignore[call-overload]  # it quacks

    def _decref_socketios(self) -> None:
        """For SocketIO: one of makefile's is closed."""
        self._io_refs -= 1
        if self._is_close_wanted:
            self.close()

    # -- the rest ---------------------------------------------------------------------------------------------------------

    def _open(self) -> StreamSocket | DatagramSocket:
        """The stack's socket, at this time; EBADF once it is closed."""
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.host.touch()
        return self.raw

    def _on_event(self, _: Socket, __: int) -> None:
        self.wake()

    def _at_host(self, address: Address) -> tuple[str, int]:
        if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
            raise TypeError(f"an address is a tuple (host, port), not {address!r}")
        return self.host.resolve(address[0], self.family), address[1]

    def _shown(self, address: tuple[str, int]) -> Any:
        """As Python shows it: flow and scope behind for IPv6."""
        return (*address, 0, 0) if self.family == real.AF_INET6 else address


_OURS = real.MSG_DONTWAIT | real.MSG_WAITALL | real.MSG_NOSIGNAL
"""Flags that are for who waits, not for the stack."""


def _check_no(flags: int) -> None:
    if flags:
        raise OSError(errno.EOPNOTSUPP, f"{os.strerror(errno.EOPNOTSUPP)}: flags {flags:#x} on a TCP socket")


def _peer(raw: Socket) -> str:
    try:
        address, port = raw.getpeername()
    except OSError:
        return "nobody yet"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
