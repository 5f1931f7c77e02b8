"""Data through an attached socket's descriptor: the kernel's business, but for a datagram's address and the words of an error."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from netemu.attached.arguments import Address, Item, as_bytes, as_items, checked, joined, room_in, size_of, whole
from netemu.runtime.broker.protocol import LARGEST, Arrived, Poke, Queued
from netemu.stack.ancillary import fitted

if TYPE_CHECKING:
    from netemu.attached.channel import Channel

Received = tuple[bytes, list[Item], int, Any]
_TO_KERNEL = socket.MSG_PEEK | socket.MSG_DONTWAIT


class DataSocket(socket.socket):
    """What receives and sends."""

    _channel: Channel
    _id: int
    _state: str
    _is_over = False
    """The connection was reset, and the user told."""
    _is_read_shut = False
    """Of a UDP socket: SHUT_RD."""

    def _is_stream(self) -> bool:
        """Is the descriptor a connection's?"""
        raise NotImplementedError

    def _pending_error(self) -> int:
        """SO_ERROR."""
        raise NotImplementedError

    def _shown(self, address: Address) -> Any:
        """As Python shows it."""
        raise NotImplementedError

    def _what_ended(self, problem: OSError) -> OSError:
        """The connection's own errno: for the kernel every end but a good one is a reset of the descriptor."""
        number = self._pending_error()
        self._is_over |= bool(number) or isinstance(problem, ConnectionResetError)
        return OSError(number, os.strerror(number)) if number else problem

    def _accepted(self, room: int) -> tuple[bytes, list[Item]]:
        """What came through a listener's descriptor."""
        message, ancillary, _, _ = super().recvmsg(LARGEST, room, socket.MSG_CMSG_CLOEXEC)
        return message, ancillary

    # -- in -------------------------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._is_stream():
            try:
                return super().recv(bufsize, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        return self._receive(size_of(bufsize, "recv"), 0, flags)[0]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if self._is_stream():
            try:
                return super().recv_into(buffer, nbytes, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        if self._is_stream():
            return self.recv(bufsize, flags), None
        data, _, _, address = self._receive(size_of(bufsize, "recvfrom"), 0, flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        if self._is_stream():
            return self.recv_into(buffer, nbytes, flags), None
        with memoryview(buffer).cast("B") as view:
            data, _, _, address = self._receive(room_in(view, nbytes, "recvfrom_into"), 0, flags)
            view[: len(data)] = data
        return len(data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Received:
        if self._is_stream():
            try:
                return super().recvmsg(bufsize, ancbufsize, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        return self._receive(size_of(bufsize, "recvmsg()"), size_of(ancbufsize, "ancillary data"), flags)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[Item], int, Any]:
        if self._is_stream():
            try:
                return super().recvmsg_into(buffers, ancbufsize, flags)
            except ConnectionResetError as problem:
                raise self._what_ended(problem) from None
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        if any(view.readonly for view in views):
            raise TypeError("recvmsg_into() wants buffers that can be written")
        room = size_of(ancbufsize, "ancillary data")
        data, ancillary, told, address = self._receive(sum(map(len, views)), room, flags)
        rest = memoryview(data)
        for view in views:
            piece, rest = rest[: len(view)], rest[len(view) :]
            view[: len(piece)] = piece
        return len(data), ancillary, told, address

    def _receive(self, limit: int, room: int, flags: int) -> Received:
        """One datagram, or with MSG_ERRQUEUE one that failed, and why."""
        if self._state != "datagram":
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if flags & socket.MSG_ERRQUEUE:
            queued = self._channel.ask(Queued, "error_queue", self._id, limit, room)[0]
            return queued.data, queued.ancillary, queued.flags, self._shown(queued.address)
        while True:
            message = super().recv(LARGEST, flags & _TO_KERNEL)
            if not message and self._is_read_shut:
                return b"", [], 0, None
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
        data = found.data[:limit]
        items, told = fitted(found.ancillary, room)
        if len(data) < len(found.data):
            told |= socket.MSG_TRUNC
        return data, items, found.flags | told, self._shown(found.address)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        if not self._is_stream():
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return super().sendfile(file, offset, count)

    # -- out ------------------------------------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0) -> int:
        if self._is_stream():
            try:
                return super().send(data, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        return self._send(as_bytes(data), [], flags, None)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._is_stream():
            try:
                return super().sendall(data, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        self._send(as_bytes(data), [], flags, None)
        return None

    def sendto(self, data: Any, *rest: Any) -> int:
        if not 1 <= len(rest) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(rest)} given)")
        *first, address = rest
        flags = whole(first[0]) if first else 0
        piece, to = as_bytes(data), checked(address, self.family)
        return self.send(piece, flags) if self._is_stream() else self._send(piece, [], flags, to)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        to = None if address is None else checked(address, self.family)
        if self._is_stream():
            try:
                return super().sendmsg(buffers, ancdata, flags)
            except BrokenPipeError as problem:
                raise self._what_ended(problem) from None
        return self._send(joined(buffers), as_items(ancdata), whole(flags), to)

    def _send(self, data: bytes, ancillary: list[Item], flags: int, address: Address | None) -> int:
        if self._state != "datagram":
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._channel.ask(int, "sendmsg", self._id, data, ancillary, flags, address)[0]
