"""One attached process: what it asks for, done with the sockets of its app and no others.

Whatever it sends, the worst that happens is an errno for it, or the end of its session.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from netemu.runtime.broker.anchor import Anchor
from netemu.runtime.broker.mailbox import DatagramAnchor, ListenerAnchor
from netemu.runtime.broker.protocol import DESCRIPTORS, LARGEST, VERSION, Made, Welcome, descriptors_in
from netemu.runtime.broker.stream import StreamAnchor
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import error
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.ip import text

if TYPE_CHECKING:
    from netemu.runtime.broker.broker import Broker

AT_ONCE = 32
"""Requests of one process before the others get their turn."""
LONGEST_APP = 32
_PEERCRED = struct.Struct("iII")
_SPACE = socket.CMSG_SPACE(DESCRIPTORS * 4)

log = logging.getLogger(__name__)


class Session:
    """``pid`` and ``uid`` are what the kernel says of the peer (SO_PEERCRED), whatever the peer says."""

    def __init__(self, broker: Broker, connection: socket.socket) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        self.pid, self.uid, _ = _PEERCRED.unpack(credentials)
        self.connection = connection
        connection.setblocking(False)
        self.program = program_of(self.pid)
        self.app = ""
        self._broker = broker
        self._granted: set[int] = set()
        """Sockets whose descriptor the process has shown."""
        self._received: list[int] = []
        self._to_send: socket.socket | None = None

    # -- requests and answers -------------------------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        self._read(AT_ONCE)

    def hear_out(self) -> None:
        """Only what wants no answer, up to the first request."""
        with contextlib.suppress(OSError, msgspec.DecodeError, ValueError):
            while msgspec.msgpack.decode(self.connection.recv(LARGEST, socket.MSG_PEEK), type=list)[:1] == [0]:
                self._read(1)

    def _read(self, most: int) -> None:
        for _ in range(most):
            try:
                request, ancillary, flags, _ = self.connection.recvmsg(LARGEST, _SPACE, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                self._broker.depart(self)
                return
            descriptors = descriptors_in(ancillary)
            try:
                alive = bool(request) and not flags & socket.MSG_TRUNC and self._serve(request, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            if not alive:
                self._broker.depart(self)
                return

    def _serve(self, request: bytes, descriptors: list[int]) -> bool:
        """One request; False ends the session."""
        try:
            number, operation, *arguments = msgspec.msgpack.decode(request, type=list)
        except (msgspec.DecodeError, ValueError):
            return False
        if not isinstance(number, int) or not isinstance(operation, str):
            return False
        code, words, result = 0, "", None
        if number:
            self._broker.catch_up()
        try:
            result = self._call(operation, arguments, descriptors)
        except OSError as problem:
            code, words = problem.errno or errno.EIO, problem.strerror or ""
        except OverflowError as problem:
            code, words = errno.EINVAL, str(problem)
        except Exception as fault:
            log.exception("broker: %s %s", operation, arguments)
            self._broker.host.faults.append(f"{operation} of app {self.app}: {fault!r}")
            code, words = errno.EIO, "a bug in netemu (see the log)"
        descriptor, self._to_send = self._to_send, None
        return not number or self._answer([number, code, words, result], descriptor)

    def _call(self, operation: str, arguments: list[Any], descriptors: list[int]) -> object:
        known = OPERATIONS.get(operation)
        if known is None:
            raise error(errno.EOPNOTSUPP, f"no operation {operation!r}; is this instance older than the library?")
        method, kinds = known
        if len(arguments) != len(kinds) or not all(map(isinstance, arguments, kinds)):
            raise error(errno.EINVAL, f"{operation}: wrong arguments")
        if not self.app and operation != "hello":
            raise error(errno.EPROTO, "say hello first")
        self._received = descriptors
        return method(self, *arguments)

    def _answer(self, answer: list[object], descriptor: socket.socket | None) -> bool:
        try:
            payload = msgspec.msgpack.encode(answer)
            if descriptor is None:
                self.connection.send(payload)
            else:
                socket.send_fds(self.connection, [payload], [descriptor.fileno()])
        except OSError:
            return False  # gone, or it asks and asks and never reads
        finally:
            if descriptor is not None:
                descriptor.close()
        return True

    def _send_away(self, anchor: Anchor) -> None:
        """The app's end goes with the answer."""
        self._to_send, anchor.other = anchor.other, None

    def _anchor(self, number: int) -> Anchor:
        anchor = self._broker.anchors.get(number)
        if anchor is None or not (
            (anchor.sock.uid, anchor.sock.app) == (self.uid, self.app) or number in self._granted
        ):
            raise error(errno.EBADF, f"no socket s{number} of this app")
        return anchor

    # -- operations -----------------------------------------------------------------------------------------------------------

    def hello(self, version: int, app: str) -> Welcome:
        if version != VERSION:
            raise error(errno.EPROTONOSUPPORT, "this instance is of another version of netemu: restart it")
        if not 0 < len(app) <= LONGEST_APP or not app.isprintable() or " " in app:
            raise error(errno.EINVAL, f"app {app!r}: give one word of 1 to {LONGEST_APP} letters")
        if self.app:
            raise error(errno.EISCONN, "said hello already")
        self.app = app
        host = self._broker.host
        addresses = [text(address) for address in host.addresses if address not in host.set_aside]
        return Welcome(self._broker.name, app, self.uid, addresses)

    def socket(self, family: int, kind: int) -> Made:
        broker = self._broker
        if broker.is_full:
            raise error(errno.ENFILE, "the instance has no descriptors left")
        if not broker.may_add(self.uid, self.app):
            raise error(errno.EMFILE, f"app {self.app} has as many sockets as an app may have")
        sock = broker.host.socket(family, kind, app=self.app, uid=self.uid)
        try:
            anchor = ListenerAnchor(broker, sock) if isinstance(sock, StreamSocket) else DatagramAnchor(broker, sock)
        except OSError:
            sock.close()
            raise
        anchor.belong_to(self.pid, self.program)
        self._send_away(anchor)
        return made(anchor)

    def claim(self, number: int) -> None:
        """This process accepted the connection, so it is its own."""
        self._anchor(number).belong_to(self.pid, self.program)

    def adopt(self) -> Made:
        """A descriptor that came from another process: whose is it? To hold it is the right to use it."""
        anchor = self._broker.by_descriptor(self._received[0]) if self._received else None
        if anchor is None:
            raise error(errno.ENOTSOCK, "this descriptor is no socket of this instance")
        self._granted.add(anchor.sock.id)
        return made(anchor)

    def look(self, number: int) -> Made:
        return made(self._anchor(number))

    def bind(self, number: int, address: str, port: int) -> Made:
        anchor = self._anchor(number)
        anchor.sock.bind((address, port))
        return made(anchor)

    def listen(self, number: int, backlog: int) -> Made:
        anchor = self._anchor(number)
        if not isinstance(anchor.sock, StreamSocket):
            raise error(errno.EOPNOTSUPP, "UDP sockets do not listen")
        anchor.sock.listen(backlog)
        return made(anchor)

    def connect(self, number: int, address: str, port: int) -> Made:
        """TCP: begin. The descriptor that goes with the answer is writable once it is known how it went."""
        anchor = self._anchor(number)
        if isinstance(anchor.sock, DatagramSocket):
            anchor.sock.connect((address, port))
            return made(anchor)
        assert isinstance(anchor.sock, StreamSocket)
        try:
            anchor.sock.connect((address, port))
        except BlockingIOError as problem:
            if problem.errno != errno.EINPROGRESS:
                raise
            anchor = StreamAnchor(self._broker, anchor.sock, is_connecting=True)
            self._send_away(anchor)
        return made(anchor)

    def disconnect(self, number: int) -> Made:
        """connect(AF_UNSPEC) of a UDP socket."""
        anchor = self._anchor(number)
        if not isinstance(anchor.sock, DatagramSocket):
            raise error(errno.EOPNOTSUPP, "a TCP connection is ended by close")
        anchor.sock.disconnect()
        return made(anchor)

    def finish(self, number: int) -> Made:
        """How did connect go? EALREADY while nobody knows; its errno when it failed, with a fresh descriptor."""
        anchor = self._anchor(number)
        if isinstance(anchor, StreamAnchor):
            sock = anchor.sock
            try:
                sock.connect(("", 0))
            except BlockingIOError:
                raise
            except OSError as problem:
                if problem.errno != errno.EISCONN:
                    self._send_away(ListenerAnchor(self._broker, sock))
                    raise
        return made(anchor)

    def shutdown(self, number: int, how: int) -> Made:
        """Of a listener or a UDP socket; a connection's is done on its descriptor, after 'both' was announced here."""
        anchor = self._anchor(number)
        if isinstance(anchor, StreamAnchor):
            if how == so.SHUT_RDWR:
                anchor.shut_both()
            return made(anchor)
        if isinstance(anchor, ListenerAnchor):
            anchor.settle()  # what was accepted until now stays
        assert isinstance(anchor.sock, StreamSocket | DatagramSocket)
        anchor.sock.shutdown(how)
        if isinstance(anchor, ListenerAnchor) and not anchor.sock.is_listening:
            anchor = ListenerAnchor(self._broker, anchor.sock)  # whoever waits in accept learns it from the old one
            self._send_away(anchor)
        return made(anchor)

    def setsockopt(self, number: int, level: int, option: int, value: int | bytes) -> None:
        self._anchor(number).sock.setsockopt(level, option, value)

    def selector(self, number: int, what: str | bytes) -> None:
        """Who of the socket's SO_REUSEPORT group gets what comes: 'hash', 'cpu', 'round-robin' or classic BPF."""
        self._anchor(number).sock.set_selector(what)

    def getsockopt(self, number: int, level: int, option: int, size: int) -> int | bytes:
        if (level, option) == (so.SOL_SOCKET, so.SO_ERROR):
            remembered = self._broker.recall(number)
            if remembered:
                return remembered
        return self._anchor(number).sock.getsockopt(level, option, size)

    def sendmsg(self, number: int, data: bytes, ancillary: list[Any], flags: int, address: list[Any] | None) -> int:
        """One datagram; on the wire, or its errno."""
        sock = self._anchor(number).sock
        if not isinstance(sock, DatagramSocket):
            raise error(errno.EPIPE, "the socket is not connected")
        to = None if address is None else (str(address[0]), int(address[1]))
        return sock.sendmsg(data, [_item(found) for found in ancillary], flags, to)

    def error_queue(self, number: int, size: int, room: int) -> list[object]:
        """recvmsg(MSG_ERRQUEUE) of a UDP socket: data, ancillary data, flags, address; EAGAIN when nothing is there."""
        sock = self._anchor(number).sock
        if not isinstance(sock, DatagramSocket):
            raise error(errno.EAGAIN)
        return list(sock.recvmsg(max(size, 0), max(room, 0), socket.MSG_ERRQUEUE))

    def close(self, number: int) -> None:
        """The descriptor is about to be closed, by choice."""
        with contextlib.suppress(OSError):
            self._anchor(number).deliberate = True

    def lingers(self, number: int) -> bool:
        """Is there something of a closed socket that the peer has not acknowledged?"""
        return self._broker.lingers(number)


