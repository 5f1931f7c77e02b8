"""The options that TCP sockets have of their own, as a table: how each is read and set, with Linux' bounds and errnos.

What all sockets have is in netemu.stack.sockets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from netemu.stack import constants as so
from netemu.stack.sockets import RCVBUF_MIN, SNDBUF_MIN, as_int, buffer_size, error
from netemu.stack.tcpinfo import tcp_info
from netemu.tcp.config import MS, SECOND
from netemu.tcp.congestion.registry import choices, find
from netemu.tcp.state import State

if TYPE_CHECKING:
    from netemu.stack.stream_socket import StreamSocket

LINGER = Struct("=ii")
"""struct linger: l_onoff, l_linger."""
TCP_MIN_MSS, MAX_TCP_WINDOW = 88, 32767
DEFAULT_MSS = 536
UNLIMITED_32, UNLIMITED_64 = (1 << 32) - 1, (1 << 64) - 1
CA_NAME_MAX = 16
"""TCP_CA_NAME_MAX: bytes of an algorithm's name, the zero behind it counted."""


class Option(NamedTuple):
    read: Callable[[StreamSocket], int | bytes]
    write: Callable[[StreamSocket, int | bytes], None] | None
    """None: it can only be read."""


def _flag(name: str) -> Option:
    def write(socket: StreamSocket, value: int | bytes) -> None:
        setattr(socket, name, bool(as_int(value)))

    return Option(lambda socket: int(getattr(socket, name)), write)


def _buffer(name: str, least: int) -> Option:
    def write(socket: StreamSocket, value: int | bytes) -> None:
        setattr(socket, name, buffer_size(as_int(value), least))

    return Option(lambda socket: getattr(socket, name) or getattr(socket.host.config, name), write)


def _setting(field: str, unit: int, least: int, most: int) -> Option:
    """One of Config's fields, for this socket alone; in ``unit``."""

    def read(socket: StreamSocket) -> int:
        value: int = socket.own.get(field, getattr(socket.host.config, field))
        return value // unit

    def write(socket: StreamSocket, value: int | bytes) -> None:
        number = as_int(value)
        if not least <= number <= most:
            raise error(errno.EINVAL, f"{field} must be {least} to {most}")
        socket.own[field] = number * unit

    return Option(read, write)


def _read_linger(socket: StreamSocket) -> bytes:
    return LINGER.pack(socket.linger >= 0, max(socket.linger, 0) & 0x7FFFFFFF)


def _write_linger(socket: StreamSocket, value: int | bytes) -> None:
    """Seconds, -1 for off; or struct linger."""
    if isinstance(value, int):
        socket.linger = value
        return
    if len(value) < LINGER.size:
        raise error(errno.EINVAL, "SO_LINGER wants struct linger: two ints")
    on, seconds = LINGER.unpack_from(value)
    socket.linger = seconds & 0x7FFFFFFF if on else -1


def _read_mss(socket: StreamSocket) -> int:
    c = socket.connection
    if c is None or c.state is State.CLOSED:
        return socket.maxseg or DEFAULT_MSS
    return c.mss


def _write_mss(socket: StreamSocket, value: int | bytes) -> None:
    """The most to announce and to send, of connections that begin from now on (RFC 9293 3.7.1); 0: as the path has it."""
    number = as_int(value)
    if number and not TCP_MIN_MSS <= number <= MAX_TCP_WINDOW:
        raise error(errno.EINVAL, f"TCP_MAXSEG must be {TCP_MIN_MSS} to {MAX_TCP_WINDOW}")
    socket.maxseg = number


def _read_error(socket: StreamSocket) -> int:
    c = socket.connection
    pending = 0 if c is None or socket.reported else c.error
    socket.reported = socket.reported or bool(pending)
    return pending


