"""What a file descriptor of a script stands for."""

from __future__ import annotations

from dataclasses import dataclass, field

from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import READABLE, WRITABLE
from netemu.tcp.state import CAN_SEND, FIN_QUEUED, State

POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLRDNORM, POLLWRNORM, POLLRDHUP = 1, 2, 4, 8, 16, 0x40, 0x100, 0x2000
_IN, _OUT = POLLIN | POLLRDNORM, POLLOUT | POLLWRNORM
PIPE_CAPACITY = 65536


@dataclass(eq=False)
class File:
    nonblocking: bool = False

    def ready(self) -> int:
        """The bits of poll(2) that are true now, whatever was asked for."""
        return _IN | _OUT


@dataclass(eq=False)
class SocketFile(File):
    socket: StreamSocket | DatagramSocket = None  # type: ignore[assignment]  # always given, by name
    receive_timeout: int = 0
    """SO_RCVTIMEO, SO_SNDTIMEO; ns, 0 for none."""
    send_timeout: int = 0
    reads: int = 0
    """News that made it readable, and writable."""
    writes: int = 0

    def __post_init__(self) -> None:
        self.socket.on_event = self._on_event

    def _on_event(self, _: Socket, events: int) -> None:
        self.reads += bool(events & ~WRITABLE)
        self.writes += bool(events & ~READABLE)

    def ready(self) -> int:
        socket = self.socket
        if isinstance(socket, DatagramSocket):
            bits = socket.poll()
            found = (_IN if bits & READABLE else 0) | (_OUT if bits & WRITABLE else 0)
            return found | (POLLERR if socket.error or socket.errors else 0)
        return _stream_ready(socket)


def _stream_ready(socket: StreamSocket) -> int:
    """As Linux' tcp_poll: the end of the stream reads, a closed side writes, both closed hang up."""
    if socket.listener is not None:
        return _IN if socket.listener.accepted else 0
    c = socket.connection
    if c is None:
        return _OUT | POLLHUP
    ended = c.state in (State.CLOSED, State.TIME_WAIT)
    read_shut = c.fin_received or socket.read_shut or ended
    write_shut = ended or c.state in FIN_QUEUED or c.state is State.FIN_WAIT_2
    found = POLLHUP if ended or (read_shut and write_shut) else 0
    if read_shut:
        found |= _IN | POLLRDHUP
    if c.state not in (State.SYN_SENT, State.SYN_RECEIVED):
        if c.received:
            found |= _IN
        if write_shut or (c.state in CAN_SEND and c.writable_bytes >= len(c.sendbuf) >> 1 and c.writable_bytes):
            found |= _OUT
        if c.urgent_bytes:
            found |= POLLPRI
    return found | (POLLERR if c.error and not socket.reported else 0)


class Pipe:
    def __init__(self) -> None:
        self.data = bytearray()
        self.ends = 2


@dataclass(eq=False)
class PipeEnd(File):
    pipe: Pipe = field(default_factory=Pipe)
    writes_to: bool = False

    def ready(self) -> int:
        if self.writes_to:
            return _OUT if len(self.pipe.data) < PIPE_CAPACITY else 0
        return (_IN if self.pipe.data else 0) | (POLLHUP if self.pipe.ends < 2 else 0)


@dataclass(eq=False)
class PlainFile(File):
    """What open(2) gave: of the few files that a script's own commands made, or of zeros."""

    data: bytes | None = None
    """None: zeros without end."""
    position: int = 0

    def read(self, count: int) -> bytes:
        if self.data is None:
            return bytes(count)
        found = self.data[self.position : self.position + count]
        self.position += len(found)
        return found


@dataclass(eq=False)
class Watch:
    """One descriptor in an epoll set."""

    file: File
    events: int
    label: object
    """The struct as it was given: its fd or ptr is what epoll_wait tells."""
    seen: tuple[int, int] = (-1, -1)
    """The news that were told already, edge-triggered."""
    disabled: bool = False


@dataclass(eq=False)
class EpollFile(File):
    watched: dict[int, Watch] = field(default_factory=dict)

    def ready(self) -> int:
        return _IN if any(wanted(watch) for watch in self.watched.values()) else 0


EPOLLET, EPOLLONESHOT = 1 << 31, 1 << 30


def wanted(watch: Watch) -> int:
    """What epoll_wait has to tell of this one."""
    if watch.disabled:
        return 0
    ready = watch.file.ready() & ((watch.events & 0xFFFF) | POLLERR | POLLHUP)
    if watch.events & EPOLLET and isinstance(watch.file, SocketFile):
        reads, writes = watch.seen
        if watch.file.reads == reads and watch.file.writes == writes:
            return 0
        if watch.file.reads == reads and not ready & ~_IN:
            return 0
        if watch.file.writes == writes and not ready & ~_OUT:
            return 0
    return ready


def told(watch: Watch) -> None:
    """It was told: an edge is over, a one-shot too."""
    if isinstance(watch.file, SocketFile):
        watch.seen = watch.file.reads, watch.file.writes
    watch.disabled = bool(watch.events & EPOLLONESHOT)
