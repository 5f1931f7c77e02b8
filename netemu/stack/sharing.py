"""The options that say with whom a socket shares its port, by which device, and who of them gets what comes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack.groups import Group
from netemu.stack.selectors import Arrival, selector_of

if TYPE_CHECKING:
    from netemu.stack.sockets import Socket

FLAGS = {
    so.SO_REUSEADDR: "reuseaddr",
    so.SO_REUSEPORT: "reuseport",
    so.SO_REUSEPORT_LB: "reuseport_lb",
    so.SO_EXCLUSIVEADDRUSE: "exclusive",
}
"""Those that a flavour may or may not have, and the attribute of a Socket that each is."""


def set_option(socket: Socket, level: int, option: int, number: int, value: int | bytes) -> bool:
    """Set one of these options; False for another one. ``number`` is ``value`` as an int."""
    match level, option:
        case so.SOL_SOCKET, _ if option in FLAGS and option in socket.host.flavour.options:
            if option == so.SO_REUSEPORT_LB and socket.name is not None:
                raise OSError(errno.EINVAL, "SO_REUSEPORT_LB must be set before bind")
            setattr(socket, FLAGS[option], bool(number))
        case so.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF if isinstance(value, bytes):
            set_selector(socket, value)
        case so.SOL_SOCKET, so.SO_DETACH_REUSEPORT_BPF:
            _detach_selector(socket)
        case so.SOL_SOCKET, so.SO_BINDTODEVICE:
            _bind_to_device(socket, value)
        case so.IPPROTO_IP, so.IP_BIND_ADDRESS_NO_PORT:
            socket.no_port = bool(number)
        case so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE:
            low, high = number & 0xFFFF, number >> 16 & 0xFFFF
            if low and high and low > high:
                raise OSError(errno.EINVAL, "the range is empty")
            socket.port_range = low, high
        case _:
            return False
    return True


def option_of(socket: Socket, level: int, option: int) -> int | bytes | None:
    """Its value; None for an option that is none of these, or cannot be read."""
    match level, option:
        case so.SOL_SOCKET, _ if option in FLAGS and option in socket.host.flavour.options:
            return int(getattr(socket, FLAGS[option]))
        case so.SOL_SOCKET, so.SO_BINDTODEVICE:
            return socket.device.encode() + b"\0" if socket.device else b""
        case so.IPPROTO_IP, so.IP_BIND_ADDRESS_NO_PORT:
            return int(socket.no_port)
        case so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE:
            return socket.port_range[0] | socket.port_range[1] << 16
    return None


def set_selector(socket: Socket, what: str | bytes | Callable[[Arrival], int]) -> None:
    """As Socket.set_selector."""
    if not socket.reuseport and socket.group is None:
        raise OSError(errno.EINVAL, "the socket has no SO_REUSEPORT")
    try:
        selector = selector_of(what)
    except ValueError as problem:
        raise OSError(errno.EINVAL, str(problem)) from None
    if socket.group is None:
        socket.group = Group()
    socket.group.selector = selector


def _detach_selector(socket: Socket) -> None:
    if socket.group is None and not socket.reuseport:
        raise OSError(errno.EINVAL, "the socket has no SO_REUSEPORT")
    if socket.group is None or socket.group.selector is None:
        raise OSError(errno.ENOENT, "no selector is attached")
    socket.group.selector = None


def _bind_to_device(socket: Socket, value: int | bytes) -> None:
    """socket(7), facts U1: anybody may choose a device, only root may change it."""
    if isinstance(value, int):
        raise OSError(errno.EINVAL, "SO_BINDTODEVICE wants the name of a device, as bytes")
    device, devices = value.split(b"\0")[0].decode(errors="replace"), socket.host.devices
    if device and device not in devices:
        raise OSError(errno.ENODEV, f"no device {device!r}: there are {' and '.join(devices)}")
    if socket.device and socket.uid:
        raise OSError(errno.EPERM, "only root may change the device of a socket")
    socket.device = device
    if socket.name is not None:
        socket.name = socket.name._replace(device=device)
