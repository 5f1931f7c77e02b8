"""What the calls of a script share: the machine, the descriptors by the script's numbers, the files on a small disk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator

from netemu.packetdrill.files import File, SocketFile
from netemu.packetdrill.flow import Flow
from netemu.packetdrill.machine import Machine
from netemu.packetdrill.outcome import Returned
from netemu.packetdrill.script import Call, ScriptError
from netemu.packetdrill.settings import MAPPED
from netemu.packetdrill.values import Address, Values
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.ip import TCP, UDP, parse_address

Waiting = Generator[int | None, None, Returned]
"""A call that may have to wait: it yields until when at most, ns, or None, and is asked again after anything happened."""
Handler = Callable[["World", Call], "Returned | Waiting"]

FIRST_REMOTE_PORT = 40001
DONTWAIT = 0x40


class World:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.settings = machine.settings
        self.values = Values(machine.settings)
        self.files: dict[int, File] = {}
        self.disk: dict[str, bytes] = {}
        self.listening: tuple[bytes, int] | None = None
        """Where the last socket that listens does; the next SYN opens a flow there."""
        self.under_test: Socket | None = None
        """Whose tcp_info Python code sees."""
        self._remote_port = FIRST_REMOTE_PORT

    # -- descriptors --------------------------------------------------------------------------------------------------------

    def file(self, expression: object) -> File:
        found = self.files.get(self.values.number(expression))
        if found is None:
            raise OSError(errno.EBADF, "no such descriptor")
        return found

    def socket(self, expression: object) -> SocketFile:
        found = self.file(expression)
        if not isinstance(found, SocketFile):
            raise OSError(errno.ENOTSOCK, "not a socket")
        return found

    def stream(self, expression: object) -> StreamSocket:
        socket = self.socket(expression).socket
        if not isinstance(socket, StreamSocket):
            raise OSError(errno.EOPNOTSUPP, "not a TCP socket")
        return socket

    def arguments(self, call: Call, least: int, most: int | None = None) -> tuple[object, ...]:
        """The call's arguments, as many as it takes."""
        count, most = len(call.arguments), least if most is None else most
        if not least <= count <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ScriptError(f"{call.name} takes {wanted} arguments, not {count}")
        return call.arguments

    # -- names --------------------------------------------------------------------------------------------------------------

    def usual_address(self, socket: Socket, port: int, ours: bool) -> Address:
        """What ``...`` stands for as an address."""
        address = self.settings.addresses[0 if ours else 1]
        if socket.is_ipv6 and self.settings.ip_version == MAPPED:
            address = f"::ffff:{address}"
        return address, port

    def listens(self, socket: StreamSocket) -> None:
        """The next SYN is for ``socket``, on a flow of its own."""
        self.listening = self._wire_name(socket)
        self.machine.flow, self.under_test = None, socket

    def _wire_name(self, socket: Socket) -> tuple[bytes, int]:
        address = socket.local_address
        return (address if any(address) else parse_address(self.settings.addresses[0])), socket.lport

    def adopt(self, file: File | None) -> None:
        """After a call: a socket that has begun to speak is the one under test."""
        socket = file.socket if isinstance(file, SocketFile) else None
        if isinstance(socket, StreamSocket):
            c = socket.connection
            if c is None or not c.flow:
                return
            flow = self.machine.flow
            if flow is None or flow.key != c.flow:
                if socket.connecting or flow is None:
                    self.machine.flow = _of_key(c.flow)
                    self.under_test = socket
            else:
                self.under_test = socket
        elif isinstance(socket, DatagramSocket) and socket.lport:
            remote = socket.peer or (parse_address(self.settings.addresses[1]), self.settings.connect_port)
            local = self._wire_name(socket)
            flow = self.machine.flow
            if flow is None or (flow.protocol, flow.local, flow.remote) != (UDP, local, remote):
                self.machine.flow = Flow(UDP, local, remote)

    def flow_for_syn(self) -> Flow:
        """A new connection of the peer's, to the socket that listens, or to nobody."""
        remote = parse_address(self.settings.addresses[1]), self._remote_port
        self._remote_port += 1
        local = self.listening or (parse_address(self.settings.addresses[0]), self.settings.bind_port)
        self.machine.flow = Flow(TCP, local, remote)
        return self.machine.flow


def _of_key(key: bytes) -> Flow:
    """From the socket table's key of a connection."""
    size = (len(key) - 4) // 2
    remote, local = key[:size], key[size : 2 * size]
    return Flow(TCP, (local, int.from_bytes(key[-2:], "big")), (remote, int.from_bytes(key[-4:-2], "big")))