def _write_hold(socket: StreamSocket, value: int | bytes) -> None:
    hold, c = bool(as_int(value)), socket.connection
    if c is None:
        socket.hold_synack = hold
    elif hold:
        raise error(errno.EISCONN, "HOLD_SYNACK is set on a listener; on a connection it can only be let go")
    elif c.held:
        c.release()


def _read_congestion(socket: StreamSocket) -> bytes:
    name: str = socket.own.get("congestion", socket.host.config.congestion)
    return name.encode().ljust(CA_NAME_MAX, b"\0")


def _write_congestion(socket: StreamSocket, value: int | bytes) -> None:
    """By name, from now on: the window stays as it is. ENOENT for a name that nobody knows."""
    if isinstance(value, int) or not value:
        raise error(errno.EINVAL, "TCP_CONGESTION wants a name, such as b'cubic'")
    name = value[: CA_NAME_MAX - 1].split(b"\0")[0].decode("ascii", "replace")
    if find(name) is None:
        raise error(errno.ENOENT, f"no congestion control {name!r}; there are {choices()}")
    socket.own["congestion"] = name


def _read_pacing(socket: StreamSocket) -> bytes:
    rate: int = socket.own.get("max_pacing_rate", socket.host.config.max_pacing_rate)
    return min(rate or UNLIMITED_64, UNLIMITED_64).to_bytes(8, "little")


def _write_pacing(socket: StreamSocket, value: int | bytes) -> None:
    """Bytes a second, in four bytes or in eight; all ones: no limit."""
    wide = isinstance(value, bytes) and len(value) >= 8
    rate = int.from_bytes(value[:8], "little") if wide and isinstance(value, bytes) else as_int(value) & UNLIMITED_32
    socket.own["max_pacing_rate"] = 0 if rate >= (UNLIMITED_64 if wide else UNLIMITED_32) else max(1, rate)


OPTIONS: dict[tuple[int, int], Option] = {
    (so.SOL_SOCKET, so.SO_ERROR): Option(_read_error, None),
    (so.SOL_SOCKET, so.SO_ACCEPTCONN): Option(lambda socket: int(socket.listener is not None), None),
    (so.SOL_SOCKET, so.SO_KEEPALIVE): _flag("keepalive"),
    (so.SOL_SOCKET, so.SO_OOBINLINE): _flag("oobinline"),
    (so.SOL_SOCKET, so.SO_LINGER): Option(_read_linger, _write_linger),
    (so.SOL_SOCKET, so.SO_RCVBUF): _buffer("rcvbuf", RCVBUF_MIN),
    (so.SOL_SOCKET, so.SO_SNDBUF): _buffer("sndbuf", SNDBUF_MIN),
    (so.SOL_SOCKET, so.SO_MAX_PACING_RATE): Option(_read_pacing, _write_pacing),
    (so.IPPROTO_TCP, so.TCP_NODELAY): _flag("nodelay"),
    (so.IPPROTO_TCP, so.TCP_MAXSEG): Option(_read_mss, _write_mss),
    (so.IPPROTO_TCP, so.TCP_KEEPIDLE): _setting("keepalive_time", SECOND, 1, 32767),
    (so.IPPROTO_TCP, so.TCP_KEEPINTVL): _setting("keepalive_interval", SECOND, 1, 32767),
    (so.IPPROTO_TCP, so.TCP_KEEPCNT): _setting("keepalive_probes", 1, 1, 127),
    (so.IPPROTO_TCP, so.TCP_USER_TIMEOUT): _setting("user_timeout", MS, 0, (1 << 31) - 1),
    (so.IPPROTO_TCP, so.TCP_CONGESTION): Option(_read_congestion, _write_congestion),
    (so.IPPROTO_TCP, so.TCP_INFO): Option(tcp_info, None),
    (so.SOL_NETEMU, so.HOLD_SYNACK): Option(
        lambda socket: int(socket.connection.held if socket.connection else socket.hold_synack), _write_hold
    ),
}
"""(level, option) to what is done with it."""