OPERATIONS: dict[str, tuple[Callable[..., object], tuple[type | tuple[type, ...], ...]]] = {
    "hello": (Session.hello, (int, str)),
    "socket": (Session.socket, (int, int)),
    "claim": (Session.claim, (int,)),
    "adopt": (Session.adopt, ()),
    "look": (Session.look, (int,)),
    "bind": (Session.bind, (int, str, int)),
    "listen": (Session.listen, (int, int)),
    "connect": (Session.connect, (int, str, int)),
    "disconnect": (Session.disconnect, (int,)),
    "finish": (Session.finish, (int,)),
    "shutdown": (Session.shutdown, (int, int)),
    "setsockopt": (Session.setsockopt, (int, int, int, (int, bytes))),
    "selector": (Session.selector, (int, (str, bytes))),
    "getsockopt": (Session.getsockopt, (int, int, int, int)),
    "sendmsg": (Session.sendmsg, (int, bytes, list, int, (list, type(None)))),
    "error_queue": (Session.error_queue, (int, int, int)),
    "close": (Session.close, (int,)),
    "lingers": (Session.lingers, (int,)),
}
"""Each with the types of its arguments: nothing else gets through."""


def made(anchor: Anchor) -> Made:
    sock = anchor.sock
    peer = None
    if anchor.state != "connecting":
        with contextlib.suppress(OSError):
            peer = sock.getpeername()
    kind = so.SOCK_STREAM if sock.is_stream else so.SOCK_DGRAM
    return Made(sock.id, sock.family, kind, anchor.state, sock.getsockname(), peer)


def _item(found: object) -> tuple[int, int, bytes]:
    """Ancillary data as it came from an app, who may have sent anything."""
    match found:
        case [int(level), int(kind), bytes(data)]:
            return level, kind, data
    raise error(errno.EINVAL, "ancillary data is (level, type, bytes)")


def program_of(pid: int) -> str:
    """The command's name, as ss(8) shows it."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
